"""Training curves of the analysed network on digit images: which scalings train at any depth.

First and last layer frozen, cross-entropy, plain stochastic gradient descent with one learning
rate for all depths.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120. Training curves of the analysed model."
)

CHANCE = math.log(10)
"""Loss in nats of ten equal shares."""


@dataclass(frozen=True)
class Case:
    """tau = L^-beta, or a feed-forward network with weights of variance `gain` / width."""

    title: str
    beta: float = 0.0
    gain: float = 0.0

    def network(self, depth: int) -> dict[str, float]:
        """Return tau and the factor of the skip connection."""
        if self.gain:
            return {"tau": math.sqrt(self.gain), "skip": 0.0}
        return {"tau": depth**-self.beta, "skip": 1.0}


CASES = {
    "half": Case(r"$\tau=L^{-1/2}$", beta=0.5),
    "one": Case(r"$\tau=1/L$", beta=1.0),
    "quarter": Case(r"$\tau=L^{-1/4}$", beta=0.25),
    "feed-forward-1": Case("feed-forward,\nvariance $1/m$", gain=1.0),
    "feed-forward-2": Case("feed-forward,\nvariance $2/m$", gain=2.0),
}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths : tuple of int
        Depths L.
    width, epochs, batch, n_paths : int
        Width m, passes over the digits, inputs per step, draws of all weights and orders.
    learning_rate : float
        Of plain stochastic gradient descent.
    """

    depths: tuple[int, ...] = (4, 16, 64, 256)
    width: int = 128
    epochs: int = 8
    batch: int = 64
    n_paths: int = 3
    learning_rate: float = 0.1


SCALES = {
    "smoke": Config(depths=(4, 16, 128), width=64, n_paths=1),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256, 1024), width=512, n_paths=5),
}


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for every scaling and depth."""
    return {"case": tuple(CASES), "depth": config.depths}


def cost(config: Config, *, case: str, depth: int) -> float:
    """Relative time: layers."""
    return depth


def task(
    config: Config,
    *,
    seed: int,
    case: str,
    depth: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train all draws of one network."""
    data = limits.data.unit_rows(limits.data.digits())
    nets = limits.AnalysedEnsemble(
        limits.BrownianPath(config.width), depth=depth, n_paths=config.n_paths, seed=seed,
        features=data.features, outputs=data.n_classes, **CASES[case].network(depth),
    )  # fmt: skip
    losses = limits.train_analysed(
        nets, data, rate=config.learning_rate, batch=config.batch, epochs=config.epochs,
        seed=seed, progress=progress,
    )  # fmt: skip
    return xr.Dataset(
        {"loss": (("path", "epoch"), losses.numpy())},
        coords={"path": np.arange(config.n_paths), "epoch": 1 + np.arange(config.epochs)},
        attrs={
            "width": config.width, "learning_rate": config.learning_rate, "batch": config.batch,
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    """Draw one panel a scaling, one curve a depth."""
    with limits.plots.style():
        figure, row = plt.subplots(
            1, len(CASES), figsize=(7.2, 2.7), layout="constrained", sharey=True
        )
        for ax, case in zip(row, CASES, strict=True):
            _draw_curves(ax, dataset.sel(case=case))
            ax.set_title(CASES[case].title, fontsize=8.5)
            ax.set_xlabel("epoch")
        row[0].set_ylabel("training loss (nats)")
        row[0].set(yscale="log", ylim=(0.03, 30))
        row[0].set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        row[0].text(1, 1.08 * CHANCE, "chance", fontsize=6.5, color="0.35")
        handles, labels = row[0].get_legend_handles_labels()
        row[1].legend(handles, labels, fontsize=6.5, loc="lower left", handlelength=2.2)
        settings = dataset.attrs
        figure.supxlabel(
            f"digits, $m={settings['width']}$, first and last layer frozen, SGD "
            f"{settings['learning_rate']:g}, batch {settings['batch']}; lines: mean, "
            f"bands: all {dataset.sizes['path']} draws; cross: a draw diverged",
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _draw_curves(ax: Axes, part: xr.Dataset) -> None:
    depths = part["depth"].to_numpy()
    epochs = part["epoch"].to_numpy()
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.88, len(depths)))
    looks = zip(depths, shades, ("-", "--", "-.", ":", "-"), "os^Dv", strict=False)
    for depth, shade, dashes, marker in looks:
        losses = part["loss"].sel(depth=depth).transpose("path", "epoch").to_numpy()
        left = ~np.isnan(losses).all(axis=0)
        alive = losses[:, left]
        ax.plot(
            epochs[left], np.nanmean(alive, axis=0), color=shade, linestyle=dashes, marker=marker,
            markersize=2.8, label=f"$L={depth}$",
        )  # fmt: skip
        ax.fill_between(
            epochs[left], np.nanmin(alive, axis=0), np.nanmax(alive, axis=0), color=shade,
            alpha=0.25, linewidth=0,
        )  # fmt: skip
        lost = np.isnan(losses)
        first = epochs[lost[lost.any(axis=1)].argmax(axis=1)]
        ax.plot(first, np.geomspace(9, 24, len(losses))[: len(first)], "x", color=shade)
    ax.set_xticks([2, 4, 6, 8] if len(epochs) == 8 else epochs)
    ax.axhline(CHANCE, linestyle="--", color="0.35", linewidth=0.8, zorder=0)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge which networks train."""
    depths = dataset["depth"].to_numpy()
    last = dataset["loss"].isel(epoch=-1).transpose("case", "depth", "path")
    half = last.sel(case="half").to_numpy()
    one = last.sel(case="one").mean("path").to_numpy()
    deepest = depths[-1]
    quarter = last.sel(case="quarter", depth=deepest).to_numpy()
    deep = dataset["loss"].sel(
        case=["feed-forward-1", "feed-forward-2"], depth=depths[depths >= 64]
    )
    vanished = last.sel(case="feed-forward-1", depth=depths[depths >= 64]).to_numpy()
    spread = half.mean(axis=1).max() / half.mean(axis=1).min()
    return (
        limits.Verdict(
            "tau = L^-1/2: losses after training at all depths",
            "within a factor 2 of each other, every draw below 1",
            f"factor {spread:.2f} ("
            + ", ".join(f"{value:.3f}" for value in half.mean(axis=1))
            + f"), draws up to {half.max():.3f}",
            bool(spread < 2 and half.max() < 1),
        ),
        limits.Verdict(
            f"tau = L^-1/4 at L = {deepest}",
            "every draw fails: diverges, or stays above 2",
            f"{int(np.isnan(quarter).sum())} of {quarter.size} diverged",
            bool((np.isnan(quarter) | (quarter > 2)).all()),
        ),
        limits.Verdict(
            "tau = 1/L learns more slowly the deeper it is",
            "loss after training grows with depth",
            ", ".join(f"{value:.2f}" for value in one),
            bool((np.diff(one) > 0).all()),
        ),
        limits.Verdict(
            "feed-forward at L >= 64 does not leave 2.30",
            "variance 1/m: within 0.02 in the end; both: no epoch of any draw below 2.25",
            f"{vanished.min():.3f}-{vanished.max():.3f}; lowest epoch {float(deep.min()):.3f}, "
            f"{int(np.isnan(deep.isel(epoch=-1)).sum())} draws diverged",
            bool(np.abs(vanished - CHANCE).max() < 0.02 and float(deep.min()) > 2.25),
        ),
    )
