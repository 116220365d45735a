"""Fluctuation and bias of networks of finite depth and width: what is known, and what is fitted."""

import numpy as np
import xarray as xr

from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._fitting import Floats, common_square, exponent, jackknife

# Beyond it more terms in D/(LM) matter than the fits have.
LARGEST = 1 / 4


def variance_at_start(width: int, depth: Floats, hidden_width: Floats) -> Floats:
    """Return the variance of outputs at step 0, up to terms (D/(LM))^3.

    D/(LM) times the mean over layers of E tanh(u.h/D)^2 = g(|h|^2/D), where |h|^2/D has grown and
    fluctuates by what the layers below have added.
    """
    x, _ = _problem.data(width)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    q = x.square().mean(dim=1).numpy()

    def g(size: Floats) -> Floats:
        return (np.tanh(np.sqrt(size)[:, None] * nodes) ** 2 * weights).sum(axis=1)

    step = 1e-3 * q
    slope = (g(q + step) - g(q - step)) / (2 * step)
    bend = (g(q + step) - 2 * g(q) + g(q - step)) / step**2
    size = width / (depth * hidden_width)
    growth = (g(q) * (slope + 2 * q * bend / width)).mean() * (1 - 1 / depth) / 2
    return size * (g(q).mean() + size * growth)


def cells(dataset: xr.Dataset, name: str, step: int) -> tuple[Floats, Floats, Floats]:
    """Return a variable of the shapes that are fitted, groups last, and their L and M."""
    part = dataset[name].sel(step=step).stack(shape=("depth", "hidden_width"))
    part = part.transpose("shape", ..., "group")
    depth, width = (part[each].to_numpy().astype(float) for each in ("depth", "hidden_width"))
    kept = dataset.attrs["width"] / (depth * width) <= LARGEST
    return part.to_numpy().astype(float)[kept], depth[kept], width[kept]


def fluctuation_orders(dataset: xr.Dataset, step: int) -> list[tuple[float, float]]:
    """Fit L^-p M^-q (1 + terms in D/(LM) and 1/L) to the fluctuation: p and q with errors."""
    squares, depth, width = cells(dataset, "square", step)
    design = np.stack([np.ones_like(depth), -np.log(depth), -np.log(width), 1 / (depth * width),
                       1 / depth], axis=1)  # fmt: skip
    solve = np.linalg.pinv(design)
    return [
        jackknife(squares, lambda mean, row=row: float(solve[row] @ np.log(mean)) / 2)
        for row in (1, 2)
    ]


def bias_order(dataset: xr.Dataset, step: int, symbol: str) -> tuple[float, float]:
    """Fit the exponent of L in the bias, or of M in what a finite hidden width adds to it."""
    means, depth, width = cells(dataset, "bias", step)
    size = dataset.attrs["width"] / width

    def design(p: float) -> Floats:
        of_l, of_m = (depth**-p, size) if symbol == "L" else (1 / depth, size**p)
        return np.stack([of_l, of_l * of_m, of_l**2, of_l**2 * of_m, (of_l * of_m) ** 2], axis=1)

    return jackknife(means, lambda mean: exponent(mean, design, (0.2, 2.5)))


def bias_constants(dataset: xr.Dataset, step: int) -> tuple[Floats, list[tuple[float, float]]]:
    """Return the coefficients ``(term, output)``, and b^2 and c^2 of the first two with errors."""
    means, depth, width = cells(dataset, "bias", step)
    of_l, of_m = 1 / depth, dataset.attrs["width"] / width
    design = np.stack([of_l, of_l * of_m, of_l**2, of_l**2 * of_m, (of_l * of_m) ** 2], axis=1)
    found = np.einsum("ts,sog->tog", np.linalg.pinv(design), means)
    return found.mean(axis=-1), [common_square(found[row]) for row in (0, 1)]
