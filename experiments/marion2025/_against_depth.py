"""What Figures 1, 3, 4 and 5 share: ratios against depth, their statistics and their panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

import limits
from limits.experiments.marion2025._held import HeldSmoothPath
from limits.experiments.marion2025._ratios import Ratios, measured
from limits.plots import BLUE, ORANGE

DEPTHS = (10, 120, 230, 340, 450, 560, 670, 780, 890, 1000)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
Quantity = Literal["output", "gradient"]
SYMBOLS = {
    "output": r"$|h_L-h_0|\,/\,|h_0|$",
    "gradient": r"$|p_0-p_L|\,/\,|p_L|,\ \ p_k=\partial\mathcal{L}/\partial h_k$",
}
_LOOKS = {"gaussian": (BLUE, "o"), "uniform": (ORANGE, "s"), "smooth": (BLUE, "o")}
_PART = {"gaussian": 256, "uniform": 64, "smooth": 16}
_FRACTIONS = {0.25: r"\frac{1}{4}", 0.5: r"\frac{1}{2}"}
_DASHED = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.1, "zorder": 4}
_DOTTED = {"color": "black", "linestyle": (0, (1, 1.4)), "linewidth": 1.3, "zorder": 4}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    laws : tuple of str
        Laws of the weights: "gaussian" and "uniform" are independent, "smooth" weights vary
        with the layer.
    betas : tuple of float
        Exponents of the residual scale; above, below and at the critical one.
    depths : tuple of int
        Depths L.
    width : int
        Size d of the hidden state.
    n_draws : int
        Networks, each with an input of its own.
    uniform_draws : int
        The same for uniform weights, which have to be drawn in full.
    length_scale : float
        Correlation length of smooth weights in layer time.
    """

    laws: tuple[str, ...] = ("gaussian", "uniform")
    betas: tuple[float, ...] = (1.0, 0.25, 0.5)
    depths: tuple[int, ...] = DEPTHS
    width: int = 40
    n_draws: int = 2000
    uniform_draws: int = 128
    length_scale: float = 0.1


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    return {"law": config.laws, "depth": config.depths}


def cost(config: Config, *, law: str, depth: int) -> float:
    return depth * (10 * config.uniform_draws if law == "uniform" else config.n_draws)


def weights(config: Config, law: str, *, gradient: bool) -> limits.WeightPath:
    """Return the law of the weights; a gradient reads them twice, smooth ones from memory."""
    if law == "smooth":
        smooth = HeldSmoothPath if gradient else limits.SmoothPath
        return smooth(config.width, length_scale=config.length_scale, kernel="rbf-derivative")
    if law == "uniform":
        return limits.IIDPath(config.width)
    return limits.BrownianPath(config.width)


def scan(
    config: Config,
    *,
    seed: int,
    law: str,
    depth: int,
    quantity: Quantity,
    progress: limits.Progress | None,
) -> xr.Dataset:
    """Measure ratios at one depth under one law, all exponents on the same weights."""
    hidden, gradients = measured(
        weights(config, law, gradient=quantity == "gradient"),
        depth=depth,
        betas=config.betas,
        n_draws=config.uniform_draws if law == "uniform" else config.n_draws,
        seed=seed,
        gradient=quantity == "gradient",
        dtype=torch.float64 if law == "smooth" else torch.float32,
        part=_PART[law],
        progress=progress,
    )
    return statistics(hidden if gradients is None else gradients, config.betas).assign_attrs(
        quantity=quantity, width=config.width, length_scale=config.length_scale
    )


def statistics(found: Ratios, betas: Sequence[float]) -> xr.Dataset:
    """Return quantiles, means and their standard errors over draws."""
    change, growth = found.change.numpy(), 2 * found.growth.numpy()
    root = np.sqrt(len(change))
    # A square may overflow far below the critical exponent, where nobody asks for it.
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.exp(2 * change)
        mean_square = squared.mean(axis=0), squared.std(axis=0, ddof=1) / root
    return xr.Dataset(
        {
            "quantile": (("level", "beta"), np.exp(np.quantile(change, LEVELS, axis=0))),
            "mean_square": (("statistic", "beta"), np.stack(mean_square)),
            "mean_log": (("statistic", "beta"), _mean_and_error(change)),
            "log_growth": (("statistic", "beta"), _mean_and_error(growth)),
            "n_draws": len(change),
        },
        coords={
            "level": list(LEVELS),
            "statistic": ["value", "standard_error"],
            "beta": list(betas),
        },
    )


def _mean_and_error(values: np.ndarray) -> np.ndarray:
    return np.stack([values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))])


def slope(dataset: xr.Dataset, law: str, beta: float) -> float:
    """Return d E log ratio / d log L by least squares over all depths."""
    mean = dataset["mean_log"].sel(law=law, beta=beta, statistic="value")
    return float(np.polyfit(np.log(mean["depth"]), mean, 1)[0])


def slope_verdict(
    dataset: xr.Dataset, law: str, beta: float, expected: float, margin: float = 0.1
) -> limits.Verdict:
    found = slope(dataset, law, beta)
    depths = dataset["depth"].to_numpy()
    return limits.Verdict(
        f"{law}, beta = {beta:g}: slope of the mean log in log L",
        f"{expected:g} within {margin:g}",
        f"{found:.3f}, L = {depths.min()}-{depths.max()}",
        abs(found - expected) < margin,
    )


def explosion_verdict(dataset: xr.Dataset, law: str, beta: float, least: float) -> limits.Verdict:
    median = dataset["quantile"].sel(law=law, beta=beta, level=0.5)
    factor = float(median.isel(depth=-1) / median.isel(depth=0))
    depths = dataset["depth"].to_numpy()
    return limits.Verdict(
        f"{law}, beta = {beta:g}: explosion",
        f"median grows more than {least:g} times",
        f"{factor:.3g} times, L = {depths[0]}-{depths[-1]}",
        factor > least,
    )


def panels(dataset: xr.Dataset, names: Mapping[float, str]) -> tuple[Figure, dict[float, Axes]]:
    """Draw quantile bands of every law, one panel per exponent."""
    quantity, n_laws = str(dataset.attrs["quantity"]), dataset.sizes["law"]
    figure, row = plt.subplots(1, len(names), figsize=(7.2, 3.0), layout="constrained")
    drawn = dict(zip(names, row, strict=True))
    for beta, ax in drawn.items():
        for law in map(str, dataset["law"].to_numpy()):
            _band(ax, dataset.sel(law=law, beta=beta), law, alone=n_laws == 1)
        ax.set(xscale="log", yscale="log", xlabel="depth $L$")
        ax.set_title(rf"$\beta={_FRACTIONS.get(beta, f'{beta:g}')}$: {names[beta]}")
        ax.xaxis.set_major_formatter(ScalarFormatter())
    row[0].set_ylabel(SYMBOLS[quantity])
    return figure, drawn


def finish(figure: Figure, drawn: Mapping[float, Axes], note: str, *, columns: int) -> None:
    """Give the panels round ticks and room, one legend for all below, and a line of settings."""
    handles: dict[str, Any] = {}
    for ax in drawn.values():
        low, high = ax.get_ylim()
        room = max(1.15, (10 / (high / low)) ** 0.5)
        ax.set_ylim(low / room, high * room)
        _round_ticks(ax)
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.suptitle(note, fontsize=8, color="0.35")
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=columns,
        handlelength=2.2, columnspacing=1.4,
    )  # fmt: skip


def _round_ticks(ax: Axes) -> None:
    low, high = ax.get_ylim()
    steps = (1, 3) if high / low < 300 else (1,)
    ticks = [s * 10.0**e for e in range(-8, 20) for s in steps if low <= s * 10.0**e <= high]
    small = [f"{tick:g}" for tick in ticks]
    powers = [f"$10^{{{int(np.log10(tick))}}}$" for tick in ticks]
    ax.set_yticks(ticks, small if high < 1e5 else powers)
    ax.yaxis.set_minor_locator(NullLocator())


def _band(ax: Axes, part: xr.Dataset, law: str, *, alone: bool) -> None:
    colour, _ = _LOOKS[law]
    depth, band = part["depth"].to_numpy(), part["quantile"]
    low, high = (band.sel(level=level).to_numpy() for level in (0.05, 0.95))
    label = f"5-95 % of {int(part['n_draws'][0])} draws"
    label = label if alone else f"{law.capitalize()}: {label}"
    if law == "uniform":
        edge = {"color": colour, "linewidth": 0.8, "linestyle": (0, (3, 1, 1, 1))}
        ax.plot(depth, low, label=label, **edge)
        ax.plot(depth, high, **edge)
        return
    ax.fill_between(depth, low, high, color=colour, alpha=0.18, linewidth=0, label=label)
    inner = [band.sel(level=level).to_numpy() for level in (0.25, 0.75)]
    label = "25-75 %" if alone else f"{law.capitalize()}: 25-75 %"
    ax.fill_between(depth, *inner, color=colour, alpha=0.28, linewidth=0, label=label)


def marks(ax: Axes, part: xr.Dataset, law: str, values: np.ndarray, label: str) -> None:
    """Draw what is compared with theory."""
    colour, marker = _LOOKS[law]
    filled = marker == "o"
    ax.plot(
        part["depth"],
        values,
        color=colour,
        marker=marker,
        linestyle="none",
        label=label,
        markerfacecolor=colour if filled else "white",
        markersize=4.6 if filled else 2.8,
        zorder=5,
    )


def theory(
    ax: Axes, depths: np.ndarray, values: np.ndarray, label: str, *, dotted: bool = False
) -> None:
    """Draw a line of theory."""
    ax.plot(depths, values, label=label, **(_DOTTED if dotted else _DASHED))
