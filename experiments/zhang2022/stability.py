"""Hidden states and gradients against depth: stable if and only if tau = O(1/sqrt(L))."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import curve_fit

import limits
from limits.experiments.zhang2022._passes import QUANTITIES, both_ways
from limits.experiments.zhang2022._post_relu import CITATION as CITATION
from limits.experiments.zhang2022._post_relu import LOOKS, inputs, network

_WIDEST = 0.05
"""A quarter of the smallest exponent, 1/5 at L^-0.4, that has to be told from its neighbours."""
HEAVY = 0.3
"""Variance of a log above which the mean itself is carried by draws too rare to be seen."""
_ENTRIES = 2**12
"""Entries of the states that are propagated together: enough to hide what a layer costs anyway."""


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    betas : tuple of float
        Exponents of tau = L^-beta.
    depths : tuple of int
        Depths L.
    widths : tuple of int
        Sizes m of the hidden state; the last one is drawn.
    n_draws : int
        Networks, each with an input and an output layer of its own.
    """

    betas: tuple[float, ...] = (1.0, 0.5, 0.4, 0.25)
    depths: tuple[int, ...] = (10, 32, 100, 316, 1000, 3162, 10000)
    widths: tuple[int, ...] = (32, 64, 128)
    n_draws: int = 64


SCALES = {
    "smoke": Config(depths=(10, 100, 1000), widths=(16, 32), n_draws=128),
    "laptop": Config(),
    "paper": Config(widths=(64, 128, 512), n_draws=128),
}


def axes(config: Config) -> Mapping[str, Sequence[float | int]]:
    return {"beta": config.betas, "depth": config.depths, "width": config.widths}


def cost(config: Config, *, beta: float, depth: int, width: int) -> float:
    return depth * (width + 32)


def task(
    config: Config,
    *,
    seed: int,
    beta: float,
    depth: int,
    width: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Propagate inputs and pull gradients of one output back, on lazy weights."""
    net, path = network(beta), limits.BrownianPath(width)
    h0 = inputs(width, n_inputs=config.n_draws, seed=seed)
    readouts = limits.Stream(seed, "readouts").normals(0, config.n_draws, width).unsqueeze(1)
    part, found = max(16, _ENTRIES // width), []
    for first in range(0, config.n_draws, part):
        chosen = slice(first, min(first + part, config.n_draws))
        n_paths, own = len(h0[chosen]), seed * config.n_draws + first
        sample = path.sample(depth=depth, n_paths=n_paths, seed=own, dtype=torch.float32, lazy=True)
        found.append(both_ways(net, sample, h0[chosen], readouts[chosen]))
        # What a lazy draw remembers refers to itself, and would pile up until a collection.
        del sample
        gc.collect()
        if progress is not None:
            progress(chosen.stop, config.n_draws, "draws")
    joined = xr.concat(found, "draw")
    gain = joined["gain"]
    return joined.drop_vars("gain").assign(
        least_gain=gain.sel(end="least").min(), largest_gain=gain.sel(end="largest").max()
    )


def log_bounds(depths: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the logs of the bounds of E|h_L|^2/|h_0|^2."""
    bounds = limits.closed_forms.post_relu_second_moment_bounds(depths, depths**-beta)
    return np.log(bounds[0]), np.log(bounds[1])


def mean_logs(part: xr.Dataset, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard error and variance over draws of the log of a squared ratio."""
    logs = part["log_ratio"].sel(quantity=quantity).transpose("depth", "draw").to_numpy()
    spread = logs.var(axis=-1, ddof=1)
    return logs.mean(axis=-1), np.sqrt(spread / logs.shape[-1]), spread


def growth(part: xr.Dataset) -> np.ndarray:
    """Return log E|h_L|^2/|h_0|^2 where draws can tell it, the mean log elsewhere."""
    mean, _, spread = mean_logs(part, "output")
    moment = np.log1p(part["mean_square"].transpose("depth", "draw").mean("draw")).to_numpy()
    return np.where(spread < HEAVY, moment, mean)


def slope(depths: np.ndarray, logs: np.ndarray) -> float:
    """Return the slope of the log's logarithm in log L over the deeper half of the depths."""
    deep = slice(len(depths) // 2, None)
    return float(np.polyfit(np.log(depths[deep]), np.log(np.maximum(logs[deep], 1e-12)), 1)[0])


def regime(part: xr.Dataset, quantity: str) -> tuple[str, float]:
    """Classify by the mean size of the log over all widths, whose slope in log-log is returned.

    In theory it is -1/2 where states stay as they are, for tau = 1/L, 0 at L^-1/2 and 1/5 at
    L^-0.4; regimes are parted half way.
    """
    sizes = abs(part["log_ratio"].sel(quantity=quantity).astype(float)).mean(("draw", "width"))
    found = slope(part["depth"].to_numpy().astype(float), sizes.to_numpy())
    return "identity" if found < -0.25 else "explosion" if found > 0.1 else "limit", found


def fitted_growth(
    depths: np.ndarray, logs: np.ndarray, errors: np.ndarray, *, width: int, beta: float
) -> tuple[float, float, float]:
    """Fit mean log = (1 - 2/m) L^g (1 - c tau); return g, its standard error and c.

    (1 - 2/m) tau^2 L is the mean of the law of the limit, in which reflection at 0 is continuous;
    reflected in steps of size tau, states stay away from it by a share of order tau.
    """

    def model(depth: np.ndarray, power: float, share: float) -> np.ndarray:
        return (1 - 2 / width) * depth**power * (1 - share * depth**-beta)

    (power, share), covariance = curve_fit(
        model, depths, logs, p0=(1 - 2 * beta, 0.5), sigma=errors, absolute_sigma=True
    )
    return float(power), float(covariance[0, 0] ** 0.5), float(share)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the growth of hidden states inside its bounds, and that of gradients."""
    width = int(dataset["width"].to_numpy()[-1])
    widest = dataset.sel(width=width)
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
        for beta in map(float, dataset["beta"].to_numpy()):
            part = widest.sel(beta=beta)
            _draw_states(left, part, beta)
            _draw_gradients(right, part, beta)
        left.set(xscale="log", yscale="log", xlabel="depth $L$")
        left.set_ylabel(r"$\log\,(\mathbb{E}\,|h_L|^2\,/\,|h_0|^2)$")
        left.set_title("hidden states")
        right.set(xscale="log", xlabel="depth $L$")
        right.set_yscale("symlog", linthresh=1.0, linscale=0.6)
        right.set_ylabel(r"mean $\log\,(|p_0|^2\,/\,|p_L|^2)$")
        right.set_title(r"gradients $p_k=\partial\mathcal{L}/\partial h_k$")
        _legend(figure, left, right)
        figure.suptitle(
            rf"$h_{{k+1}}=\mathrm{{relu}}(h_k+\tau W_k h_k)$, width $m={width}$, "
            f"{dataset.sizes['draw']} networks; gradients over the units with $h_0>0$; "
            "95 % intervals", fontsize=8, color="0.35",
        )  # fmt: skip
    return figure


def _draw_states(ax: Axes, part: xr.Dataset, beta: float) -> None:
    look, depths = LOOKS[beta], part["depth"].to_numpy().astype(float)
    grid = np.geomspace(depths[0], depths[-1], 100)
    ax.fill_between(grid, *log_bounds(grid, beta), color=look.colour, alpha=0.22, linewidth=0)
    for bound in log_bounds(grid, beta):
        ax.plot(grid, bound, **{**limits.plots.DASHED, "color": look.colour, "linewidth": 0.8})
    heavy = mean_logs(part, "output")[2] >= HEAVY
    for chosen, face in ((~heavy, look.colour), (heavy, "white")):
        ax.plot(
            depths[chosen], growth(part)[chosen], color=look.colour, marker=look.marker,
            linestyle="none", markerfacecolor=face, zorder=5,
        )  # fmt: skip


def _draw_gradients(ax: Axes, part: xr.Dataset, beta: float) -> None:
    look, depths = LOOKS[beta], part["depth"].to_numpy().astype(float)
    mean, error, _ = mean_logs(part, "gradient")
    ax.errorbar(
        depths, mean, yerr=1.96 * error, color=look.colour, marker=look.marker, capsize=2,
        linewidth=0.9, label=look.title,
    )  # fmt: skip
    states = mean_logs(part, "output")[0]
    ax.plot(depths, states, **{**limits.plots.DASHED, "color": look.colour, "linewidth": 0.9})


def _legend(figure: Figure, left: Axes, right: Axes) -> None:
    handles, labels = right.get_legend_handles_labels()
    extra = [
        left.fill_between([], [], [], color="0.5", alpha=0.3, linewidth=0),
        left.plot([], [], linestyle="none", marker="o", color="0.3", markerfacecolor="white")[0],
        right.plot([], [], **{**limits.plots.DASHED, "color": "0.3"})[0],
    ]
    names = [
        r"left: bounds $L\log(1+\frac{1}{2}\tau^2)$, $L\log(1+\tau^2)$",
        rf"left: mean log instead (its variance is above {HEAVY:g})",
        r"right: mean $\log\,(|h_L|^2/|h_0|^2)$",
    ]
    figure.legend(
        handles + extra, labels + names, loc="outside lower center", ncols=4, handlelength=2.2,
        columnspacing=1.2,
    )  # fmt: skip


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge bounds, growth and regimes at every tau and width."""
    verdicts = [_realised_verdict(dataset), _moment_verdict(dataset)]
    depths = dataset["depth"].to_numpy().astype(float)
    widest = dataset.isel(width=-1)
    exploding = [float(beta) for beta in dataset["beta"] if beta < 0.5]
    verdicts += [_growth_verdict(widest.sel(beta=beta), depths, beta) for beta in exploding]
    return (*verdicts, *(_regime_verdict(dataset, quantity) for quantity in QUANTITIES))


def _usable_moments(dataset: xr.Dataset) -> xr.DataArray:
    """Return |h_L|^2 / |h_0|^2 of every draw, NaN where its log varies too much for a mean."""
    logs = dataset["log_ratio"].sel(quantity="output").astype(float)
    return np.exp(logs.where(logs.var("draw", ddof=1) < HEAVY))


def _standard_error(values: xr.DataArray) -> xr.DataArray:
    return values.std("draw", ddof=1, skipna=False) / values.sizes["draw"] ** 0.5


def _realised_verdict(dataset: xr.Dataset) -> limits.Verdict:
    """Along a path, sum_k |h_k|^2 (realised ratio - closed form) has mean 0."""
    surprises = _usable_moments(dataset) - 1 - dataset["mean_square"]
    scores = abs(surprises.mean("draw", skipna=False)) / _standard_error(surprises)
    cells, worst = int(scores.notnull().sum()), float(scores.max())
    return limits.Verdict(
        "realised |h_{k+1}|^2 / |h_k|^2 against the closed form, summed along paths with |h_k|^2",
        f"equal in the mean within 4 standard errors where the log's variance is below {HEAVY:g}",
        f"at most {worst:.1f} standard errors apart, {cells} cells",
        worst <= 4 and cells > 0,
    )


def _moment_verdict(dataset: xr.Dataset) -> limits.Verdict:
    """Plain means of squared norms, where their logs vary little."""
    moments = _usable_moments(dataset)
    mean, error = moments.mean("draw", skipna=False), _standard_error(moments)
    depths = dataset["depth"].to_numpy().astype(float)
    coords = {name: dataset[name] for name in ("beta", "depth")}
    low, high = (
        xr.DataArray(np.exp(each), coords=coords)
        for each in np.stack([log_bounds(depths, float(beta)) for beta in dataset["beta"]], axis=1)
    )
    outside = np.maximum(low - mean, mean - high) / error
    cells = int(mean.notnull().sum())
    worst = float(outside.max())
    return limits.Verdict(
        "Monte Carlo mean of |h_L|^2 / |h_0|^2",
        f"inside its bounds within 4 standard errors where the log's variance is below {HEAVY:g}",
        f"at most {max(worst, 0.0):.1f} standard errors outside, {cells} cells",
        worst <= 4 and cells > 0,
    )


def _growth_verdict(part: xr.Dataset, depths: np.ndarray, beta: float) -> limits.Verdict:
    mean, error, _ = mean_logs(part, "output")
    found, spread, share = fitted_growth(depths, mean, error, width=int(part["width"]), beta=beta)
    expected, reach = 1 - 2 * beta, 2.58 * spread
    return limits.Verdict(
        f"tau = L^-{beta:g}: exponent g of the mean log = (1 - 2/m) L^g (1 - c tau)",
        f"{expected:g} in the 99 % interval, which is less than {_WIDEST:g} to either side",
        f"{found:.4f} [{found - reach:.4f}, {found + reach:.4f}], c = {share:.2f}, "
        f"L = {depths[0]:.0f}-{depths[-1]:.0f}, m = {int(part['width'])}",
        abs(found - expected) <= reach < _WIDEST,
    )


def _regime_verdict(dataset: xr.Dataset, quantity: str) -> limits.Verdict:
    found = {float(b): regime(dataset.sel(beta=b), quantity) for b in dataset["beta"]}
    expected = {
        beta: "identity" if beta > 0.5 else "limit" if beta == 0.5 else "explosion"
        for beta in found
    }
    return limits.Verdict(
        f"{quantity}: regime at every tau, by the slope of the mean |log| in log-log",
        ", ".join(f"L^-{beta:g}: {name}" for beta, name in expected.items()),
        ", ".join(f"L^-{beta:g}: {word} ({size:+.2f})" for beta, (word, size) in found.items()),
        {beta: word for beta, (word, _) in found.items()} == expected,
    )
