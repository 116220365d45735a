"""Fluctuation of trained networks and their learning against alpha, lazy where it is large.

Convention of the published figure: alpha is the spread of v in units of sqrt(D), eta_u falls as
1 / alpha^2 beyond alpha = 1. Left: standard deviation of outputs after ten steps on the published
formula. Right: RMS change of U, which leaves the order one at alpha = 1: training becomes lazy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, MARKERS

# RMS change of U after 50 steps at D = 10: alpha from, to, smallest, largest.
CHANGES = ((0.0, 0.3, 1.9, 2.7), (0.99, 1.01, 2.6, 3.3), (2.9, 3.1, 0.95, 1.25), (9.5, 10.5, 0.28, 0.43))  # fmt: skip # noqa: E501
SHARE = 0.3
LARGEST = 10.0


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    widths : tuple of int
        Embedding dimensions D.
    depth, hidden_width : int
        L and M.
    alphas : tuple of float
        Spread of v in units of sqrt(D).
    n_inputs : int
        Inputs N, for every D.
    steps, long_steps : int
        Steps after which fluctuations and the change of U are measured.
    long_width : int
        The D whose networks take the long way.
    n_paths : int
        Repetitions.
    """

    widths: tuple[int, ...] = (10, 31, 100)
    depth: int = 1000
    hidden_width: int = 10
    alphas: tuple[float, ...] = (
        0.01, 0.016, 0.026, 0.043, 0.07, 0.11, 0.18, 0.3, 0.48, 0.7, 1.0, 1.5, 2.1, 3.0, 4.8, 7.0,
        10.0, 22.0, 46.0, 100.0,
    )  # fmt: skip
    n_inputs: int = 10
    steps: int = 10
    long_steps: int = 50
    long_width: int = 10
    n_paths: int = 6


SCALES = {
    "smoke": Config(widths=(10, 31), depth=100, alphas=(0.1, 1.0, 3.0), n_paths=8),
    "laptop": Config(),
    "paper": Config(n_paths=20),
}


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    """One task for every D and alpha."""
    return {"width": config.widths, "alpha": config.alphas}


def cost(config: Config, *, width: int, alpha: float) -> float:
    return (20 + width) * (config.long_steps if width == config.long_width else config.steps)


def task(
    config: Config, *, seed: int, width: int, alpha: float, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one D and alpha."""
    # A draw of the law at every D: which data the published formula was read from is not known.
    x, y = _problem.data(width, config.n_inputs, draw=0)
    net = limits.MeanFieldResNet(
        width, config.hidden_width, depth=config.depth, alpha=alpha, convention="initialisation"
    )
    weights = net.sample(n_paths=config.n_paths, seed=seed)
    start = weights.u.clone()
    steps = config.long_steps if width == config.long_width else config.steps
    out = net.descend(
        x, y, weights, steps=steps, keep=(config.steps,), in_place=True, nonfinite="keep"
    )
    outputs = out.at(config.steps)
    deviations = (outputs - outputs.mean(dim=0)).square().mean(dim=(1, 2)).sqrt()
    change = (out.weights.u - start).square().mean(dim=(0, 2, 3)).sqrt()
    factor = (config.n_paths / (config.n_paths - 1)) ** 0.5
    return xr.Dataset(
        {
            "deviation": ("path", (factor * deviations).numpy()),
            # After fewer steps it is another quantity.
            "change": ("path", np.where(steps == config.long_steps, change.numpy(), np.nan)),
            "loss": out.losses[config.steps].mean().item(),
        },
        attrs={
            "depth": config.depth,
            "hidden_width": config.hidden_width,
            "steps": config.steps,
            "long_steps": config.long_steps,
            "long_width": config.long_width,
        },
    )


def published(alpha: np.ndarray, width: int, shape: int) -> np.ndarray:
    """Return the published formula of the standard deviation; `shape` is L M."""
    return ((0.05 + 0.3 * alpha) * width**0.5 + 0.4) / shape**0.5


def deviations(dataset: xr.Dataset) -> xr.DataArray:
    """Return the standard deviation of outputs over repetitions, RMS over outputs."""
    return np.sqrt((dataset["deviation"] ** 2).mean("path"))


def draw(dataset: xr.Dataset) -> Figure:
    """Draw fluctuation and change of U against alpha."""
    settings, shape = dataset.attrs, dataset.attrs["depth"] * dataset.attrs["hidden_width"]
    dense = np.geomspace(0.01, 100, 200)
    spread = deviations(dataset)
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
        for width, colour, marker in zip(
            dataset["width"].to_numpy(), COLOURS, MARKERS, strict=False
        ):
            look = {"color": colour, "marker": marker, "linestyle": "none", "label": f"$D={width}$"}
            left.plot(dataset["alpha"], spread.sel(width=width), **look)
            valid = dense <= min(LARGEST, (shape / width) ** 0.5)
            curve = published(dense, width, shape)
            left.plot(dense[valid], curve[valid], **{**DASHED, "color": colour})
            left.plot(dense[~valid], curve[~valid], color=colour, linewidth=0.7, alpha=0.5)
            if width == settings["long_width"]:
                moved = dataset["change"].sel(width=width).mean("path")
                right.plot(dataset["alpha"], moved, **look)
        _finish(left, right, dense, settings)
    return figure


def _finish(left: Axes, right: Axes, dense: np.ndarray, settings: Mapping[str, int]) -> None:
    left.plot([], [], label=r"$[(0.05+0.3\alpha)\sqrt{D}+0.4]/\sqrt{LM}$", **DASHED)
    right.plot(dense, np.minimum(3, 3 / dense), label=r"$\min(3,\,3/\alpha)$", **DASHED)
    for ax in (left, right):
        _problem.log_log(ax)
        ax.set_xlabel(r"scale $\alpha$")
    left.set_ylabel(f"standard deviation of outputs, $k={settings['steps']}$")
    right.set_ylabel(rf"RMS change of $U$, $k={settings['long_steps']}$")
    left.legend(loc="upper left")
    right.legend(loc="lower left")
    left.set_title(f"$L={settings['depth']}$, $M={settings['hidden_width']}$, $N=10$")
    right.set_title("feature learning (left) and lazy (right)")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the published formula where it is meant to hold, and the change of U."""
    shape = dataset.attrs["depth"] * dataset.attrs["hidden_width"]
    spread, verdicts = deviations(dataset), []
    alphas = dataset["alpha"].to_numpy()
    for width in dataset["width"].to_numpy().tolist():
        valid = alphas <= min(LARGEST, (shape / width) ** 0.5)
        ratio = spread.sel(width=width).to_numpy()[valid] / published(alphas[valid], width, shape)
        worst = np.abs(ratio - 1).argmax()
        verdicts.append(
            limits.Verdict(
                f"D = {width}: standard deviation on the published formula",
                f"within {SHARE:.0%} for alpha <= min(10, sqrt(LM/D))",
                f"{ratio.min():.2f} to {ratio.max():.2f} of it at {valid.sum()} values, farthest "
                f"at alpha = {alphas[valid][worst]:g}",
                bool(abs(ratio - 1).max() <= SHARE),
            )
        )
    change = dataset["change"].sel(width=dataset.attrs["long_width"]).mean("path").to_numpy()
    for first, last, low, high in CHANGES:
        there = (alphas >= first) & (alphas <= last)
        if not there.any():
            continue
        found = change[there]
        verdicts.append(
            limits.Verdict(
                f"RMS change of U, D = 10, alpha {'up to' if first == 0 else '='} {alphas[there].max():g}",  # noqa: E501
                f"{low} to {high}",
                f"{found.min():.2f} to {found.max():.2f}",
                bool(low <= found.min() and found.max() <= high),
            )
        )
    return tuple(verdicts)
