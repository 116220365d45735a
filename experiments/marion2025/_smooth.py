"""What Figures 4 and 5 share: weights that are smooth in the layer, rates in the depth."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import limits
from limits.experiments.marion2025 import _against_depth as depthwise

_BETAS = (2.0, 0.5, 1.0)
SCALES = {
    "smoke": depthwise.Config(
        laws=("smooth",), betas=_BETAS, depths=(10, 40, 160), width=12, n_draws=48
    ),
    "laptop": depthwise.Config(laws=("smooth",), betas=_BETAS, n_draws=32),
    "paper": depthwise.Config(laws=("smooth",), betas=_BETAS, n_draws=50),
}
_NAMES = {2.0: "vanishes", 0.5: "explodes", 1.0: "order one"}


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a panel for each exponent."""
    width, scale = int(dataset.attrs["width"]), float(dataset.attrs["length_scale"])
    with limits.plots.style():
        figure, panels = depthwise.panels(dataset, _NAMES)
        depths = dataset["depth"].to_numpy().astype(float)
        for beta, ax in panels.items():
            part = dataset.sel(law="smooth", beta=beta)
            typical = np.exp(part["mean_log"].sel(statistic="value")).to_numpy()
            depthwise.marks(ax, part, "smooth", typical, "geometric mean")
            if beta >= 1:
                line = typical[-1] * (depths / depths[-1]) ** (1 - beta)
                depthwise.theory(ax, depths, line, r"theory, slope of $L^{1-\beta}$")
                found = f"measured slope ${depthwise.slope(dataset, 'smooth', beta):.2f}$"
                ax.text(0.95, 0.93, found, transform=ax.transAxes, ha="right", fontsize=8)
        note = (
            rf"res-3, smooth weights $Z'(k/L)$ of unit variance, correlation length {scale:g}, "
            rf"residual scale $L^{{-\beta}}$, width {width}"
        )
        depthwise.finish(figure, panels, note, columns=4)
    return figure


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the rate in L of every regime."""
    return (
        depthwise.slope_verdict(dataset, "smooth", 2.0, -1.0),
        depthwise.slope_verdict(dataset, "smooth", 1.0, 0.0),
        depthwise.explosion_verdict(dataset, "smooth", 0.5, 10.0),
    )
