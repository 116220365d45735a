"""Which shape of a network of P = L M D parameters is nearest to the large-scale limit.

Error in embedding space over the embedding dimension at fixed budgets: too narrow, the Gaussian
embeddings are far from orthogonal (1/sqrt(D)); too wide, there are too few neurons
(sqrt(D/(LM))). The optimum goes like D ~ P^(1/3), L M ~ P^(2/3), its error like P^(-1/6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _example as example
from limits.experiments.chizat2025._drawing import plain_axes
from limits.experiments.chizat2025._example import CITATION as CITATION
from limits.experiments.chizat2025._judging import of_exponent
from limits.plots import BLUE, DASHED

_RESAMPLES = 1000


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    budgets : tuple of int
        Numbers of parameters P = L M D, powers of two.
    dimensions : tuple of int
        Embedding dimensions D, powers of two; only those with L M of 64 and more are used.
    deepest : int
        Largest depth; L = min(LM / 4, deepest).
    steps : int
        Gradient steps, learning rate 1.
    parameters : int
        Networks per point: as many as have this number of parameters together, `least` and more
        and `most` at most.
    least, most : int
        See above.
    """

    budgets: tuple[int, ...] = tuple(2**power for power in (10, 12, 14, 16, 18, 20))
    dimensions: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    deepest: int = 64
    steps: int = 3
    parameters: int = 2**25
    least: int = 32
    most: int = 2048

    def __post_init__(self) -> None:
        bad = [each for each in (*self.budgets, *self.dimensions) if each & (each - 1)]
        if bad:
            raise ValueError(f"budgets and dimensions must be powers of two, found {bad}.")


SCALES = {
    "smoke": Config(
        budgets=(2**10, 2**12, 2**14), dimensions=(4, 8, 16, 32, 64), parameters=2**20, least=64,
        most=512,
    ),
    "laptop": Config(),
    "paper": Config(
        budgets=tuple(2**power for power in (12, 14, 16, 18, 20, 22)),
        dimensions=(4, 8, 16, 32, 64, 128, 256, 512), parameters=2**29,
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every budget."""
    return {"budget": config.budgets}


def cost(config: Config, *, budget: int) -> float:
    """Return how long a task takes, in no particular unit."""
    return float(max(budget * config.least, config.parameters))


def task(
    config: Config,
    *,
    seed: int,
    budget: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Measure the error of every shape of one budget."""
    limit = example.limit_of(config.steps, seed)
    n_paths = min(max(config.parameters // budget, config.least), config.most)
    squares = np.full((len(config.dimensions), config.most), np.nan, dtype=np.float32)
    for i, width in enumerate(config.dimensions):
        size = budget // width
        if size < 64:
            continue
        depth = min(size // 4, config.deepest)
        net = limits.MeanFieldResNet(width, size // depth, depth=depth, features=1, outputs=1)
        _, states, weights = example.train(net, steps=config.steps, n_paths=n_paths, seed=seed)
        ideal = limit.embedded(weights.embedding, weights.readout)[-1, -1, :, 0]
        squares[i, :n_paths] = (states - ideal).square().mean(dim=-1).numpy()
        if progress is not None:
            progress(i + 1, len(config.dimensions), "shapes")
    return xr.Dataset(
        {"square": (("dimension", "path"), squares)},
        coords={"dimension": list(config.dimensions)},
        attrs={"steps": config.steps, "deepest": config.deepest},
    )


def best(dimensions: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Return the optimal D and its error by fitting sqrt(a / D + b D^2 + c) to errors.

    At a fixed budget P = L M D the squares of the three errors are such powers of D: a of the
    embeddings, b of the neurons, D / (LM) = D^2 / P, and c of the depth.
    """
    kept = np.isfinite(errors)
    d, squares = dimensions[kept], errors[kept] ** 2
    design = np.stack([1 / d, d**2, np.ones_like(d)], axis=1) / squares[:, None]
    embeddings, neurons, depth = _nonnegative(design)
    if embeddings * neurons == 0:
        return float("nan"), float("nan")
    optimum = (embeddings / (2 * neurons)) ** (1 / 3)
    return optimum, (embeddings / optimum + neurons * optimum**2 + depth) ** 0.5


def _nonnegative(design: np.ndarray) -> tuple[float, float, float]:
    """Least squares for relative errors; without the constant where it would be negative."""
    target = np.ones(len(design))
    found = np.linalg.lstsq(design, target, rcond=None)[0]
    if found[2] < 0:
        found = np.append(np.linalg.lstsq(design[:, :2], target, rcond=None)[0], 0.0)
    a, b, c = np.maximum(found, 0.0)
    return float(a), float(b), float(c)


def optima(dataset: xr.Dataset) -> np.ndarray:
    """Return optimal D and error of every budget, shape ``(resample, budget, 2)``.

    The first row is the estimate itself, the others a bootstrap over networks.
    """
    dimensions = dataset["dimension"].to_numpy().astype(float)
    rng = np.random.default_rng(0)
    found = np.empty((_RESAMPLES + 1, dataset.sizes["budget"], 2))
    for j, budget in enumerate(dataset["budget"]):
        squares = dataset["square"].sel(budget=budget).transpose("dimension", "path").to_numpy()
        n = int(np.isfinite(squares).any(axis=0).sum())
        squares = squares[:, :n].astype(float)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES) / n
        counts = np.concatenate([np.full((1, n), 1 / n), counts])
        errors = np.sqrt(counts @ squares.T)
        found[:, j] = [best(dimensions, row) for row in errors]
    return found


def slopes(dataset: xr.Dataset) -> np.ndarray:
    """Return value, low and high of the exponents of P in the optimal D and in its error.

    An interval is NaN where more than one resample in forty has no optimum.
    """
    logs = np.log(dataset["budget"].to_numpy().astype(float))
    centred = logs - logs.mean()
    exponents = np.einsum("b,rbv->rv", centred, np.log(optima(dataset))) / (centred @ centred)
    lost = np.isnan(exponents[1:]).mean(axis=0) > 1 / 40
    ends = np.nanpercentile(np.where(lost, 0.0, exponents[1:]), [2.5, 97.5], axis=0)
    return np.stack([exponents[0], *np.where(lost, np.nan, ends)])


def draw(dataset: xr.Dataset) -> Figure:
    """Draw errors over D, the optimal D and LM over the budget, and the error there."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 2.8), layout="constrained", width_ratios=[1.3, 1, 1]
        )
        _draw_errors(left, dataset)
        budgets = dataset["budget"].to_numpy().astype(float)
        found, exponents = optima(dataset), slopes(dataset)
        shown = (
            (middle, found[:, :, 0], r"optimal $D$", exponents[:, 0], 1 / 3, r"$P^{1/3}$"),
            (right, found[:, :, 1], "error at the optimum", exponents[:, 1], -1 / 6, r"$P^{-1/6}$"),
        )
        for ax, values, label, exponent, power, theory in shown:
            low, high = np.nanpercentile(values[1:], [2.5, 97.5], axis=0)
            ax.errorbar(
                budgets, values[0], yerr=np.clip([values[0] - low, high - values[0]], 0, None),
                color=BLUE, marker="o", capsize=2, linewidth=0.9,
                label=f"measured, slope\n{exponent[0]:.3f} [{exponent[1]:.3f}, {exponent[2]:.3f}]",
            )  # fmt: skip
            centre = np.exp(np.log(values[0]).mean() - power * np.log(budgets).mean())
            ax.plot(budgets, centre * budgets**power, label=f"theory: {theory}", **DASHED)
            ax.set(yscale="log", xlabel="parameters $P=LMD$", ylabel=label)
            bottom, top = ax.get_ylim()
            ax.set_ylim(bottom / (top / bottom) ** 0.5, top)
            plain_axes(ax, budgets, powers=True)
            ax.legend(loc="lower left", fontsize=6.5)
    return figure


def _draw_errors(ax: Axes, dataset: xr.Dataset) -> None:
    mean = dataset["square"].mean("path")
    spread = dataset["square"].std("path") / dataset["square"].count("path") ** 0.5
    found = optima(dataset)[0]
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, dataset.sizes["budget"]))
    for j, budget in enumerate(dataset["budget"].to_numpy()):
        squares = mean.sel(budget=budget).to_numpy()
        errors = squares**0.5
        half = 1.96 * spread.sel(budget=budget).to_numpy() / (2 * errors)
        ax.errorbar(
            dataset["dimension"], errors, yerr=half, color=shades[j], capsize=1.5, linewidth=0.9,
            marker="os^Dv<"[j % 6], markersize=3.5, label=f"$2^{{{int(np.log2(budget))}}}$",
        )  # fmt: skip
        ax.plot(*found[j], marker="*", color="black", markersize=8, linestyle="none")
    ax.plot([], [], "*", color="black", linestyle="none", label="optimum")
    ax.set(yscale="log", xlabel="embedding dimension $D$")
    ax.set_ylabel("error of $h_L$, RMS per entry")
    ax.legend(title="parameters $P$", title_fontsize=7, fontsize=6.5, ncols=2, loc="upper right")
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top * (top / bottom) ** 0.45)
    plain_axes(ax, dataset["dimension"].to_numpy())


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the exponents of the best shape."""
    exponents, budgets = slopes(dataset), tuple(dataset["budget"].to_numpy().tolist())
    shown = (
        ("the best D, and so L M = P / D with 2/3,", exponents[:, 0], 1 / 3, 0.3),
        ("the error at the best shape", exponents[:, 1], -1 / 6, 0.1),
    )
    return tuple(
        of_exponent(
            f"{claim} against the budget P",
            limits.Order(*column, 1.0, budgets),
            theory,
            widest=widest,
            symbol="P",
        )
        for claim, column, theory, widest in shown
    )
