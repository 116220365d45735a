"""Error of trained networks against depth L and hidden width M, and its two parts.

The published figure beside ours, against the Mean ODE instead of one large network; fitted in
quadrature, with the published sum of the two rates for comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import scipy
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._addition import cross_term
from limits.experiments.chizat2025._judging import CERTAIN, normal_quantile
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.experiments.chizat2025._published import (
    GRID,
    PUBLISHED_DEPTH,
    PUBLISHED_FIT,
    PUBLISHED_WIDTH,
)
from limits.plots import COLOURS, DOTTED, MARKERS

# Repetitions behind a published point, and the error of reading it off.
REPETITIONS, READING = 5, 0.02
# One block approximates no equation: the expansion in 1 / L starts later, as published curves do.
SHALLOWEST = 3


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths, hidden_widths : tuple of int
        The grid of L and M.
    width : int
        Embedding dimension D.
    steps : tuple of int
        Steps of gradient descent after which errors are measured.
    n_paths : int
        Repetitions.
    particles, nodes, replicates : int
        Of the Mean ODE's solver.
    """

    depths: tuple[int, ...] = GRID
    hidden_widths: tuple[int, ...] = GRID
    width: int = 10
    steps: tuple[int, ...] = (10, 100)
    n_paths: int = 5
    particles: int = 16384
    nodes: int = 6
    replicates: int = 2


SCALES = {
    "smoke": Config(
        depths=(3, 6, 12, 24, 46), hidden_widths=(1, 3, 12, 46), steps=(10, 100), n_paths=10,
        particles=512, nodes=4,
    ),
    "laptop": Config(),
    "paper": Config(n_paths=20, particles=65536, nodes=8, replicates=4),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every depth."""
    return {"depth": config.depths}


def cost(config: Config, *, depth: int) -> float:
    return 20 + depth


def task(
    config: Config, *, seed: int, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one depth and all hidden widths."""
    solution = _problem.reference(
        config.width, config.steps, config.particles, config.nodes, config.replicates
    )
    errors, bias, fluctuation = [], [], []
    for outputs, splits in _problem.trained(
        config.width, depth, config.hidden_widths, n_paths=config.n_paths, seed=seed,
        solution=solution, progress=progress,
    ):  # fmt: skip
        gaps = outputs - solution.outputs.unsqueeze(1)
        errors.append(gaps.square().mean(dim=(2, 3)).sqrt())
        bias.append([split.bias for split in splits])
        fluctuation.append([split.fluctuation for split in splits])
    shape = ("hidden_width", "step")
    return xr.Dataset(
        {
            "error": ((*shape, "path"), np.stack(errors).astype(np.float32)),
            "bias": ((*shape, "bound"), np.array(bias, dtype=np.float32)),
            "fluctuation": ((*shape, "bound"), np.array(fluctuation, dtype=np.float32)),
            "reference_error": ("step", solution.errors.numpy()),
        },
        coords={
            "hidden_width": list(config.hidden_widths),
            "step": list(config.steps),
            "bound": ["value", "low", "high"],
        },
        attrs={
            "width": config.width, "n_paths": config.n_paths,
            "data": "published" if config.width == 10 else "draw 0",
        },
    )  # fmt: skip


def fits(dataset: xr.Dataset, step: int, kind: str = "quadrature") -> limits.ShapeFit:
    """Fit the constants of both rates after some steps to all shapes that are deep enough."""
    errors = dataset["error"].sel(step=step)
    errors = errors.sel(depth=errors["depth"] >= SHALLOWEST)
    part = errors.stack(shape=("depth", "hidden_width"))
    return limits.fit_shape(
        part.transpose("shape", "path").to_numpy(),
        depths=part["depth"].to_numpy().tolist(),
        hidden_widths=part["hidden_width"].to_numpy().tolist(),
        embedding_dim=dataset.attrs["width"],
        seed=0,
        kind=kind,
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw errors against L for some M, and against M for some L."""
    step = int(dataset["step"].max())
    quadrature, linear = fits(dataset, step), fits(dataset, step, "linear")
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.7), layout="constrained")
        _panel(left, dataset, step, quadrature, linear, along="depth")
        _panel(right, dataset, step, quadrature, linear, along="hidden_width")
        left.set(xlabel="depth $L$", ylabel="output error (RMS)")
        right.set(xlabel="hidden width $M$")
        a, b = PUBLISHED_FIT
        figure.supxlabel(
            rf"$k={step}$ steps, $D=N={dataset.attrs['width']}$, {dataset.attrs['n_paths']} "
            "repetitions, 95 % intervals; crosses: published\n"
            rf"dashed: $\sqrt{{a^2D/(LM)+b^2/L^2}}$, {quadrature}, fitted to $L\geq{SHALLOWEST}$"
            "\n"
            r"dotted: the published form $a\sqrt{D/(LM)}+b/L$ fitted here, "
            rf"$a={linear.a[0]:.2f}$, $b={linear.b[0]:.2f}$ (published at $k=100$: {a}, {b})",
            fontsize=7, color="0.3",
        )  # fmt: skip
    return figure


def _panel(
    ax: Axes,
    dataset: xr.Dataset,
    step: int,
    quadrature: limits.ShapeFit,
    linear: limits.ShapeFit,
    *,
    along: str,
) -> None:
    other = "hidden_width" if along == "depth" else "depth"
    chosen, published = _rows(dataset, other)
    values = dataset[along].to_numpy()
    dense = np.geomspace(values.min(), values.max(), 60)
    symbol = "M" if along == "depth" else "L"
    for value, colour, marker in zip(chosen, COLOURS, MARKERS, strict=False):
        rows = dataset["error"].sel({other: value, "step": step}).transpose(along, "path")
        middle, low, high = _interval(rows.to_numpy())
        ax.errorbar(
            values, middle, yerr=[middle - low, high - middle], color=colour, marker=marker,
            linestyle="none", capsize=2, label=f"${symbol}={value}$",
        )  # fmt: skip
        shape = (dense, value) if along == "depth" else (value, dense)
        width = dataset.attrs["width"]
        ax.plot(dense, quadrature.predict(*shape, width), linestyle=(0, (4, 2)), color=colour)
        ax.plot(dense, linear.predict(*shape, width), **{**DOTTED, "color": colour})
        if value in published and step == 100:
            ax.plot(GRID[1:], published[value], "x", color=colour, markersize=5, alpha=0.75)
    _problem.log_log(ax)
    ax.legend(loc="lower left")


def _rows(dataset: xr.Dataset, other: str) -> tuple[list[int], dict[int, tuple[float, ...]]]:
    published = PUBLISHED_DEPTH if other == "hidden_width" else PUBLISHED_WIDTH
    there = dataset[other].to_numpy().tolist()
    chosen = [value for value in published if value in there]
    return chosen if len(chosen) > 2 else [there[0], there[len(there) // 2], there[-1]], published


def _interval(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the RMS over repetitions and a 95 % interval from their spread in the log."""
    middle = np.sqrt((errors.astype(float) ** 2).mean(axis=1))
    n = errors.shape[1]
    spread = np.log(errors.astype(float)).std(axis=1, ddof=1) / np.sqrt(n)
    # Student's quantile for a handful of repetitions.
    factor = np.exp({5: 2.776, 8: 2.365, 20: 2.093}.get(n, 2.0) * spread)
    return middle, middle / factor, middle * factor


def published_points(dataset: xr.Dataset) -> xr.Dataset:
    """Compare with every digitised point of a computed shape, those in both plots once.

    Its value and ours, and the standard deviation of the log of their ratio: that of five
    repetitions and of ours, and the reading error.
    """
    seen = {
        (depth, width): point
        for table, turned in ((PUBLISHED_DEPTH, False), (PUBLISHED_WIDTH, True))
        for fixed, points in table.items()
        for along, point in zip(GRID[1:], points, strict=True)
        for depth, width in [(fixed, along) if turned else (along, fixed)]
    }
    there = [
        shape
        for shape in seen
        if shape[0] in dataset["depth"] and shape[1] in dataset["hidden_width"]
    ]
    errors = dataset["error"].sel(step=100).transpose("depth", "hidden_width", "path")
    rows = np.stack([errors.sel(depth=d, hidden_width=m).to_numpy() for d, m in there])
    n = rows.shape[1]
    # One repetition's relative spread; of few repetitions a noisy number, of all shapes a good one.
    spread = (rows.astype(float) ** 2).std(axis=1, ddof=1) / (rows**2).mean(axis=1) / 2
    spread = np.sqrt((spread**2).mean()) * np.ones(len(rows))
    noise = np.sqrt(spread**2 * (1 / REPETITIONS + 1 / n) + READING**2)
    return xr.Dataset(
        {
            "published": ("point", [seen[shape] for shape in there]),
            "ours": ("point", np.sqrt((rows.astype(float) ** 2).mean(axis=1))),
            "noise": ("point", noise),
        },
        coords={
            "depth": ("point", [shape[0] for shape in there]),
            "hidden_width": ("point", [shape[1] for shape in there]),
        },
    )


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge how the two errors add, and the published points."""
    verdicts = [_of_addition(dataset, step) for step in dataset["step"].to_numpy().tolist()]
    if 100 in dataset["step"]:
        points = published_points(dataset)
        verdicts.append(_of_points(points, known=dataset.attrs.get("data") == "published"))
    return tuple(verdicts)


def _of_points(points: xr.Dataset, *, known: bool) -> limits.Verdict:
    """Judge the distances to the published points by their noise, all of them together.

    Numbers from another X and Y decide nothing.
    """
    logs = np.log(points["ours"] / points["published"]).to_numpy()
    noise, n = points["noise"].to_numpy(), points.sizes["point"]
    square, allowed = float(((logs / noise) ** 2).sum()), float(scipy.stats.chi2.ppf(CERTAIN, n))
    within, median = int((np.abs(logs) <= noise).sum()), float(np.exp(np.median(logs)))
    return limits.Verdict(
        "published points at k = 100, from the published X and Y",
        f"sum of squares over {n} points, in units of the noise of {REPETITIONS} repetitions, of "
        f"ours and of reading, below {allowed:.0f} (99.9 %); median ratio in [0.95, 1.05]",
        f"{square:.0f}, {within} of {n} within one unit; median ratio {median:.3f}"
        + ("" if known else "; from another X and Y"),
        bool(known and square <= allowed and abs(median - 1) <= 0.05),
        decided=known,
    )


def _of_addition(dataset: xr.Dataset, step: int) -> limits.Verdict:
    """Judge whether the published sum of the two errors is excluded, and quadrature is not."""
    rho, error = cross_term(dataset, step, SHALLOWEST)
    half = normal_quantile(CERTAIN) * error
    return limits.Verdict(
        f"k = {step}: errors add in quadrature (rho = 0), not by their sizes (rho = 1)",
        "99.9 % interval of rho contains 0 and not 1",
        f"rho = {rho:.2f} [{rho - half:.2f}, {rho + half:.2f}]; {fits(dataset, step)}",
        bool(rho - half <= 0 <= rho + half < 1),
        decided=bool(rho + half < 1 or rho - half > 0),
    )
