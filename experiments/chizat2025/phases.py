"""Phase diagram of mean-field training over the residual scale r, the size L M and D.

The learning rate knows nothing of r: it is the smallest at which three steps halve the loss. Where
neurons then move by their own size, training is complete; where they move less it is lazy, where
more they forget their initial values. Outputs are random where they fluctuate by their own size.
Both borders are read off measured curves, whose powers of L M and D are then fitted: sqrt(D)/(LM)
and 1/sqrt(LM) are predicted. Data have the same Gram matrix at every D, so that D alone changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025._fitting import Floats, jackknife
from limits.experiments.chizat2025._halving import movement_at, rate_of_half
from limits.experiments.chizat2025._judging import of_estimate
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.experiments.chizat2025._problem import log_log
from limits.plots import COLOURS, DASHED, MARKERS

# Movement and fluctuation at the borders: the neurons' and states' own size, by definition.
OWN = 1.0
# Beyond it the two borders meet, and a network is random before it is lazy.
LARGEST = 1 / 8
# Tells a half from zero and from one.
WIDEST = 0.4


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    dimensions : tuple of int
        Embedding dimensions D, from 4 on.
    sizes : tuple of int
        Values of L M, four times a square: the hidden width is four times the depth.
    alphas : tuple of float
        Residual scales in units of sqrt(D)/(LM), for the movement of neurons.
    spreads : tuple of float
        Residual scales in units of 1/sqrt(LM), for the fluctuation of outputs.
    steps : int
        Gradient steps, in which the loss falls to a half.
    n_paths : int
        Initialisations per point.
    """

    dimensions: tuple[int, ...] = (4, 16, 64, 256)
    sizes: tuple[int, ...] = (1024, 4096, 16384)
    alphas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    spreads: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    steps: int = 3
    n_paths: int = 6

    def __post_init__(self) -> None:
        bad = [size for size in self.sizes if 4 * _depth(size) ** 2 != size]
        if bad or min(self.dimensions) < 4:
            raise ValueError(
                f"sizes must be four times a square and dimensions from 4 on, found {bad or 'D'}."
            )


def _depth(size: int) -> int:
    return round((size / 4) ** 0.5)


SCALES = {
    "smoke": Config(
        dimensions=(4, 16), sizes=(64, 256, 1024), alphas=(0.25, 0.5, 1.0, 2.0, 4.0), n_paths=4
    ),
    "laptop": Config(),
    "paper": Config(sizes=(1024, 4096, 16384, 65536), n_paths=16,
                    alphas=(0.125, 0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0, 8.0, 16.0)),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every D and L M."""
    return {"dimension": config.dimensions, "size": config.sizes}


def cost(config: Config, *, dimension: int, size: int) -> float:
    """Return how long a task takes, in units of the smallest."""
    return size * (20 + dimension)


def task(
    config: Config,
    *,
    seed: int,
    dimension: int,
    size: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Measure movement and fluctuation at every residual scale."""
    x, y = data(dimension)
    movement, rates = [], []
    for done, alpha in enumerate(config.alphas):
        net = network(dimension, size, alpha)
        weights = net.sample(n_paths=config.n_paths, seed=seed)
        rate = rate_of_half(net, x, y, weights, config.steps)
        rates.append(rate)
        movement.append(
            np.full(config.n_paths, np.nan)
            if np.isnan(rate)
            else movement_at(net, x, y, weights, config.steps, rate)
        )
        if progress is not None:
            progress(done + 1, len(config.alphas), "scales")
    fluctuation = []
    for spread in config.spreads:
        net = network(dimension, size, spread * (size / dimension) ** 0.5)
        out = net(x, net.sample(n_paths=config.n_paths, seed=seed))
        moved = out.terminal - x
        fluctuation.append((moved.square().mean(dim=(1, 2)) / x.square().mean()).sqrt().numpy())
    return xr.Dataset(
        {
            "movement": (("alpha", "path"), np.stack(movement)),
            "rate": ("alpha", rates),
            "fluctuation": (("spread", "path"), np.stack(fluctuation)),
        },
        coords={"alpha": list(config.alphas), "spread": list(config.spreads)},
        attrs={"steps": config.steps},
    )


def data(dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two inputs and two targets, orthogonal and of length sqrt(D).

    The law of the weights is the same in every frame, so that the axes are as good as any.
    """
    rows = torch.eye(dimension, dtype=torch.float64)[:4] * dimension**0.5
    return rows[:2], rows[2:]


def network(dimension: int, size: int, alpha: float) -> limits.MeanFieldResNet:
    """Return the network of residual scale alpha sqrt(D) / (LM)."""
    depth = _depth(size)
    return limits.MeanFieldResNet(dimension, size // depth, depth=depth, alpha=alpha)


def crossing(values: Floats, curve: Floats) -> float:
    """Return the log of where a curve is `OWN`, linear in log log; NaN if nowhere."""
    logs, places = np.log(curve / OWN), np.log(values)
    for i in range(len(logs) - 1):
        if np.isfinite(logs[i : i + 2]).all() and logs[i] * logs[i + 1] <= 0:
            share = logs[i] / (logs[i] - logs[i + 1])
            return float(places[i] + share * (places[i + 1] - places[i]))
    return np.nan


def borders(dataset: xr.Dataset, name: str) -> tuple[Floats, Floats, Floats]:
    """Return curves ``(shape, scale, path)`` where sizes are large enough, and their D and L M."""
    along = "alpha" if name == "movement" else "spread"
    part = dataset[name].stack(shape=("dimension", "size")).transpose("shape", along, "path")
    dimension, size = (part[each].to_numpy().astype(float) for each in ("dimension", "size"))
    kept = dimension / size <= LARGEST
    return part.to_numpy()[kept], dimension[kept], size[kept]


def exponents(dataset: xr.Dataset, name: str) -> list[tuple[float, float]]:
    """Fit r ~ D^p (LM)^-q (1 + a term in D/(LM)) to a border: p and q with errors over paths."""
    curves, dimension, size = borders(dataset, name)
    if name == "movement":
        values, unit = dataset["alpha"].to_numpy(), np.log(dimension**0.5 / size)
    else:
        values, unit = dataset["spread"].to_numpy(), np.log(size**-0.5)
    design = np.stack(
        [np.ones_like(size), np.log(dimension), -np.log(size), dimension / size], axis=1
    )
    solve = np.linalg.pinv(design)

    def found(means: Floats, row: int) -> float:
        return float(solve[row] @ (unit + [crossing(values, each) for each in means]))

    return [jackknife(curves, lambda means, row=row: found(means, row)) for row in (1, 2)]


def lazy_slope(dataset: xr.Dataset) -> tuple[float, float]:
    """Fit the power of 1/alpha in the movement of the largest size at the smallest D."""
    part = dataset["movement"].isel(dimension=0, size=-1)
    part = part.sel(alpha=dataset["alpha"] >= 2).transpose("alpha", "path")
    alphas = part["alpha"].to_numpy()
    if len(alphas) < 3:
        return np.nan, np.nan
    row = np.linalg.pinv(np.stack([np.ones_like(alphas), -np.log(alphas), alphas**-2.0], axis=1))[1]
    return jackknife(part.to_numpy(), lambda mean: float(row @ np.log(mean)))


def draw(dataset: xr.Dataset) -> Figure:
    """Draw movement and fluctuation against r in units of their borders, and both borders."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 3.0), layout="constrained")
        sizes = dataset["size"].to_numpy().astype(float)
        for ax, name, unit in (
            (left, "movement", r"$r\,LM/\sqrt{D}$"), (middle, "fluctuation", r"$r\,\sqrt{LM}$")
        ):  # fmt: skip
            along = "alpha" if name == "movement" else "spread"
            _curves(ax, dataset[name].isel(size=-1).mean("path"), along)
            ax.axhline(OWN, **DASHED)
            ax.set(xlabel=f"{unit}, $LM={sizes[-1]:.0f}$")
        left.set_title("features' movement / size")
        middle.set_title("outputs' spread / size")
        middle.legend(loc="upper left")
        _lines(right, dataset)
    return figure


def _curves(ax: Axes, part: xr.DataArray, along: str) -> None:
    for dimension, colour, marker in zip(
        part["dimension"].to_numpy(), COLOURS, MARKERS, strict=False
    ):
        ax.plot(
            part[along], part.sel(dimension=dimension), marker=marker, color=colour, linewidth=0.7,
            label=f"$D={dimension}$",
        )  # fmt: skip
    log_log(ax)


def _lines(ax: Axes, dataset: xr.Dataset) -> None:
    sizes = dataset["size"].to_numpy().astype(float)
    for dimension, colour, marker in zip(
        dataset["dimension"].to_numpy(), COLOURS, MARKERS, strict=False
    ):
        part = dataset.sel(dimension=dimension).mean("path").transpose("size", ...)
        complete = [
            crossing(part["alpha"].to_numpy(), each) for each in part["movement"].to_numpy()
        ]
        random = [
            crossing(part["spread"].to_numpy(), each) for each in part["fluctuation"].to_numpy()
        ]
        border = np.exp(complete) * dimension**0.5 / sizes
        ax.plot(sizes, border, marker, color=colour)
        ax.plot(sizes, np.exp(random) * sizes**-0.5, marker, color=colour, markerfacecolor="none")
        ax.plot(sizes, border[-1] * sizes[-1] / sizes, **{**DASHED, "color": colour})
    last = np.exp(random[-1]) * sizes[-1] ** -0.5 * (sizes[-1] / sizes) ** 0.5
    ax.plot(sizes, last, label=r"random, $(LM)^{-1/2}$", **DASHED)
    ax.plot([], [], **{**DASHED, "color": COLOURS[0]}, label=r"complete, $\sqrt{D}/(LM)$")
    log_log(ax)
    ax.set_ylim(top=1.0)
    ax.legend(loc="upper right")
    ax.set(
        xlabel="size $LM$",
        ylabel="residual scale $r$",
        title="where they equal 1",
    )


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the powers of D and L M in both borders, and the fall of movement beyond the first."""
    n, verdicts = dataset.sizes["path"], []
    sizes = dataset["size"].to_numpy()
    span = f"LM = {sizes[0]}-{sizes[-1]}, D/(LM) <= 1/8"
    for name, words, expected in (
        ("movement", "neurons move by their size", (0.5, 1.0)),
        ("fluctuation", "outputs fluctuate by their size", (0.0, 0.5)),
    ):
        for symbol, found, power in zip(
            ("D", "1/(LM)"), exponents(dataset, name), expected, strict=True
        ):
            verdicts.append(
                of_estimate(
                    f"r at which {words}: exponent of {symbol}", found, n, power, widest=WIDEST,
                    sizes=span,
                )
            )  # fmt: skip
    verdicts.append(
        of_estimate(
            "beyond it neurons move by the inverse of r", lazy_slope(dataset), n, 1.0,
            widest=WIDEST, sizes=f"LM = {sizes[-1]}",
        )
    )  # fmt: skip
    return tuple(verdicts)
