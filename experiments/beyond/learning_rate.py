"""Learning rates that transfer across depth: which part of the recommended scaling does it.

Residual networks h + L^-alpha V_k tanh(h) with independent layers, Adam, scikit-learn's digits.
The depth check recommends branches times 1/sqrt(L) and Adam's rate proportional to 1/sqrt(L).
Shown are nothing, either half alone, both, and branches times 1/L. A rate proportional to
1/sqrt(L) is the same training on another axis, so that its part is exact: a factor sqrt(L).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments._intervals import student_interval
from limits.experiments.beyond._rates import log_best, refined
from limits.plots import BLUE, COLOURS, ORANGE

CITATION = (
    "Yang, Yu, Zhu, Hayou: Tensor Programs VI: Feature learning in infinite-depth neural networks. "
    "arXiv:2310.02244 (2023). Bordelon, Noci, Li, Hanin, Pehlevan: Depthwise hyperparameter "
    "transfer in residual networks. arXiv:2309.16620 (2023)."
)
BRANCHES = {"0": 0.0, "1/2": 0.5, "1": 1.0}
"""Exponents alpha of the branches, by the name of their axis."""
SAME = 1.0
"""Powers of two within which rates are the same: one step of the coarse grid."""


@dataclass(frozen=True)
class Arm:
    """What is scaled with depth: branches by L^-alpha, the rate by L^-rate."""

    name: str
    branches: str
    rate: float
    transfers: bool


ARMS = (
    Arm("nothing scaled", "0", 0.0, False),
    Arm("rate alone, L^-1/2", "0", 0.5, False),
    Arm("branches alone, L^-1/2", "1/2", 0.0, False),
    Arm("branches alone, 1/L", "1", 0.0, True),
    Arm("branches and rate, L^-1/2", "1/2", 0.5, True),
)


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
        Learning rates 2^k; half steps around the best one follow.
    n_draws, first_draw : int
        Draws of the weights and orders of the data, and the number of the first; the same for all
        depths and scalings, so that shifts are paired.
    epochs : int
        Passes over the training part, batches of 128, the last one at a tenth of the rate.
    """

    depths: tuple[int, ...] = (4, 16, 64)
    width: int = 32
    exponents: tuple[int, ...] = tuple(range(-12, -1))
    n_draws: int = 5
    first_draw: int = 0
    epochs: int = 5


SCALES = {
    "smoke": Config(
        depths=(4, 8), width=16, n_draws=2, exponents=tuple(range(-8, -3)), epochs=2
    ),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256), width=64, n_draws=8),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for every scaling of the branches and depth."""
    return {"branches": tuple(BRANCHES), "depth": config.depths}


def cost(config: Config, *, branches: str, depth: int) -> float:
    """Deep networks first."""
    return depth


def task(
    config: Config,
    *,
    seed: int,
    branches: str,
    depth: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train at all rates, and around the best once more; keep validation and test losses."""
    path, read = limits.BrownianPath(config.width), limits.data.digits()
    split = limits.data.validation_split(read)

    def losses(exponents: Sequence[float]) -> np.ndarray:
        tried = [
            limits.Configuration(
                path, 2.0**exponent, beta=BRANCHES[branches], seed=config.first_draw + draw
            )
            for exponent in exponents
            for draw in range(config.n_draws)
        ]
        trained = limits.train_ensemble(
            tried, split, depth=depth, epochs=config.epochs, activation="tanh",
            step_epochs=max(1, config.epochs - 1), train_embedding=False, train_readout=False,
            progress=progress,
        )  # fmt: skip
        return trained.test_loss.numpy().reshape(len(exponents), config.n_draws)

    exponents, found = refined(losses, config.exponents)
    return xr.Dataset(
        {"loss": (("exponent", "draw"), found)},
        coords={"exponent": exponents, "draw": np.arange(config.n_draws)},
        attrs={"width": config.width, "epochs": config.epochs},
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the loss against the rate for all branches, and the shifts of the best rate."""
    with limits.plots.style():
        figure, row = plt.subplots(
            1, 4, figsize=(7.2, 2.7), layout="constrained", width_ratios=[1, 1, 1, 1.25]
        )
        for ax, branches in zip(row, BRANCHES, strict=False):
            _panel(ax, dataset["loss"].sel(branches=branches))
            ax.sharey(row[0])
        titles = ("branches as they are", r"branches $\times\,L^{-1/2}$", r"branches $\times\,1/L$")
        for ax, title in zip(row, titles, strict=False):
            ax.set_title(title, fontsize=8)
            ax.set_xlabel("Adam's rate")
        row[0].set_ylabel("validation loss (nats)")
        row[2].legend(*row[0].get_legend_handles_labels(), fontsize=6.5, loc="upper right")
        for ax in row[1:3]:
            ax.tick_params(labelleft=False)
        _shifts(row[3], dataset)
    return figure


def _panel(ax: Axes, losses: xr.DataArray) -> None:
    depths = [int(depth) for depth in losses["depth"]]
    for depth, (colour, marker) in zip(depths, zip(COLOURS, "os^D", strict=True), strict=False):
        at = losses.sel(depth=depth).transpose("exponent", "draw").to_numpy()
        known = np.isfinite(at).all(axis=1)
        rates = 2.0 ** losses["exponent"].to_numpy()[known]
        ax.fill_between(
            rates, at[known].min(axis=1), at[known].max(axis=1), color=colour, alpha=0.15
        )
        ax.plot(
            rates, np.exp(np.log(at[known]).mean(axis=1)), color=colour, marker=marker,
            markersize=2.5, label=f"$L={depth}$",
        )  # fmt: skip
    ax.set(xscale="log", yscale="log")


def _shifts(ax: Axes, dataset: xr.Dataset) -> None:
    for place, arm in enumerate(ARMS):
        values, inside = shifts(dataset, arm)
        middle, low, high = student_interval(values, 1 - 0.05 / len(ARMS))
        colour = BLUE if arm.transfers else ORANGE
        ax.plot([low, high], [place] * 2, color=colour, linewidth=1.2)
        ax.plot(middle, place, "o" if inside else "x", color=colour, markersize=4)
    ax.axvspan(-SAME, SAME, color="0.9", zorder=0)
    ax.axvline(0, color="0.35", linestyle="--", linewidth=0.9)
    depths = dataset["depth"].to_numpy()
    ax.set_yticks(range(len(ARMS)), [arm.name.replace(", ", ",\n") for arm in ARMS], fontsize=6.5)
    ax.set_ylim(len(ARMS) - 0.5, -0.5)
    ax.set_xlabel(r"$\log_2$ of the shift")
    ax.set_title(f"best rate, $L={depths[0]}$ to ${depths[-1]}$", fontsize=8)


def shifts(dataset: xr.Dataset, arm: Arm) -> tuple[np.ndarray, bool]:
    """Return log2 of the best rate at the last depth over that at the first, for every draw.

    In units of the scaled rate: L^-1/2 in front of it adds log2(L)/2. Second: whether all best
    rates lie inside what was tried.
    """
    losses = dataset["loss"].sel(branches=arm.branches)
    depths = dataset["depth"].to_numpy()
    ends = []
    for depth in (depths[0], depths[-1]):
        at = losses.sel(depth=depth).transpose("exponent", "draw").to_numpy()
        ends.append([log_best(losses["exponent"].to_numpy(), each) for each in at.T])
    (first, left), (last, right) = (zip(*end, strict=True) for end in ends)
    moved = np.array(last) - np.array(first) + arm.rate * np.log2(depths[-1] / depths[0])
    return moved, all(left) and all(right)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge how far the best rate moves under every scaling, and what branches contribute."""
    verdicts = [_arm_verdict(dataset, arm) for arm in ARMS]
    nothing, plain_inside = shifts(dataset, ARMS[0])
    branches, scaled_inside = shifts(dataset, ARMS[2])
    middle, low, high = student_interval(branches - nothing, 0.95)
    sure = plain_inside and scaled_inside
    verdicts.append(
        limits.Verdict(
            "branches times L^-1/2 move the best rate of deep networks up, whatever its axis",
            "95 % interval of the paired difference of shifts above 0",
            f"a factor 2^{middle:.1f} [{low:.1f}, {high:.1f}]",
            sure and low > 0,
            decided=sure and (low > 0 or high < 0),
        )
    )
    return tuple(verdicts)


def _arm_verdict(dataset: xr.Dataset, arm: Arm) -> limits.Verdict:
    values, inside = shifts(dataset, arm)
    middle, low, high = student_interval(values, 1 - 0.05 / len(ARMS))
    within, outside = low > -SAME and high < SAME, low > SAME or high < -SAME
    depths = dataset["depth"].to_numpy()
    return limits.Verdict(
        f"{arm.name}: the best rate {'stays' if arm.transfers else 'moves'}, L = {depths[0]} to "
        f"{depths[-1]}",
        f"95 % interval, for all {len(ARMS)} at once, of the shift "
        f"{'within' if arm.transfers else 'beyond'} a factor 2; best rates inside what was tried",
        f"2^{middle:.1f} [{low:.1f}, {high:.1f}], {len(values)} draws"
        + ("" if inside else ", at the end of what was tried"),
        inside and (within if arm.transfers else outside),
        decided=inside and (within or outside),
    )
