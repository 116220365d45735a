"""Propagation of chaos: how two units of a trained network depend on each other against L and M.

Some units of the middle layer start at the same places in all networks, all other weights are
drawn anew: where those units are after training differs from network to network, and by how much
they differ together is their dependence. Each reads the same states, whose noise is sqrt(D/(LM)):
the covariance of two units falls as 1/(LM), while each alone moves by its own size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._fitting import Floats, jackknife
from limits.experiments.chizat2025._judging import of_estimate
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, MARKERS

CHANGED = (
    "The first run was fitted without the square of 1/(LM): M^-1.019 [1.002, 1.036], which "
    "excludes 1: with D/(LM) up to 0.16 its precision is beyond a first order."
)
# Tells 1 from a half, as it would be if each unit had noise of its own, and from 2.
WIDEST = 0.6


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths, hidden_widths : tuple of int
        The grid of L and M.
    draws : tuple of int
        Draws of X and Y.
    width : int
        D = N.
    steps : int
        Steps of gradient descent.
    units : int
        Units of the middle layer that start at places of their own, the same in all networks.
    n_paths, groups : int
        Networks, and the groups whose differences are the noise.
    """

    depths: tuple[int, ...] = (8, 16, 32, 64)
    hidden_widths: tuple[int, ...] = (8, 16, 32, 64)
    draws: tuple[int, ...] = (1, 2, 3)
    width: int = 10
    steps: int = 5
    units: int = 4
    n_paths: int = 512
    groups: int = 8


SCALES = {
    "smoke": Config(depths=(4, 8, 16), hidden_widths=(8, 16, 32), draws=(1,), steps=2, n_paths=64),
    "laptop": Config(),
    "paper": Config(draws=(1, 2, 3, 4, 5, 6, 7, 8), steps=10, n_paths=2048, groups=16),
}


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every draw and depth."""
    return {"draw": config.draws, "depth": config.depths}


def cost(config: Config, *, draw: int, depth: int) -> float:
    return depth


def task(
    config: Config, *, seed: int, draw: int, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one depth and all hidden widths."""
    x, y = _problem.data(config.width, config.width, draw=draw)
    layer, units = depth // 2, config.units
    # The same places at every L and M.
    one = limits.MeanFieldResNet(config.width, units, depth=1)
    found = []
    for number, hidden_width in enumerate(config.hidden_widths):
        net = limits.MeanFieldResNet(config.width, hidden_width, depth=depth)
        weights = net.sample(n_paths=config.n_paths, seed=seed + number)
        places = one.sample(n_paths=1, seed=draw)
        start = (places.u[0], places.v[0])
        for each, place in zip((weights.u, weights.v), start, strict=True):
            each[layer, :, :, :units] = place
        after = net.descend(x, y, weights, steps=config.steps, in_place=True).weights
        moved = torch.cat(
            [
                each[layer, :, :, :units] - place
                for each, place in zip((after.u, after.v), start, strict=True)
            ],
            dim=1,
        )
        found.append(_moments(moved.mT.numpy(), config.groups))
        if progress is not None:
            progress(number + 1, len(config.hidden_widths), "hidden widths")
    names = ("covariance", "movement")
    return xr.Dataset(
        {
            name: (("hidden_width", *dims), np.stack([each[name] for each in found]))
            for name, dims in zip(names, (("group",), ()), strict=True)
        },
        coords={"hidden_width": list(config.hidden_widths)},
        attrs={"width": config.width, "steps": config.steps},
    )


def _moments(moved: Floats, groups: int) -> dict[str, Floats]:
    """Return mean squares over entries of what units ``(path, unit, entry)`` have together.

    The mean square of all entries of the covariance of two units, as products of the covariance in
    one group of networks and that in all others: without the noise of a square. `movement` is the
    mean square of an entry itself.
    """
    n, units, _ = moved.shape
    apart = moved - moved.mean(axis=0)
    pairs = [(i, j) for i in range(units) for j in range(i)]
    parts = np.array_split(np.arange(n), groups)
    sums = np.array(
        [
            [np.einsum("pa,pb->ab", apart[part, i], apart[part, j]) for i, j in pairs]
            for part in parts
        ]
    )
    sizes = np.array([len(part) for part in parts])
    total = sums.sum(axis=0)
    products = [
        (own / size * (total - own) / (n - size)).mean()
        for own, size in zip(sums, sizes, strict=True)
    ]
    return {
        "covariance": np.array(products),
        "movement": np.array((moved**2).mean()),
    }


def _stacked(dataset: xr.Dataset) -> tuple[Floats, Floats, Floats]:
    """Return mean squared covariances ``(shape, group)`` over all draws, and L and M."""
    part = dataset["covariance"].mean("draw").stack(shape=("depth", "hidden_width"))
    part = part.transpose("shape", "group")
    depth, width = (part[each].to_numpy().astype(float) for each in ("depth", "hidden_width"))
    return part.to_numpy(), depth, width


def orders(dataset: xr.Dataset) -> list[tuple[float, float]]:
    """Fit L^-p M^-q (1 + terms in 1/(LM), its square, and 1/L) to the RMS covariance: p and q.

    The first order alone leaves more than the noise, D/(LM) being up to 0.16.
    """
    squares, depth, width = _stacked(dataset)
    inverse = 1 / (depth * width)
    design = np.stack(
        [np.ones_like(depth), -np.log(depth), -np.log(width), inverse, inverse**2, 1 / depth],
        axis=1,
    )
    solve = np.linalg.pinv(design)
    if (squares.mean(axis=1) <= 0).any():
        return [(np.nan, np.nan)] * 2
    return [jackknife(squares, lambda mean, row=row: _slope(solve[row], mean)) for row in (1, 2)]


def _slope(row: Floats, squares: Floats) -> float:
    # A negative mean square is noise alone.
    return float(row @ np.log(np.where(squares > 0, squares, np.nan))) / 2


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the covariance of two units against M and against L."""
    with limits.plots.style():
        figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.1), layout="constrained", sharey=True)
        for ax, along, other, symbol in zip(
            panels, ("hidden_width", "depth"), ("depth", "hidden_width"), "LM", strict=True
        ):
            _panel(ax, dataset, along, other, symbol)
        panels[0].set(xlabel="hidden width $M$", ylabel="RMS covariance / mean square movement")
        panels[1].set(xlabel="depth $L$")
        title = f"two units of the middle layer, $k={dataset.attrs['steps']}$"
        figure.suptitle(title, fontsize=9)
    return figure


def _panel(ax: Axes, dataset: xr.Dataset, along: str, other: str, symbol: str) -> None:
    scaled = dataset["covariance"] / dataset["movement"] ** 2
    groups = scaled.mean("draw").transpose(other, along, "group")
    values = dataset[along].to_numpy()
    chosen = dataset[other].to_numpy()
    for row, value, colour, marker in zip(groups, chosen, COLOURS, MARKERS, strict=False):
        squares = row.mean("group").to_numpy()
        error = row.std("group", ddof=1).to_numpy() / row.sizes["group"] ** 0.5
        low, middle, high = (
            np.sqrt(np.maximum(squares + sign * 2 * error, 0)) for sign in (-1, 0, 1)
        )
        ax.errorbar(
            values, middle, yerr=[middle - low, high - middle], color=colour, marker=marker,
            linestyle="none", capsize=2, label=f"${symbol}={value}$",
        )  # fmt: skip
        ax.plot(values, middle[0] * values[0] / values, **{**DASHED, "color": colour})
    ax.plot([], [], label="slope $-1$", **DASHED)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(values, [str(each) for each in values])
    ax.minorticks_off()
    ax.legend(loc="lower left", ncols=2)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the exponents of L and M in the covariance of two units."""
    n = dataset.sizes["group"]
    found = orders(dataset)
    verdicts = []
    for symbol, along, estimate in zip("LM", ("depth", "hidden_width"), found, strict=True):
        sizes = dataset[along].to_numpy()
        verdicts.append(
            of_estimate(
                f"the covariance of two units falls like {symbol}^-p, "
                f"{dataset.sizes['draw']} data sets",
                estimate, n, 1.0, widest=WIDEST, sizes=f"{symbol} = {sizes[0]}-{sizes[-1]}",
                changed=CHANGED,
            )
        )  # fmt: skip
    return tuple(verdicts)
