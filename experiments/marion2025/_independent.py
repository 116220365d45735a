"""What Figures 1 and 3 share: independent weights, exact laws at every finite depth."""

from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import limits
from limits.experiments.marion2025 import _against_depth as depthwise

SCALES = {
    "smoke": depthwise.Config(depths=(10, 32, 100), width=12, n_draws=400, uniform_draws=200),
    "laptop": depthwise.Config(n_draws=500, uniform_draws=96),
    "paper": depthwise.Config(),
}
_NAMES = {1.0: "vanishes", 0.25: "explodes", 0.5: "order one"}
EXPLODING = 0.25
"""Here the mean square is carried by draws too rare to be seen."""
_GREW = {"output": r"$|h_L|/|h_0|$", "gradient": r"$|p_0|/|p_L|$"}


def exact_mean_square(depths: np.ndarray, beta: float) -> np.ndarray:
    """E of the squared ratio, (1 + alpha^2 / 2)^L - 1, for hidden states and gradients alike."""
    return limits.closed_forms.relu_second_moment(depths, depths**-beta) - 1


def exact_log_growth(depths: np.ndarray, width: int, beta: float) -> np.ndarray:
    """E log(|h_L|^2 / |h_0|^2), exact for Gaussian weights."""
    return limits.closed_forms.relu_log_mean(depths, width, depths**-beta)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a panel for each exponent."""
    quantity, width = str(dataset.attrs["quantity"]), int(dataset.attrs["width"])
    depths = dataset["depth"].to_numpy().astype(float)
    grid = np.geomspace(depths.min(), depths.max(), 100)
    with limits.plots.style():
        figure, panels = depthwise.panels(dataset, _NAMES)
        for beta, ax in panels.items():
            for law in map(str, dataset["law"].to_numpy()):
                part = dataset.sel(law=law, beta=beta)
                values, name = _compared(part, beta, quantity)
                depthwise.marks(ax, part, law, values, f"{law.capitalize()}: {name}")
            exact = np.sqrt(exact_mean_square(grid, beta))
            label = r"exact RMS, $((1+\frac{1}{2}L^{-2\beta})^L-1)^{1/2}$"
            depthwise.theory(ax, grid, exact, label)
            if beta == EXPLODING:
                typical = np.exp(exact_log_growth(grid, width, beta) / 2)
                label = rf"exact $\exp\,\mathbb{{E}}\log${_GREW[quantity]}"
                depthwise.theory(ax, grid, typical, label, dotted=True)
        note = rf"res-3, i.i.d. weights, residual scale $L^{{-\beta}}$, width {width}"
        depthwise.finish(figure, panels, note, columns=3)
    return figure


def _compared(part: xr.Dataset, beta: float, quantity: str) -> tuple[np.ndarray, str]:
    """Return what an exact value is known of and simulations can measure."""
    if beta == EXPLODING:
        typical = np.exp(part["log_growth"].sel(statistic="value") / 2).to_numpy()
        return typical, rf"$\exp$ of mean log {_GREW[quantity]}"
    return np.sqrt(part["mean_square"].sel(statistic="value")).to_numpy(), "RMS"


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge moments against the closed forms, and the regimes by their slopes."""
    depths, width = dataset["depth"].to_numpy().astype(float), int(dataset.attrs["width"])
    verdicts = []
    for law in map(str, dataset["law"].to_numpy()):
        for beta in (1.0, 0.5):
            found = dataset["mean_square"].sel(law=law, beta=beta)
            verdicts.append(
                limits.Verdict.of_closed_form(
                    f"{law}, beta = {beta:g}: RMS on the closed form at every L",
                    found.sel(statistic="value"),
                    exact_mean_square(depths, beta),
                    found.sel(statistic="standard_error"),
                )
            )
        found = dataset["log_growth"].sel(law=law, beta=0.25)
        verdict = limits.Verdict.of_closed_form(
            f"{law}, beta = 0.25: mean log on the law of a layer at every L",
            found.sel(statistic="value"),
            exact_log_growth(depths, width, 0.25),
            found.sel(statistic="standard_error"),
        )
        n_draws = int(dataset["n_draws"].sel(law=law).min())
        verdicts.append(replace(verdict, measured=f"{verdict.measured}, {n_draws} draws"))
        verdicts.append(depthwise.slope_verdict(dataset, law, 1.0, -0.5))
        verdicts.append(depthwise.slope_verdict(dataset, law, 0.5, 0.0))
        verdicts.append(depthwise.explosion_verdict(dataset, law, 0.25, 3.0))
    return tuple(verdicts)
