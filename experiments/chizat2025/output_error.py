"""Error of trained networks against depth L and hidden width M, and its two parts.

The published figure beside ours, from the published X and Y and against the Mean ODE instead of
one large network; fitted in quadrature, with the published sum of the two rates for comparison.
How the errors add is asked of fresh draws of X and Y as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._addition import cross_term
from limits.experiments.chizat2025._judging import CERTAIN, normal_quantile, student_quantile
from limits.experiments.chizat2025._points import draw_ratios, of_points, published_points
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.experiments.chizat2025._published import (
    GRID,
    PUBLISHED_DEPTH,
    PUBLISHED_FIT,
    PUBLISHED_WIDTH,
)
from limits.plots import COLOURS, DASHED, DOTTED, MARKERS

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
    draws : tuple of int
        Fresh X and Y, on which the error is measured after the first of the steps.
    fresh_widths : tuple of int
        Hidden widths of the networks on fresh data.
    particles, nodes, replicates : int
        Of the Mean ODE's solver.
    """

    depths: tuple[int, ...] = GRID
    hidden_widths: tuple[int, ...] = GRID
    width: int = 10
    steps: tuple[int, ...] = (10, 100)
    n_paths: int = 10
    draws: tuple[int, ...] = (1, 2, 3, 4)
    fresh_widths: tuple[int, ...] = (1, 3, 12, 46, 166)
    particles: int = 16384
    nodes: int = 6
    replicates: int = 2


SCALES = {
    "smoke": Config(
        depths=(3, 6, 12, 24), hidden_widths=(3, 6, 12), steps=(5, 20), n_paths=10,
        draws=(1, 2), fresh_widths=(3, 6, 12), particles=256, nodes=4,
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
            "fresh_error": (("draw", "fresh_width", "path"), _fresh(config, depth, seed + 1)),
            "bias": ((*shape, "bound"), np.array(bias, dtype=np.float32)),
            "fluctuation": ((*shape, "bound"), np.array(fluctuation, dtype=np.float32)),
            "reference_error": ("step", solution.errors.numpy()),
        },
        coords={
            "hidden_width": list(config.hidden_widths),
            "step": list(config.steps),
            "draw": list(config.draws),
            "fresh_width": list(config.fresh_widths),
            "bound": ["value", "low", "high"],
        },
        attrs={
            "width": config.width, "n_paths": config.n_paths,
            "data": "published" if config.width == 10 else "draw 0",
        },
    )  # fmt: skip


def _fresh(config: Config, depth: int, seed: int) -> np.ndarray:
    """Return errors after the first of the steps on fresh data, ``(draw, width, path)``."""
    steps, errors = min(config.steps), []
    for draw in config.draws:
        solution = _problem.reference(
            config.width, (steps,), config.particles, config.nodes, config.replicates, draw
        )
        row = []
        for outputs, _ in _problem.trained(
            config.width, depth, config.fresh_widths, n_paths=config.n_paths, seed=seed,
            solution=solution, progress=None, draw=draw,
        ):  # fmt: skip
            row.append((outputs - solution.outputs.unsqueeze(1)).square().mean(dim=(2, 3)).sqrt())
        errors.append(np.stack(row)[:, 0])
    return np.stack(errors).astype(np.float32)


def on_fresh_data(dataset: xr.Dataset, draw: int) -> xr.Dataset:
    """Return the errors on one fresh draw in the form of those on the published data."""
    errors = dataset["fresh_error"].sel(draw=draw, drop=True)
    errors = errors.rename(fresh_width="hidden_width").expand_dims(step=[_first(dataset)])
    return xr.Dataset({"error": errors}, attrs=dataset.attrs)


def _first(dataset: xr.Dataset) -> int:
    return int(dataset["step"].min())


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
    """Draw errors against L for some M, against M for some L, and the ratios to the published."""
    step = int(dataset["step"].max())
    quadrature, linear = fits(dataset, step), fits(dataset, step, "linear")
    by_eye = f"published {PUBLISHED_FIT[0]}, {PUBLISHED_FIT[1]}"
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 3.5), layout="constrained", width_ratios=[1, 1, 0.85]
        )
        _panel(left, dataset, step, quadrature, linear, along="depth")
        _panel(middle, dataset, step, quadrature, linear, along="hidden_width")
        left.set(xlabel="depth $L$", ylabel=f"output error after {step} steps (RMS)")
        middle.set(xlabel="hidden width $M$")
        if step == 100:
            draw_ratios(right, published_points(dataset))
        figure.legend(
            [Line2D([], [], **DASHED), Line2D([], [], **DOTTED), _HOLLOW],
            [
                r"$\sqrt{a^2D/(LM)+b^2/L^2}$" + f", {_constants(quadrature)}",
                rf"published form, $a\sqrt{{D/(LM)}}+b/L$, {_constants(linear)}, {by_eye}",
                "published points (read off within 2 %)",
            ],
            loc="outside lower center", fontsize=7, ncols=1,
        )  # fmt: skip
    return figure


_HOLLOW = Line2D([], [], color="black", marker="o", markerfacecolor="none", linestyle="none")


def _constants(fit: limits.ShapeFit) -> str:
    (a, least_a, most_a), (b, least_b, most_b) = fit.a, fit.b
    return f"$a={a:.3f}$ [{least_a:.3f}, {most_a:.3f}], $b={b:.3f}$ [{least_b:.3f}, {most_b:.3f}]"


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
    # One block is an outlier of every form, and no fit has seen it.
    dense = np.geomspace(max(values.min(), SHALLOWEST if along == "depth" else 1), values.max(), 60)
    symbol = "M" if along == "depth" else "L"
    for value, colour, marker in zip(chosen, COLOURS, MARKERS, strict=False):
        rows = dataset["error"].sel({other: value, "step": step}).transpose(along, "path")
        middle, low, high = _interval(rows.to_numpy())
        ax.errorbar(
            values, middle, yerr=[middle - low, high - middle], color=colour, marker=marker,
            linestyle="none", capsize=2, markersize=3.2, label=f"${symbol}={value}$",
        )  # fmt: skip
        shape = (dense, value) if along == "depth" else (value, dense)
        width = dataset.attrs["width"]
        ax.plot(dense, quadrature.predict(*shape, width), **{**DASHED, "color": colour})
        ax.plot(dense, linear.predict(*shape, width), **{**DOTTED, "color": colour})
        if value in published and step == 100:
            ax.plot(
                GRID[1:], published[value], marker, color=colour, markersize=7,
                markerfacecolor="none", markeredgewidth=0.7, zorder=3,
            )  # fmt: skip
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
    factor = np.exp(student_quantile(n, 0.95) * spread)
    return middle, middle / factor, middle * factor


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge how the two errors add, on the published data and on others, and the points."""
    verdicts = [_of_addition(dataset, step) for step in dataset["step"].to_numpy().tolist()]
    verdicts.append(_of_fresh_data(dataset))
    if 100 in dataset["step"]:
        points = published_points(dataset)
        verdicts.append(of_points(points, known=dataset.attrs.get("data") == "published"))
    return tuple(verdicts)


def _of_fresh_data(dataset: xr.Dataset) -> limits.Verdict:
    """Judge the addition over draws of X and Y: their spread is the error of the mean."""
    draws, step = dataset["draw"].to_numpy().tolist(), _first(dataset)
    parts = [on_fresh_data(dataset, draw) for draw in draws]
    found = np.array([cross_term(part, step, SHALLOWEST)[0] for part in parts])
    constants = np.array([(fit.a[0], fit.b[0]) for fit in (fits(part, step) for part in parts)])
    half = student_quantile(len(found), 0.95) * found.std(ddof=1) / len(found) ** 0.5
    low, high = found.mean() - half, found.mean() + half
    (a, b), (least_a, least_b) = constants.max(axis=0), constants.min(axis=0)
    return limits.Verdict(
        f"k = {step}, {len(draws)} fresh draws of X and Y: errors add in quadrature",
        "95 % interval of the mean rho over draws contains 0 and not 1",
        f"rho = {found.mean():.2f} [{low:.2f}, {high:.2f}]; a = {least_a:.3f} to {a:.3f}, "
        f"b = {least_b:.3f} to {b:.3f}",
        bool(low <= 0 <= high < 1),
        decided=bool(high < 1 or low > 0),
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
