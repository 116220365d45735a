"""Error of trained networks against depth L and hidden width M, and its two parts.

The published figure beside ours, against the Mean ODE instead of one large network; fitted in
quadrature, with the published sum of the two rates for comparison.
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
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DOTTED, MARKERS

GRID = (1, 3, 6, 12, 24, 46, 87, 166, 316)
# Read off the published plots at k = 100 with an error of 1-2 %; rows start at L or M = 3.
PUBLISHED_DEPTH = {
    1: (0.682, 0.387, 0.176, 0.130, 0.106, 0.0803, 0.0643, 0.0495),
    12: (0.133, 0.104, 0.0683, 0.0547, 0.0344, 0.0276, 0.0179, 0.0129),
    316: (0.0836, 0.0404, 0.0212, 0.0131, 0.00805, 0.00476, 0.00374, 0.00318),
}
PUBLISHED_WIDTH = {
    6: (0.165, 0.121, 0.103, 0.0803, 0.0619, 0.0437, 0.0421, 0.0406),
    46: (0.0775, 0.0532, 0.0343, 0.0242, 0.0191, 0.0172, 0.0117, 0.0081),
    316: (0.0264, 0.0185, 0.0131, 0.00902, 0.00619, 0.00527, 0.00375, 0.00319),
}
PUBLISHED_FIT = (0.22, 0.15)
# Five repetitions of another X and Y: a factor of this is within the spread of either.
CLOSE = 0.35
# One block approximates no equation: the expansion in 1 / L starts later, as published curves do.
SHALLOWEST = 3
BANDS = {10: ((0.33, 0.41), (0.2, 0.3)), 100: ((0.2, 0.3), (0.15, 0.3))}


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
        depths=(3, 6, 12, 24, 46), hidden_widths=(12, 46, 166, 316), steps=(10,), n_paths=8,
        particles=4096, nodes=4, replicates=4,
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
        attrs={"width": config.width, "n_paths": config.n_paths},
    )


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
            "repetitions, 95 % intervals; crosses: published (other data)\n"
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


def published_points(dataset: xr.Dataset) -> list[tuple[str, float, float, bool, float]]:
    """Compare with every digitised point: its name, value, ours, whether it agrees, the ratio."""
    found = []
    for table, fixed, along in (
        (PUBLISHED_DEPTH, "hidden_width", "depth"),
        (PUBLISHED_WIDTH, "depth", "hidden_width"),
    ):
        for value, points in table.items():
            for position, point in zip(GRID[1:], points, strict=True):
                cell = {fixed: value, along: position, "step": 100}
                ours = dataset["error"].sel(cell).to_numpy()[None]
                middle, low, high = (float(each[0]) for each in _interval(ours))
                ratio = point / middle
                agrees = low <= point <= high or 1 / (1 + CLOSE) <= ratio <= 1 + CLOSE
                name = f"L={cell['depth']}, M={cell['hidden_width']}"
                found.append((name, point, middle, agrees, ratio))
    return found


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the constants of the fit and the published points."""
    verdicts = []
    for step in dataset["step"].to_numpy().tolist():
        quadrature, linear = fits(dataset, step), fits(dataset, step, "linear")
        (a_low, a_high), (b_low, b_high) = BANDS[step]
        inside = a_low <= quadrature.a[0] <= a_high and b_low <= quadrature.b[0] <= b_high
        verdicts += [
            limits.Verdict(
                f"k = {step}: constants of the fit in quadrature",
                f"a in [{a_low}, {a_high}], b in [{b_low}, {b_high}]",
                str(quadrature),
                inside,
            ),
            limits.Verdict(
                f"k = {step}: errors add in quadrature",
                "RMS relative distance below the linear fit's",
                f"{quadrature.residual:.3f} against {linear.residual:.3f} (linear: {linear})",
                quadrature.residual < linear.residual,
            ),
        ]
    complete = set(GRID) <= set(dataset["depth"].to_numpy()) and 100 in dataset["step"]
    if complete and set(GRID) <= set(dataset["hidden_width"].to_numpy()):
        points = published_points(dataset)
        far = [
            f"{name}: {theirs:g} against {ours:.3g}"
            for name, theirs, ours, ok, _ in points
            if not ok
        ]
        verdicts.append(
            limits.Verdict(
                "the 48 published points, which have another X and Y",
                f"within {CLOSE:.0%} or in our 95 % interval, but for at most 5",
                f"{len(points) - len(far)} of {len(points)}" + "".join(f"; {each}" for each in far),
                len(far) <= 5,
            )
        )
    return tuple(verdicts)
