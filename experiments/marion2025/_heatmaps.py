"""The picture of Figure 7: heatmaps, the measured border and the two generators."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

import limits
from limits.experiments.marion2025._published import variance
from limits.plots import ORANGE

_MAP = "cividis"
_THEORY = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.3}
_HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]


def borders(dataset: xr.Dataset) -> np.ndarray:
    """Return the beta at which the growth exponent turns negative, for every H."""
    growth = dataset["growth"].sel(statistic="value")
    tried = dataset["beta"].to_numpy()
    return np.array([_zero(tried, row.to_numpy()) for row in growth.transpose("hurst", "beta")])


def expected_borders(dataset: xr.Dataset) -> np.ndarray:
    """Return where growth between the two depths ends in theory, for every H."""
    shallow, deep = (int(depth) for depth in dataset.attrs["depths"])
    border = limits.closed_forms.fractional_relu_border
    return np.array([border(hurst, shallow, deep) for hurst in map(float, dataset["hurst"])])


def _zero(tried: np.ndarray, growth: np.ndarray) -> float:
    crossings = np.flatnonzero((growth[:-1] > 0) & (growth[1:] <= 0))
    if len(crossings) == 0:
        return float("nan")
    # The last crossing: above it nothing grows any more.
    i = crossings[-1]
    share = growth[i] / (growth[i] - growth[i + 1])
    return float(tried[i] + share * (tried[i + 1] - tried[i]))


def draw(dataset: xr.Dataset) -> Figure:
    """Draw output, gradient and growth above, exact and published generator below."""
    both = bool(dataset["published"].notnull().any())
    with limits.plots.style():
        figure, panels = plt.subplots(
            1 + both, 3, figsize=(7.2, 5.9 if both else 3.1), layout="constrained", squeeze=False
        )
        scale = _scale(dataset)
        titles = (r"$\log_{10}|h_L-h_0|/|h_0|$", r"$\log_{10}|p_0-p_L|/|p_L|$")
        for ax, name, title in zip(panels[0], ("output", "gradient"), titles, strict=False):
            mesh = _heatmap(ax, dataset, dataset[name], scale)
            ax.set_title(f"{name}: {title}")
        _bar(figure, mesh, panels[0, 1], scale)
        _draw_growth(figure, panels[0, 2], dataset)
        _explain(panels[0])
        if both:
            _draw_generators(figure, panels[1], dataset, scale)
        for ax in panels[:, 0]:
            ax.set_ylabel(r"exponent $\beta$ of the residual scale")
        for ax in panels.flat:
            ax.set_xlabel("Hurst index $H$ of the weights")
        figure.supxlabel(_text(dataset, both=both), fontsize=7.5, color="0.25", ha="center")
    return figure


def _scale(dataset: xr.Dataset) -> SymLogNorm:
    values = [dataset[name].to_numpy() for name in ("output", "gradient")]
    return SymLogNorm(
        linthresh=1.0, vmin=min(v.min() for v in values), vmax=max(v.max() for v in values), base=10
    )


def _heatmap(ax: Axes, dataset: xr.Dataset, values: xr.DataArray, scale: Normalize) -> Any:
    hurst, beta = dataset["hurst"].to_numpy(), dataset["beta"].to_numpy()
    image = values.transpose("beta", "hurst").to_numpy()
    mesh = ax.pcolormesh(hurst, beta, image, norm=scale, cmap=_MAP, shading="nearest")
    mesh.set_rasterized(True)
    ax.contour(hurst, beta, image, levels=[0.0], colors="white", linewidths=1.0)
    _theory(ax, hurst)
    return mesh


def _theory(ax: Axes, hurst: np.ndarray) -> None:
    fine = np.linspace(hurst.min(), hurst.max(), 200)
    ax.plot(fine, np.maximum(fine, 0.5), path_effects=_HALO, **_THEORY)
    ax.set_xticks([tick for tick in (0.1, 0.3, 0.5, 0.7, 0.9) if tick >= hurst.min()])
    ax.grid(visible=False)


def _explain(row: Any) -> None:
    white = {"color": "white", "fontsize": 7.5}
    row[0].text(0.08, 1.18, "identity", color="white", fontsize=8.5)
    row[0].text(0.6, 0.08, "explosion", color="black", fontsize=8.5)
    row[0].text(0.08, 0.53, r"$\max(H,\,1/2)$", **white)
    row[0].text(0.08, 0.38, "ratio 1", **white)
    row[2].text(0.08, 0.78, "measured zero", **white)
    row[2].text(0.08, 0.7, "(circles)", **white)
    row[2].text(0.08, 0.3, "of small changes,", **white)
    row[2].text(0.08, 0.22, "predicted (line)", **white)


def _bar(figure: Figure, mesh: Any, ax: Axes, scale: Normalize) -> None:
    ticks = [t for t in (-2, -1, 0, 1, 10, 100) if scale.vmin <= t <= scale.vmax]
    bar = figure.colorbar(mesh, ax=ax, ticks=ticks, aspect=30, pad=0.02)
    bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
    bar.ax.minorticks_off()


def _draw_growth(figure: Figure, ax: Axes, dataset: xr.Dataset) -> None:
    hurst, beta = dataset["hurst"].to_numpy(), dataset["beta"].to_numpy()
    growth = dataset["growth"].sel(statistic="value").transpose("beta", "hurst").to_numpy()
    scale = SymLogNorm(1.0, vmin=growth.min(), vmax=growth.max(), base=10)
    mesh = ax.pcolormesh(hurst, beta, growth, norm=scale, cmap=_MAP, shading="nearest")
    mesh.set_rasterized(True)
    _theory(ax, hurst)
    ax.plot(
        hurst, borders(dataset), marker="o", linestyle="none", markersize=2.8, color="white",
        markeredgecolor="black", markeredgewidth=0.6,
    )  # fmt: skip
    ax.plot(hurst, expected_borders(dataset), color="white", linewidth=1.0)
    shallow, deep = dataset.attrs["depths"]
    ax.set_title(f"growth exponent, $L={shallow}$-${deep}$")
    _bar(figure, mesh, ax, scale)


def _draw_generators(figure: Figure, row: Any, dataset: xr.Dataset, scale: Normalize) -> None:
    part = dataset.sel(hurst=dataset["hurst"] > 0.5)
    for ax, name, title in (
        (row[0], "output", "output, exact generator"),
        (row[1], "published", "output, published generator"),
    ):
        mesh = _heatmap(ax, part, part[name], scale)
        ax.set_title(title)
    _bar(figure, mesh, row[1], scale)
    ax, hurst = row[2], part["hurst"].to_numpy()
    ax.plot(
        hurst, part["published_variance"], color=ORANGE, marker="s", markersize=3,
        label="published",
    )  # fmt: skip
    ax.axhline(1, label="exact", **_THEORY)
    ax.set(title=r"variance of a weight, $\times\, d$", xticks=[0.5, 0.7, 0.9])
    ax.legend(loc="upper left")


def _text(dataset: xr.Dataset, *, both: bool) -> str:
    nets, n_inputs, growing, _ = dataset.attrs["nets"]
    deep, width = int(dataset.attrs["depths"][1]), dataset.attrs["width"]
    text = (
        rf"res-3 on fractional weights, residual scale $L^{{-\beta}}$, $L={deep}$, width {width}; "
        f"means over {nets} networks and {n_inputs} inputs.\n"
        rf"Growth exponent: $d\,\log|h_L-h_0|\;/\;d\,\log L$, {growing} networks; "
        "its zero (circles) is the border."
    )
    if not both:
        return text
    return (
        f"{text}\nLower row: the generator behind the published heatmaps gives weights too large "
        f"a variance where $H>1/2$\n({variance(deep, 0.9):.2f} instead of 1 at $H=0.9$), by a term "
        "that alternates from layer to layer; networks explode earlier on it.\n"
        "Upper row and lower left: exact fractional noise."
    )
