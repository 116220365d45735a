"""The spectral norm of the linearised network against the edge of free probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t

import limits
from limits.experiments.zhang2022._post_relu import CITATION as CITATION
from limits.experiments.zhang2022._post_relu import LOOKS, Look
from limits.plots import BLUE, DASHED, GREEN, PURPLE

SCALED = {
    "T=1/4": (0.5, 0.5, Look(r"$T=\frac{1}{4}$", PURPLE, "D")),
    "T=1": (0.5, 1.0, Look(r"$T=1$", BLUE, "o")),
    "T=4": (0.5, 2.0, Look(r"$T=4$", GREEN, "^")),
}
"""tau^2 L = T fixed: exponent, coefficient and look."""
CASES = SCALED | {
    f"L^-{beta:g}": (beta, 1.0, LOOKS[beta]) for beta in (1.0, 0.4, 0.25)
}  # fmt: skip
_LARGEST = 0.05
"""Largest standard error of a mean: half of the shift at T = 4 and m = 100."""
_AGAINST_TAU = ("L^-1", "T=1", "L^-0.4", "L^-0.25")


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    width : int
        Size m of the matrices.
    depths : tuple of int
        Depths L where tau^2 L is fixed.
    tau_depths : tuple of int
        Depths L for the other tau.
    n_draws : int
        Products per cell.
    most_draws : int
        Products at T = 4 and the largest depth, where they scatter most.
    """

    width: int = 400
    depths: tuple[int, ...] = (10, 32, 100, 200, 1000)
    tau_depths: tuple[int, ...] = (10, 32, 100, 200)
    n_draws: int = 5
    most_draws: int = 10


SCALES = {
    "smoke": Config(width=100, depths=(10, 50, 200), tau_depths=(10, 50), most_draws=5),
    "laptop": Config(),
    "paper": Config(
        width=1000, depths=(10, 32, 100, 316, 1000), tau_depths=(10, 32, 100, 316, 1000)
    ),
}


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    return {"case": tuple(CASES), "depth": config.depths}


def cost(config: Config, *, case: str, depth: int) -> float:
    return depth * _count(config, case, depth) + 1


def _count(config: Config, case: str, depth: int) -> int:
    if case not in SCALED and depth not in config.tau_depths:
        return 0
    return config.most_draws if case == "T=4" and depth == config.depths[-1] else config.n_draws


def task(
    config: Config, *, seed: int, case: str, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Push the identity through linear networks and return the largest singular values.

    The products of (I + tau W_k) are what a network without gates does to all unit vectors at
    once. Single precision: a product of 1000 rounds to 1e-5 of its norm, against the 1e-2 of its
    scatter over draws.
    """
    beta, coefficient, _ = CASES[case]
    values = np.full(config.most_draws, np.nan, dtype=np.float32)
    count = _count(config, case, depth)
    if count:
        net = limits.ResNet("identity", beta=beta, coefficient=coefficient)
        path = limits.BrownianPath(config.width)
        sample = path.sample(depth=depth, n_paths=count, seed=seed, dtype=torch.float32)
        products = net(torch.eye(config.width), sample).terminal
        values[:count] = torch.linalg.matrix_norm(products, ord=2).numpy()
    return xr.Dataset({"norm": ("draw", values)}, attrs={"width": config.width})


def exact(case: str, depths: np.ndarray, width: int | None = None) -> np.ndarray:
    """Return the edge at finite depth: the mean at a width, or its limit for infinite width."""
    beta, coefficient, _ = CASES[case]
    scale = coefficient * depths**-beta
    return limits.closed_forms.linear_product_edge(depths, scale, width=width)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the norm against depth for T fixed, and for four tau."""
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
        for case, (_, coefficient, look) in SCALED.items():
            _points(left, dataset, case, look, look.title)
            edge = float(limits.closed_forms.linear_product_edge_limit(coefficient**2))
            left.axhline(edge, color=look.colour, linestyle=(0, (1, 1.4)), linewidth=1.2)
            left.text(
                dataset["depth"][-1], edge * 1.04, f"{edge:.3g}", fontsize=7.5, ha="right",
                va="bottom", color=look.colour,
            )  # fmt: skip
        left.set_title(r"$\tau=(T/L)^{1/2}$")
        for case in _AGAINST_TAU:
            look = LOOKS[0.5] if case == "T=1" else CASES[case][2]
            _points(right, dataset, case, look, look.title)
        right.set_title(r"four $\tau$")
        for ax in (left, right):
            ax.set(xscale="log", yscale="log", xlabel="depth $L$")
        left.set_yticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
        left.minorticks_off()
        left.plot([], [], label="edge at depth $L$", **DASHED)
        left.plot([], [], "k:", linewidth=1.2, label=r"edge, $L\to\infty$")
        left.set_ylim(1.4, 180)
        # Lines come before points in a legend; here the cases come first.
        handles, labels = left.get_legend_handles_labels()
        left.legend(
            handles[2:] + handles[:2], labels[2:] + labels[:2], ncols=2, loc="upper left",
            columnspacing=1.0,
        )  # fmt: skip
        left.set_ylabel(r"$\|\,\prod_k (I+\tau W_k)\,\|$")
        right.legend(loc="upper left")
        figure.suptitle(
            rf"width $m={int(dataset.attrs['width'])}$; bars span the draws; edges hold for "
            r"$m\to\infty$", fontsize=8, color="0.35",
        )  # fmt: skip
    return figure


def _points(ax: Axes, dataset: xr.Dataset, case: str, look: Look, label: str) -> None:
    part = dataset["norm"].sel(case=case).dropna("depth", how="all")
    depths = part["depth"].to_numpy().astype(float)
    mean = part.mean("draw").to_numpy()
    reach = [mean - part.min("draw").to_numpy(), part.max("draw").to_numpy() - mean]
    ax.errorbar(
        depths, mean, yerr=reach, color=look.colour, marker=look.marker, linestyle="none",
        capsize=2.5, label=label, zorder=5,
    )  # fmt: skip
    grid = np.geomspace(depths[0], depths[-1], 60)
    ax.plot(grid, exact(case, grid), **{**DASHED, "color": look.colour})


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge mean norms against the edge at the depth and the width that were run."""
    return tuple(_case_verdict(dataset, case) for case in CASES)


def scores(dataset: xr.Dataset, case: str, *, width: int | None) -> tuple[np.ndarray, float, int]:
    """Return (mean - edge) / (standard error) at every depth, the largest error / edge, freedom.

    The norm's relative scatter hardly changes along a case, and five draws tell it badly: it is
    pooled over depths.
    """
    part = dataset["norm"].sel(case=case).dropna("depth", how="all")
    edge = exact(case, part["depth"].to_numpy().astype(float), width=width)
    counts = part.notnull().sum("draw").to_numpy()
    relative = part / part.mean("draw")
    freedom = int((counts - 1).sum())
    spread = float(np.sqrt(((relative - 1) ** 2).sum() / freedom))
    errors = spread / np.sqrt(counts)
    return (part.mean("draw").to_numpy() / edge - 1) / errors, float(errors.max()), freedom


def _case_verdict(dataset: xr.Dataset, case: str) -> limits.Verdict:
    width = int(dataset.attrs["width"])
    found, error, freedom = scores(dataset, case, width=width)
    together = float(found.sum() / len(found) ** 0.5)
    # All cases together stay inside in 99 of 100 runs.
    most = float(t.isf(0.005 / len(CASES), freedom))
    listed = ", ".join(f"{each:+.1f}" for each in found)
    return limits.Verdict(
        f"{case}: mean norm at every L against the edge with its Tracy-Widom shift at m = {width}",
        f"depths together within {most:.1f} standard errors, 99 % for all cases; errors below "
        f"{100 * _LARGEST:g} %",
        f"{together:+.1f} together, {listed} one by one, errors up to {100 * error:.1f} %",
        abs(together) <= most and error < _LARGEST,
    )
