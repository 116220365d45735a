"""Distance of training to its lazy limit against alpha, without and with a finite network's noise.

The published bound is 1/alpha + 1/L + alpha/sqrt(LM). Training does not change when alpha and every
v change sign, and v has a symmetric law: the limit L, M to infinity is even in alpha, and its
distance to the lazy limit falls as 1/alpha^2, the bound's square. Networks fluctuate like alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._fitting import (
    Floats,
    common_square,
    exponent,
    jackknife,
    roots,
)
from limits.experiments.chizat2025._judging import CERTAIN, of_estimate, student_quantile
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, DOTTED, MARKERS

# Intervals that tell 2 from 1, and 1 from a half.
WIDEST, WIDEST_NOISE = 0.8, 0.4
# From here on 1/alpha^4 is a correction to 1/alpha^2: the ratio of distances at alpha and 2 alpha,
# seen at D = 3 before the first run at laptop scale, is 2^1.6 from 8 on. Below it grows slowly.
FIRST = 5.5
# What is left at infinite alpha must be known to this share of the distance at the smallest.
LEFT = 0.05


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    draws : tuple of int
        Draws of X and Y.
    alphas : tuple of float
        Residual factors of Mean ODE and networks.
    width : int
        D = N.
    steps : int
        Steps of gradient descent.
    particles, nodes, replicates : int
        Of the Mean ODE's solver; scrambles are those of all alphas.
    lazy_nodes : int
        Points in layer time of the lazy limit.
    depth, hidden_width, n_paths : int
        L and M of the networks, and their number.
    """

    draws: tuple[int, ...] = (1, 2, 3)
    alphas: tuple[float, ...] = (
        1.0, 1.41, 2.0, 2.83, 4.0, 5.66, 8.0, 11.3, 16.0, 22.6, 32.0,
    )  # fmt: skip
    width: int = 10
    steps: int = 5
    particles: int = 4096
    nodes: int = 5
    replicates: int = 8
    lazy_nodes: int = 5
    depth: int = 64
    hidden_width: int = 64
    n_paths: int = 16


SCALES = {
    "smoke": Config(
        draws=(1,), alphas=(1.0, 2.0, 4.0, 5.66, 8.0, 16.0, 32.0), width=3, steps=2,
        particles=512, nodes=4, depth=16, hidden_width=16,
    ),
    "laptop": Config(),
    "paper": Config(draws=(1, 2, 3, 4, 5, 6, 7, 8), steps=10, particles=32768, lazy_nodes=8,
                    depth=256, hidden_width=256),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every draw of the data."""
    return {"draw": config.draws}


def task(
    config: Config, *, seed: int, draw: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Solve the lazy limit and the Mean ODE at every alpha, and train networks."""
    x, y = _problem.data(config.width, config.width, draw=draw)
    lazy = limits.LazyLimit("tanh", nodes=config.lazy_nodes)
    goal = lazy.descend(x, y, steps=config.steps).outputs[-1]
    solver = limits.ParticleTransport(
        particles=config.particles, nodes=config.nodes, replicates=config.replicates,
        tolerance=1e-6,
    )  # fmt: skip
    apart, noise, total = [], [], []
    for number, alpha in enumerate(config.alphas):
        net = limits.MeanFieldResNet(
            config.width, config.hidden_width, depth=config.depth, alpha=alpha
        )
        # One seed for all alphas: what the particles' noise adds is the same vector at each.
        solution = solver.solve(limits.MeanODE.of(net), x, y, steps=config.steps, seed=seed)
        apart.append((solution.replicates[0] - goal).flatten(1).numpy())
        weights = net.sample(n_paths=config.n_paths, seed=seed + number)
        outputs = net.descend(
            x, y, weights, steps=config.steps, in_place=True, nonfinite="keep"
        ).outputs[0]
        squares = (outputs - outputs.mean(dim=0)).square().mean(dim=(1, 2))
        noise.append(squares.numpy() * config.n_paths / (config.n_paths - 1))
        total.append(float((outputs - goal).square().mean().sqrt()))
        if progress is not None:
            progress(number + 1, len(config.alphas), "alphas")
    return xr.Dataset(
        {
            "apart": (("alpha", "replicate", "output"), np.stack(apart)),
            "noise": (("alpha", "path"), np.stack(noise)),
            "total": ("alpha", total),
        },
        coords={"alpha": list(config.alphas)},
        attrs={"width": config.width, "steps": config.steps, "depth": config.depth,
               "hidden_width": config.hidden_width},
    )  # fmt: skip


def _distances(dataset: xr.Dataset) -> Floats:
    """Return vectors to the lazy limit ``(alpha, output of every draw, replicate)``."""
    stacked = dataset["apart"].stack(all=("draw", "output"))
    return stacked.transpose("alpha", "all", "replicate").to_numpy().astype(float)


def _terms(alphas: Floats, p: float) -> Floats:
    # The first column holds what the particles' noise adds at every alpha.
    return np.stack([np.ones_like(alphas), alphas**-p, alphas ** (-2 * p)], axis=1)


def order_of_distance(dataset: xr.Dataset) -> tuple[float, float]:
    """Fit c + A alpha^-p + B alpha^-2p, vectors: p with its standard error over replicates."""
    far = dataset.sel(alpha=dataset["alpha"] > FIRST)
    alphas = far["alpha"].to_numpy()
    return jackknife(
        _distances(far), lambda mean: exponent(mean, lambda p: _terms(alphas, p), (0.3, 4.0))
    )


def left_at_infinity(dataset: xr.Dataset) -> tuple[float, float]:
    """Return the mean square of c at p = 2, the distance at infinite alpha, and its error."""
    far = dataset.sel(alpha=dataset["alpha"] > FIRST)
    solve = np.linalg.pinv(_terms(far["alpha"].to_numpy(), 2.0))
    return common_square(np.einsum("a,aor->or", solve[0], _distances(far)))


def order_of_noise(dataset: xr.Dataset) -> tuple[float, float]:
    """Fit the exponent of alpha in the fluctuation of networks, with a term 1/alpha^2.

    Up to half of sqrt(LM/D), beyond which noise is no small part of the states.
    """
    size = dataset.attrs["depth"] * dataset.attrs["hidden_width"] / dataset.attrs["width"]
    calm = (dataset["alpha"] >= 2) & (dataset["alpha"] <= size**0.5 / 2)
    dataset = dataset.sel(alpha=calm)
    alphas = dataset["alpha"].to_numpy()
    if len(alphas) < 4:
        return np.nan, np.nan
    squares = dataset["noise"].mean("draw").transpose("alpha", "path").to_numpy()
    design = np.stack([np.ones_like(alphas), np.log(alphas), alphas**-2.0], axis=1)
    row = np.linalg.pinv(design)[1]
    return jackknife(squares, lambda mean: float(row @ np.log(mean)) / 2)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the limit's distance, and that of networks, against alpha."""
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.1), layout="constrained")
        _of_limit(left, dataset)
        _of_networks(right, dataset)
    return figure


def _of_limit(ax: Axes, dataset: xr.Dataset) -> None:
    alphas, n = dataset["alpha"].to_numpy(), dataset.sizes["replicate"]
    far = alphas > FIRST
    solve = np.linalg.pinv(_terms(alphas[far], 2.0))
    for draw, colour, marker in zip(dataset["draw"].to_numpy(), COLOURS, MARKERS, strict=False):
        part = _distances(dataset.sel(draw=[draw]))
        # The particles' noise is one vector at all alphas, drawn as a band below.
        part = part - np.einsum("a,aor->or", solve[0], part[far])
        found = np.array([roots(*common_square(each), student_quantile(n, 0.95)) for each in part])
        middle, low, high = found.T
        ax.errorbar(
            alphas, middle, yerr=[middle - low, high - middle], color=colour, marker=marker,
            linestyle="none", capsize=2, label=f"data {draw}",
        )  # fmt: skip
        line = middle[far][0] * (alphas[far][0] / alphas[far]) ** 2
        ax.plot(alphas[far], line, **{**DASHED, "color": colour})
    ax.plot([], [], label=r"slope $-2$ (even in $\alpha$)", **DASHED)
    bound = _rms(dataset)[0] * alphas[0] / alphas
    ax.plot(alphas, bound, label=r"slope $-1$ (the bound)", **DOTTED)
    _problem.log_log(ax)
    left = roots(*left_at_infinity(dataset), student_quantile(n, CERTAIN))[2]
    low, _ = ax.get_ylim()
    ax.axhspan(low, left, color="0.87", linewidth=0, zorder=0, label="particles' noise, taken out")
    ax.set(xlabel=r"$\alpha$", ylabel=f"RMS distance of outputs, $k={dataset.attrs['steps']}$",
           title="Mean ODE to its lazy limit", ylim=(low, None))  # fmt: skip
    ax.legend(loc="lower left", fontsize=6.5)


def _rms(dataset: xr.Dataset) -> Floats:
    squares = [common_square(each)[0] for each in _distances(dataset)]
    return np.sqrt(np.maximum(squares, 0))


def _of_networks(ax: Axes, dataset: xr.Dataset) -> None:
    alphas = dataset["alpha"].to_numpy()
    total = np.sqrt((dataset["total"] ** 2).mean("draw"))
    noise = np.sqrt(dataset["noise"].mean(("draw", "path")))
    ax.plot(alphas, total, "o", color=COLOURS[0], label="distance to the lazy limit")
    ax.plot(
        alphas, noise, "s", color=COLOURS[1], markerfacecolor="none", label="of it, fluctuation"
    )
    ax.plot(alphas, float(noise[-1]) * alphas / alphas[-1], label=r"slope $1$", **DASHED)
    _problem.log_log(ax)
    ax.set(xlabel=r"$\alpha$", title=f"networks, $L={dataset.attrs['depth']}$, "
           f"$M={dataset.attrs['hidden_width']}$")  # fmt: skip
    ax.legend(loc="lower right")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the exponents of distance and fluctuation, and what is left at infinite alpha."""
    alphas, n = dataset["alpha"].to_numpy(), dataset.sizes["replicate"]
    quantile = student_quantile(n, CERTAIN)
    square, error = left_at_infinity(dataset)
    left, low, high = roots(square, error, quantile)
    first = float(_rms(dataset)[0])
    return (
        of_estimate(
            f"the Mean ODE nears its lazy limit like alpha^-p, {dataset.sizes['draw']} data sets",
            order_of_distance(dataset), n, 2.0, widest=WIDEST, sizes=f"alpha > {FIRST}",
        ),
        limits.Verdict(
            "nothing is left at infinite alpha",
            f"99.9 % interval reaches 0 and ends below {LEFT:.0%} of the distance at alpha = "
            f"{alphas[0]:g}",
            f"{left:.2g} [{low:.2g}, {high:.2g}] of {first:.2g}",
            bool(low == 0 and high < LEFT * first),
            decided=bool(low > 0 or high < LEFT * first),
        ),
        of_estimate(
            "networks fluctuate like alpha^p", order_of_noise(dataset), dataset.sizes["path"], 1.0,
            widest=WIDEST_NOISE, sizes="alpha = 2 to half of sqrt(LM/D)",
        ),
    )  # fmt: skip
