"""Sample paths of fractional Brownian motion, from rough to nearly smooth, on their exact law."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    n_paths: int = 4000


SCALES = {
    "smoke": Config(depth=128, n_paths=1000),
    "laptop": Config(),
    "paper": Config(),
}
_SHOWN = 3
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
            "path": (("drawn", "step"), paths[:, :_SHOWN].T.astype(np.float32)),
            "variation": (("statistic", "lag"), np.stack([squares.mean(axis=1), error])),
        },
        coords={"lag": lags, "statistic": ["value", "standard_error"]},
        attrs={"depth": config.depth, "n_paths": config.n_paths},
    )


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


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the variation of paths over every lag against h^2H."""
    length = dataset["lag"].to_numpy() / dataset.attrs["depth"]
    return tuple(
        limits.Verdict.of_closed_form(
            f"H = {hurst:g}: E|X_(t+h) - X_t|^2 = h^2H at every h",
            dataset["variation"].sel(hurst=hurst, statistic="value"),
            length ** (2 * hurst),
            dataset["variation"].sel(hurst=hurst, statistic="standard_error"),
        )
        for hurst in map(float, dataset["hurst"].to_numpy())
    )
