"""Learning rates that transfer across depth: the loss against the rate of Adam, two scalings.

Residual networks h + L^-alpha V_k tanh(h) with independent layers on scikit-learn's digits. With
branches of order one the best rate falls with depth; with the depth check's recommendation,
branches times 1/sqrt(L) and Adam's rate proportional to 1/sqrt(L), one rate serves all depths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.plots import COLOURS

CITATION = (
    "Yang, Yu, Zhu, Hayou: Tensor Programs VI: Feature learning in infinite-depth neural networks. "
    "arXiv:2310.02244 (2023). Bordelon, Noci, Li, Hanin, Pehlevan: Depthwise hyperparameter "
    "transfer in residual networks. arXiv:2309.16620 (2023)."
)
SCALINGS = {"plain": 0.0, "recommended": 0.5}
_LABELS = {
    "plain": "branches and rate as they are",
    "recommended": r"branches and rate $\propto L^{-1/2}$",
}


@dataclass(frozen=True)
class Config:
    """What is trained.

    Parameters
    ----------
    depths : tuple of int
        Numbers of layers.
    width : int
        Of the hidden state.
    exponents : tuple of int
        Learning rates 2^k at the smallest depth.
    n_seeds : int
        Draws of the weights and orders of the data.
    epochs : int
        Passes over the digits, batches of 128.
    """

    depths: tuple[int, ...] = (4, 16, 64)
    width: int = 32
    exponents: tuple[int, ...] = tuple(range(-13, -1))
    n_seeds: int = 4
    epochs: int = 5


SCALES = {
    "smoke": Config(depths=(4, 16), n_seeds=2, exponents=tuple(range(-11, -1)), epochs=3),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256), width=64, n_seeds=8),
}


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for every scaling and depth."""
    return {"scaling": tuple(SCALINGS), "depth": config.depths}


def cost(config: Config, *, scaling: str, depth: int) -> float:
    """Deep networks first."""
    return depth


def task(
    config: Config,
    *,
    seed: int,
    scaling: str,
    depth: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train at every rate and keep the mean loss of the last epoch."""
    alpha = SCALINGS[scaling]
    base = 2.0 ** np.array(config.exponents)
    # Adam's rate follows L^-(1 - alpha') with the exponent 1/2 that the check recommends.
    rates = base * (depth / min(config.depths)) ** -alpha
    path = limits.BrownianPath(config.width)
    tried = [
        limits.Configuration(path, float(rate), beta=alpha, seed=seed + draw)
        for rate in rates
        for draw in range(config.n_seeds)
    ]
    trained = limits.train_ensemble(
        tried, limits.data.digits(), depth=depth, epochs=config.epochs, activation="tanh",
        step_epochs=None, train_embedding=False, train_readout=False, progress=progress,
    )  # fmt: skip
    steps = trained.losses.shape[1] // config.epochs
    losses = trained.losses[:, -steps:].mean(dim=1).reshape(len(rates), config.n_seeds)
    return xr.Dataset(
        {"loss": (("rate", "draw"), losses.numpy().astype(np.float32))},
        coords={"rate": base, "draw": np.arange(config.n_seeds)},
    )


def best_rate(losses: xr.DataArray) -> float:
    """Return the rate of least mean log loss, from a parabola through the three best points."""
    values = np.log(losses.transpose("rate", "draw").to_numpy()).mean(axis=1)
    # A rate at which some draw diverged is not the best one.
    values = np.where(np.isnan(values), np.inf, values)
    logs = np.log2(losses["rate"].to_numpy())
    i = int(np.argmin(values))
    around = slice(i - 1, i + 2)
    if not 0 < i < len(values) - 1 or not np.isfinite(values[around]).all():
        return float(2 ** logs[i])
    a, b, _ = np.polyfit(logs[around], values[around], 2)
    return float(2 ** (-b / (2 * a)))


def draw(dataset: xr.Dataset) -> Figure:
    """Draw loss against rate, a panel a scaling and a line a depth."""
    with limits.plots.style():
        figure, panels = plt.subplots(
            1, 2, figsize=(7.2, 3.0), sharex=True, sharey=True, layout="constrained"
        )
        for ax, scaling in zip(panels, SCALINGS, strict=True):
            _panel(ax, dataset["loss"].sel(scaling=scaling))
            ax.set_title(_LABELS[scaling])
        panels[0].set_ylabel("loss of the last epoch (nats)")
        panels[0].set_ylim(float(dataset["loss"].min()) * 0.8, 5)
    return figure


def _panel(ax: Axes, losses: xr.DataArray) -> None:
    depths = [int(depth) for depth in losses["depth"]]
    styles = zip(COLOURS, "os^D", strict=True)
    for depth, (colour, marker) in zip(depths, styles, strict=False):
        at = losses.sel(depth=depth).transpose("rate", "draw")
        middle = np.exp(np.log(at).mean("draw", skipna=False))
        ax.fill_between(at["rate"], at.min("draw"), at.max("draw"), color=colour, alpha=0.15)
        best = best_rate(at)
        ax.plot(
            at["rate"], middle, color=colour, marker=marker, markersize=3.5,
            label=f"L = {depth}, best $2^{{{np.log2(best):.1f}}}$",
        )  # fmt: skip
        ax.axvline(best, color=colour, linestyle=(0, (4, 2)), linewidth=1.0)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel(f"Adam's learning rate, as at L = {min(depths)}")
    ax.legend()


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge how far the best rate moves between the depths."""
    verdicts = []
    for scaling in SCALINGS:
        best = np.array(
            [best_rate(dataset["loss"].sel(scaling=scaling, depth=d)) for d in dataset["depth"]]
        )
        moved = float(best.max() / best.min())
        depths = ", ".join(str(int(depth)) for depth in dataset["depth"])
        listed = ", ".join(f"2^{np.log2(rate):.1f}" for rate in best)
        fixed = scaling == "recommended"
        verdicts.append(
            limits.Verdict(
                f"{scaling}: best rate at depths {depths}",
                "moves by at most a factor of 2" if fixed else "moves by a factor of 4 or more",
                f"{listed}: a factor of {moved:.1f}",
                moved <= 2 if fixed else moved >= 4,
            )
        )
    return tuple(verdicts)
