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

_MAP = "cividis"
_THEORY = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.3}
_HALO = [patheffects.withStroke(linewidth=2.6, foreground="white")]


def borders(dataset: xr.Dataset) -> np.ndarray:
    """Return the beta at which the growth exponent turns negative, for every H."""
    growth = dataset["growth"].sel(statistic="value")
    tried = dataset["beta"].to_numpy()
    return np.array([_zero(tried, row.to_numpy()) for row in growth.transpose("hurst", "beta")])


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
    with limits.plots.style():
        figure, panels = plt.subplots(2, 3, figsize=(7.2, 5.4), layout="constrained")
        scale = _scale(dataset)
        for ax, name, title in (
            (panels[0, 0], "output", r"output: $\log_{10}|h_L-h_0|/|h_0|$"),
            (panels[0, 1], "gradient", r"gradient: $\log_{10}|p_0-p_L|/|p_L|$"),
        ):
            mesh = _heatmap(ax, dataset, dataset[name], scale)
            ax.set_title(title)
        _bar(figure, mesh, panels[0, 1], scale)
        _draw_growth(figure, panels[0, 2], dataset)
        _draw_generators(figure, panels[1], dataset, scale)
        for ax in (panels[0, 0], panels[1, 0]):
            ax.set_ylabel(r"exponent $\beta$ of the residual scale")
        for ax in panels.flat:
            ax.set_xlabel("Hurst index $H$ of the weights")
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
    ax.grid(visible=False)


def _bar(figure: Figure, mesh: Any, ax: Axes, scale: Normalize) -> None:
    ticks = [t for t in (-3, -2, -1, 0, 1, 10, 100) if scale.vmin <= t <= scale.vmax]
    bar = figure.colorbar(mesh, ax=ax, ticks=ticks, aspect=30, pad=0.02)
    bar.ax.set_yticklabels([f"{t:g}" for t in ticks])
    bar.ax.minorticks_off()


def _draw_growth(figure: Figure, ax: Axes, dataset: xr.Dataset) -> None:
    hurst, beta = dataset["hurst"].to_numpy(), dataset["beta"].to_numpy()
    growth = dataset["growth"].sel(statistic="value").transpose("beta", "hurst").to_numpy()
    mesh = ax.pcolormesh(
        hurst, beta, growth, norm=SymLogNorm(0.5, vmin=growth.min(), vmax=growth.max(), base=10),
        cmap=_MAP, shading="nearest",
    )  # fmt: skip
    mesh.set_rasterized(True)
    _theory(ax, hurst)
    ax.plot(
        hurst, borders(dataset), marker="o", linestyle="none", markersize=2.6, color="white",
        markeredgecolor="black", markeredgewidth=0.5,
    )  # fmt: skip
    shallow, deep = dataset.attrs["depths"]
    ax.set_title(rf"$\mathrm{{d}}\log|h_L-h_0|\,/\,\mathrm{{d}}\log L$, $L={shallow}$-${deep}$")
    figure.colorbar(mesh, ax=ax, aspect=30, pad=0.02)


def _draw_generators(figure: Figure, row: Any, dataset: xr.Dataset, scale: Normalize) -> None:
    part = dataset.sel(hurst=dataset["hurst"] > 0.5)
    for ax, name, title in (
        (row[0], "output", "output, exact generator"),
        (row[1], "published", "output, published generator"),
    ):
        mesh = _heatmap(ax, part, part[name], scale)
        ax.set_title(title)
    _bar(figure, mesh, row[1], scale)
    ax = row[2]
    ax.plot(part["hurst"], part["published_variance"], color="#d95f02", marker="s", markersize=2.5)
    ax.axhline(1, **_THEORY)
    ax.set_title("variance of a weight")
