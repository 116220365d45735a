"""The norm at tau = L^-1/2: lognormal in the limit, approached like L^-1/2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

import limits
from limits.experiments.zhang2022._post_relu import CITATION as CITATION
from limits.experiments.zhang2022._post_relu import inputs, network
from limits.plots import BLUE, DASHED, ORANGE

_ENTRIES = 2**15
_COLOURS = (ORANGE, BLUE)
_MARKERS = ("s", "o")


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    widths : tuple of int
        Sizes m of the hidden state, two of them.
    depths : tuple of int
        Depths L; the last one is drawn as a histogram.
    n_draws : int
        Networks, each with an input of its own.
    coefficient : float
        The c of tau = c L^-1/2; T = c^2.
    """

    widths: tuple[int, ...] = (16, 128)
    depths: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    n_draws: int = 10000
    coefficient: float = 1.0


SCALES = {
    "smoke": Config(widths=(8, 16), depths=(32, 128, 512), n_draws=12000),
    "laptop": Config(),
    "paper": Config(depths=(250, 500, 1000, 2000, 4000, 8000, 16000), n_draws=20000),
}


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    return {"width": config.widths, "depth": config.depths}


def cost(config: Config, *, width: int, depth: int) -> float:
    return depth * (width + 8)


def task(
    config: Config, *, seed: int, width: int, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Return log(|h_L|^2 / |h_0|^2) of networks with lazy weights."""
    net, path = network(0.5, config.coefficient), limits.BrownianPath(width)
    h0 = inputs(width, n_inputs=config.n_draws, seed=seed)
    part, logs = _ENTRIES // width, []
    for first in range(0, config.n_draws, part):
        states = h0[first : first + part]
        sample = path.sample(
            depth=depth, n_paths=len(states), seed=seed * config.n_draws + first,
            dtype=torch.float32, lazy=True,
        )  # fmt: skip
        out = net(states, sample)
        logs.append(2 * (out.log_norms[-1] - out.log_norms[0])[:, 0])
        if progress is not None:
            progress(min(first + part, config.n_draws), config.n_draws, "draws")
    return xr.Dataset(
        {"log_ratio": ("draw", torch.cat(logs).numpy())}, attrs={"coefficient": config.coefficient}
    )


def law(dataset: xr.Dataset, width: int) -> limits.closed_forms.LogNormal:
    return limits.closed_forms.log_norm_law(
        "post-relu", width, coefficient=float(dataset.attrs["coefficient"])
    )


def moments(dataset: xr.Dataset, width: int) -> dict[str, np.ndarray]:
    """Return mean and variance of the log at every depth, each with its standard error."""
    logs = dataset["log_ratio"].sel(width=width).transpose("depth", "draw").to_numpy().astype(float)
    variance = logs.var(axis=1, ddof=1)
    fourth = ((logs - logs.mean(axis=1, keepdims=True)) ** 4).mean(axis=1)
    root = logs.shape[1] ** 0.5
    return {
        "mean": np.stack([logs.mean(axis=1), np.sqrt(variance) / root]),
        "variance": np.stack([variance, np.sqrt(fourth - variance**2) / root]),
    }


def extrapolated(depths: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """Return limit, its standard error and the coefficient of L^-1/2, by weighted least squares."""
    design = np.stack([np.ones(len(depths)), depths**-0.5], axis=1) / found[1][:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit, slope = covariance @ design.T @ (found[0] / found[1])
    return float(limit), float(covariance[0, 0] ** 0.5), float(slope)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw histograms with the density of the limit, and the approach of both moments."""
    widths = [int(width) for width in dataset["width"]]
    with limits.plots.style():
        figure, panels = plt.subplots(2, 2, figsize=(7.2, 4.4), layout="constrained")
        for ax, width, colour in zip(panels[0], widths, _COLOURS, strict=True):
            _histogram(ax, dataset, width, colour)
        for ax, name in zip(panels[1], ("mean", "variance"), strict=True):
            _approach(ax, dataset, name)
        panels[0, 0].set_ylabel("density")
        figure.suptitle(
            rf"$h_{{k+1}}=\mathrm{{relu}}(h_k+\tau W_kh_k)$, $\tau={_tau(dataset)}L^{{-1/2}}$, "
            rf"$T=\tau^2L={float(dataset.attrs['coefficient']) ** 2:g}$, "
            f"{dataset.sizes['draw']} networks per depth", fontsize=8, color="0.35",
        )  # fmt: skip
    return figure


def _tau(dataset: xr.Dataset) -> str:
    coefficient = float(dataset.attrs["coefficient"])
    return "" if coefficient == 1 else f"{coefficient:g}\\,"


def _histogram(ax: Axes, dataset: xr.Dataset, width: int, colour: str) -> None:
    depth, exact = int(dataset["depth"][-1]), law(dataset, width)
    values = dataset["log_ratio"].sel(width=width, depth=depth).to_numpy()
    deviation = exact.variance**0.5
    grid = exact.mean + deviation * np.linspace(-4, 4, 200)
    ax.hist(
        values, bins=np.linspace(grid[0], grid[-1], 61), density=True, color=colour, alpha=0.45,
        edgecolor="white", linewidth=0.3,
    )  # fmt: skip
    label = r"limit: $\mathcal{N}(T(1-\frac{2}{m}),\,\frac{4T}{m})$"
    ax.plot(grid, norm(exact.mean, deviation).pdf(grid), label=label, **DASHED)
    ax.set_title(f"$m={width}$, $L={depth}$", fontsize=8.5)
    ax.set_xlabel(r"$\log\,(|h_L|^2\,/\,|h_0|^2)$")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 1.22 * high)
    ax.legend(loc="upper left")


def _approach(ax: Axes, dataset: xr.Dataset, name: str) -> None:
    depths = dataset["depth"].to_numpy().astype(float)
    grid = np.linspace(0, 1.05 * depths[0] ** -0.5, 50)
    for width, colour, marker in zip(dataset["width"], _COLOURS, _MARKERS, strict=True):
        found = moments(dataset, int(width))[name]
        exact = getattr(law(dataset, int(width)), name)
        value, error, slope = extrapolated(depths, found)
        # Variances of different widths are compared in units of their limits.
        unit = exact if name == "variance" else 1.0
        ax.errorbar(
            depths**-0.5, found[0] / unit, yerr=1.96 * found[1] / unit, color=colour,
            marker=marker, linestyle="none", capsize=2, markersize=3.5,
        )  # fmt: skip
        span = rf"{value / unit:.3f}$\,\pm\,${1.96 * error / unit:.3f}"
        label = rf"$m={int(width)}$: {span} at $L=\infty$"
        ax.plot(grid, (value + slope * grid) / unit, color=colour, linewidth=0.9, label=label)
        if name == "mean":
            ax.plot(0, exact, marker="*", color=colour, markersize=9, clip_on=False, zorder=6)
    if name == "variance":
        ax.axhline(1, **DASHED)
        ax.set_ylabel(r"variance of the log $/\,\frac{4T}{m}$")
    else:
        ax.plot([], [], "*", color="0.3", markersize=8, label=r"limit $T(1-\frac{2}{m})$")
        ax.set_ylabel("mean of the log")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.45 * (high - low), high)
    ax.set_xlim(0, None)
    ax.set_xlabel(r"$L^{-1/2}$")
    ax.legend(loc="lower left")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge both moments after extrapolation to infinite depth."""
    depths = dataset["depth"].to_numpy().astype(float)
    span = f"from L = {depths[0]:.0f}-{depths[-1]:.0f}"
    verdicts = []
    for width in map(int, dataset["width"].to_numpy()):
        exact, found = law(dataset, width), moments(dataset, width)
        mean, mean_error, slope = extrapolated(depths, found["mean"])
        variance, variance_error, _ = extrapolated(depths, found["variance"])
        verdicts += [
            limits.Verdict(
                f"m = {width}: mean of the log at infinite depth",
                f"{exact.mean:.4f} within 0.03",
                f"{mean:.4f} +- {1.96 * mean_error:.4f}, bias {slope:.2f} L^-1/2, {span}",
                abs(mean - exact.mean) < 0.03 and mean_error < 0.015,
            ),
            limits.Verdict(
                f"m = {width}: variance of the log at infinite depth",
                f"{exact.variance:.4f} within 5 %",
                f"{variance:.4f} +- {1.96 * variance_error:.4f}, {span}",
                abs(variance / exact.variance - 1) < 0.05
                and variance_error < 0.025 * exact.variance,
            ),
        ]
    return tuple(verdicts)
