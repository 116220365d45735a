"""The picture of gradient descent: condition numbers, losses, rates, and what width does."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments._intervals import student_interval
from limits.experiments.zhang2022._rates import (
    CASES,
    REACHED,
    SHARE,
    draws,
    expected_rates,
    log_conditions,
    rates_of,
    reached,
    share_interval,
)
from limits.plots import DASHED


def draw(dataset: xr.Dataset) -> Figure:
    """Draw condition numbers, descent at the largest depth, rates, and what width does."""
    with limits.plots.style():
        figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.6), layout="constrained")
        _draw_conditions(panels[0, 0], dataset)
        _draw_losses(panels[0, 1], dataset)
        _draw_rates(panels[1, 0], dataset)
        _draw_widths(panels[1, 1], dataset)
        settings = dataset.attrs
        figure.supxlabel(
            f"{settings['n_inputs']} inputs of norm 1 at least {settings['separation']:.2f} apart; "
            f"learning rate {SHARE:g} / (largest eigenvalue), network by network; "
            "bars: 95 % over draws",
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _against_depth(ax: Axes, dataset: xr.Dataset, case: str, logs: np.ndarray) -> None:
    ends = np.array([student_interval(row, 0.95) for row in logs])
    middle, low, high = np.exp(ends.T)
    ax.errorbar(
        dataset["depth"], middle, yerr=[middle - low, high - middle], color=CASES[case].colour,
        marker=CASES[case].marker, linestyle="none", capsize=2.5, label=CASES[case].label,
    )  # fmt: skip
    depths = dataset["depth"].to_numpy()
    ax.set(xscale="log", yscale="log", xlabel="depth $L$")
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.minorticks_off()


def _draw_conditions(ax: Axes, dataset: xr.Dataset) -> None:
    depths = dataset["depth"].to_numpy()
    fine = np.geomspace(depths[0], depths[-1], 50)
    for case in CASES:
        logs = log_conditions(dataset, case)
        _against_depth(ax, dataset, case, logs)
        if case == "feed-forward":
            continue
        first, last = logs.mean(axis=1)[[0, -2]]
        slope = (last - first) / (depths[-2] ** -0.5 - depths[0] ** -0.5)
        curve = np.exp(first + slope * (fine**-0.5 - depths[0] ** -0.5))
        ax.plot(fine, curve, **{**DASHED, "color": CASES[case].colour})
    ax.plot([], [], label=r"$a-c\,L^{-1/2}$ without $L=$" + f"{depths[-1]}", **DASHED)
    ax.set_title("condition number of the kernel")
    ax.set_ylim(top=60 * ax.get_ylim()[1])
    ax.legend(loc="upper left", ncols=2)


def _draw_losses(ax: Axes, dataset: xr.Dataset) -> None:
    steps = dataset["step"].to_numpy()
    for case, look in CASES.items():
        logs = draws(dataset, "log_loss", case).isel(depth=-1).transpose("draw", "step")
        relative = (logs - logs.isel(step=0)).to_numpy()
        ax.plot(steps, np.exp(relative.T), color=look.colour, linewidth=0.8, alpha=0.8)
        expected = expected_rates(dataset, case)[-1].mean()
        if case != "feed-forward":
            label = "smallest eigenvalue" if case == "half" else None
            ax.plot(
                steps, np.exp(-expected * steps), **{**DASHED, "color": look.colour}, label=label
            )
    ax.set(yscale="log", xlabel="step", ylim=(1e-8, 30))
    ax.set_title(f"loss / first loss, $L={int(dataset['depth'][-1])}$")
    ax.legend(loc="lower left")


def _draw_rates(ax: Axes, dataset: xr.Dataset) -> None:
    for case in CASES:
        _against_depth(ax, dataset, case, np.log(np.maximum(rates_of(dataset, case), 1e-4)))
        expected = np.exp(np.log(expected_rates(dataset, case)).mean(axis=1))
        if case != "feed-forward":
            ax.plot(dataset["depth"], expected, **{**DASHED, "color": CASES[case].colour})
    ax.plot([], [], label="by the smallest eigenvalue", **DASHED)
    ax.set_title("rate: $-$d log loss / d step")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, 2e-4), high)
    ax.legend(fontsize=6.8, loc="lower left")


def _draw_widths(ax: Axes, dataset: xr.Dataset) -> None:
    found = reached(dataset)
    widths = list(found)
    middle = np.array([hits / total for hits, total in found.values()])
    ends = np.array([share_interval(*each, level=0.95) for each in found.values()])
    look = CASES["half"]
    ax.errorbar(
        widths, middle, yerr=[middle - ends[:, 0], ends[:, 1] - middle], color=look.colour,
        marker=look.marker, linestyle="none", capsize=2.5, label=look.label,
    )  # fmt: skip
    ax.set(xscale="log", xlabel="width $m$", ylim=(-0.05, 1.05))
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.minorticks_off()
    ax.set_title(
        f"share of draws below {REACHED:g} of the first loss, $L={dataset.attrs['narrow_depth']}$",
        fontsize=8,
    )
    ax.legend(loc="lower right")
