"""Sample paths of fractional Brownian motion, from rough to nearly smooth, on their exact law."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import limits
from limits.experiments.marion2025._ratios import CITATION as CITATION
from limits.plots import BLUE, ORANGE


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    hursts : tuple of float
        Hurst indices H.
    depth : int
        Steps of a path.
    n_paths : int
        Paths that the law is measured on; the first ones are drawn.
    """

    hursts: tuple[float, ...] = (0.2, 0.5, 0.8)
    depth: int = 1000
    n_paths: int = 24000


SCALES = {
    "smoke": Config(depth=64, n_paths=24000),
    "laptop": Config(),
    "paper": Config(),
}
_SHOWN = 3
KNOWN = 0.01
"""Standard error of a mean square that is asked for, as a share of it."""
_COLOURS = (BLUE, ORANGE, "0.55")


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    return {"hurst": config.hursts}


def task(config: Config, *, seed: int, hurst: float) -> xr.Dataset:
    """Draw paths at one H and measure how they vary over every lag that divides the depth."""
    sample = limits.FractionalPath(1, hurst=hurst).sample(
        depth=config.depth, n_paths=config.n_paths, seed=seed
    )
    increments = sample.increments[..., 0, 0].numpy()
    paths = np.concatenate([np.zeros((1, config.n_paths)), increments.cumsum(axis=0)])
    lags = np.array([lag for lag in range(1, config.depth + 1) if config.depth % lag == 0])
    # Averages over the intervals of one path first, so that the errors count paths.
    squares = np.stack([np.square(np.diff(paths[::lag], axis=0)).mean(axis=0) for lag in lags])
    error = squares.std(axis=1, ddof=1) / np.sqrt(config.n_paths)
    return xr.Dataset(
        {
            "slope": ("statistic", _slope(np.log(lags / config.depth), squares)),
            "path": (("drawn", "step"), paths[:, :_SHOWN].T.astype(np.float32)),
            "variation": (("statistic", "lag"), np.stack([squares.mean(axis=1), error])),
        },
        coords={"lag": lags, "statistic": ["value", "standard_error"]},
        attrs={"depth": config.depth, "n_paths": config.n_paths},
    )


def _slope(logs: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return H by least squares through the means, and its standard error by its influences."""
    centred = (logs - logs.mean()) / (2 * np.square(logs - logs.mean()).sum())
    means = squares.mean(axis=1)
    influences = centred @ (squares / means[:, None])
    error = influences.std(ddof=1) / np.sqrt(squares.shape[1])
    return np.array([centred @ np.log(means), error])


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a panel for each H, and the mean square of an increment against its length."""
    depth = int(dataset.attrs["depth"])
    hursts = dataset["hurst"].to_numpy()
    with limits.plots.style():
        figure, row = plt.subplots(
            1, len(hursts) + 1, figsize=(7.2, 2.3), layout="constrained",
            width_ratios=[1] * len(hursts) + [1.1],
        )  # fmt: skip
        time = np.linspace(0, 1, depth + 1)
        for ax, hurst in zip(row[:-1], hursts, strict=True):
            for path, colour in zip(dataset["path"].sel(hurst=hurst), _COLOURS, strict=True):
                ax.plot(time, path, color=colour, linewidth=0.7)
            ax.set(xlabel=r"layer time $t=k/L$", title=f"$H={hurst:g}$", ylim=(-2.7, 2.7))
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        row[0].set_ylabel("$X_t$")
        for ax in row[1:-1]:
            ax.tick_params(labelleft=False)
        _draw_variation(row[-1], dataset)
    return figure


def _draw_variation(ax: plt.Axes, dataset: xr.Dataset) -> None:
    length = dataset["lag"].to_numpy() / dataset.attrs["depth"]
    looks = zip(dataset["hurst"].to_numpy(), ("o", "s", "^"), strict=True)
    for hurst, marker in looks:
        value = dataset["variation"].sel(hurst=hurst, statistic="value")
        ax.plot(length, length ** (2 * hurst), color="black", linestyle=(0, (4, 2)), linewidth=0.9)
        ax.plot(
            length, value, color=BLUE, marker=marker, linestyle="none", markersize=3,
            markerfacecolor="white", label=f"$H={hurst:g}$",
        )  # fmt: skip
    ax.plot([], [], color="black", linestyle=(0, (4, 2)), linewidth=0.9, label="$h^{2H}$")
    ax.set(xscale="log", yscale="log", xlabel="$h$", title=r"$\mathbb{E}|X_{t+h}-X_t|^2$")
    ax.legend(loc="lower right", handlelength=1.6)


def exponent(dataset: xr.Dataset, hurst: float) -> tuple[float, float]:
    """Return half of the slope of log E|X_(t+h) - X_t|^2 in log h, and its standard error.

    The slope is that of the paths' own mean squares, so that its error counts paths.
    """
    part = dataset["slope"].sel(hurst=hurst)
    return float(part.sel(statistic="value")), float(part.sel(statistic="standard_error"))


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the variation of paths against h^2H: its exponent, and its size over every lag."""
    length = dataset["lag"].to_numpy() / dataset.attrs["depth"]
    hursts = [float(each) for each in dataset["hurst"].to_numpy()]
    part = dataset["variation"]
    gaps, shares = [], []
    for hurst in hursts:
        value, error = (
            part.sel(hurst=hurst, statistic=name).to_numpy() for name in ("value", "standard_error")
        )
        gaps.append(np.abs(value - length ** (2 * hurst)) / error)
        shares.append(error / length ** (2 * hurst))
    worst, known = float(np.max(gaps)), float(np.max(shares))
    most = NormalDist().inv_cdf(1 - 0.005 / np.size(gaps))
    size = limits.Verdict(
        "E|X_(t+h) - X_t|^2 = h^2H at every h and H",
        f"within {most:.1f} standard errors, 99 % of {np.size(gaps)} comparisons at once, each "
        f"standard error at most {KNOWN:.1%} of the value",
        f"at most {worst:.1f} standard errors, of at most {known:.1%}",
        worst <= most and known <= KNOWN,
        decided=known <= KNOWN,
    )
    return (size, *(_exponent_verdict(dataset, hurst) for hurst in hursts))


def _exponent_verdict(dataset: xr.Dataset, hurst: float) -> limits.Verdict:
    value, error = exponent(dataset, hurst)
    low, high = value - 2.58 * error, value + 2.58 * error
    return limits.Verdict(
        f"H = {hurst:g}: exponent of the variation",
        f"{hurst:g} inside a 99 % interval narrower than 0.02",
        f"{value:.4f} [{low:.4f}, {high:.4f}]",
        low <= hurst <= high and high - low < 0.02,
        decided=high - low < 0.02,
    )
