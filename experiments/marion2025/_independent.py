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
_GRID = np.unique(np.geomspace(10, 1000, 120).round())
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
    with limits.plots.style():
        figure, panels = depthwise.panels(dataset, _NAMES)
        depths = dataset["depth"].to_numpy().astype(float)
        grid = _GRID[(depths.min() <= _GRID) & (depths.max() >= _GRID)]
        for beta, ax in panels.items():
            exploding = beta < 0.5
            for law in dataset["law"].to_numpy():
                part = dataset.sel(law=law, beta=beta)
                if exploding:
                    typical = np.exp(part["log_growth"].sel(statistic="value") / 2)
                    label = rf"{law}: $\exp\,\mathbb{{E}}\log$ {_GREW[quantity]}"
                    depthwise.marks(ax, part, str(law), typical.to_numpy(), label)
                else:
                    square = part["mean_square"].sel(statistic="value").to_numpy()
                    depthwise.marks(ax, part, str(law), np.sqrt(square), f"{law}: RMS")
            exact = np.sqrt(exact_mean_square(grid, beta))
            depthwise.theory(ax, grid, exact, r"exact RMS: $((1+L^{-2\beta}/2)^L-1)^{1/2}$")
            if exploding:
                typical = np.exp(exact_log_growth(grid, width, beta) / 2)
                depthwise.theory(ax, grid, typical, "exact law of a layer", dotted=True)
        _legends(panels)
        figure.supxlabel(
            rf"res-3, i.i.d. weights, $\alpha_L=L^{{-\beta}}$, width {width}", fontsize=7.5,
            color="0.35",
        )  # fmt: skip
    return figure


def _legends(panels: dict[float, object]) -> None:
    pass


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
