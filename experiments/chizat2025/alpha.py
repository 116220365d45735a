"""Fluctuation of trained networks and their learning against alpha, lazy where it is large.

Convention of the published figure: alpha is the spread of v in units of sqrt(D), eta_u falls as
1/alpha^2 beyond alpha = 1. The published formula was laid over one draw of data at every D; here
numbered draws of X and Y, all of them, say how far it holds for any: the claim is about their mean.
The RMS change of U does not depend on small alpha and falls as 1/alpha where alpha is large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._judging import of_estimate, student_quantile
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, MARKERS

# To which the published formula was said to hold, up to alpha = 10 and sqrt(LM/D).
SHARE, LARGEST = 0.3, 10.0
# Where the change of U is independent of alpha, and where it falls; the exponents' intervals tell
# zero from a half and one from a half and from two.
FLAT, FALLING = (0.0, 0.11), (2.0, 10.0)
WIDEST = 0.5
CHANGED = (
    "The first run was fitted without alpha^2, and its slopes, -0.003 to -0.005, excluded 0; "
    "training is even in alpha, so that the term is there."
)


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    widths : tuple of int
        Embedding dimensions D.
    draws : tuple of int
        Draws of X and Y, at every D; none is left out.
    depth, hidden_width : int
        L and M.
    alphas : tuple of float
        Spread of v in units of sqrt(D).
    n_inputs : int
        Inputs N, for every D.
    steps, long_steps : int
        Steps after which fluctuations and the change of U are measured.
    n_paths, long_paths : int
        Repetitions of a draw, and how many of them go on to the last step: what millions of
        entries of U have in common hardly differs between them.
    """

    widths: tuple[int, ...] = (10, 31, 100)
    draws: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    depth: int = 1000
    hidden_width: int = 10
    alphas: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 2.1, 3.0, 4.5, 7.0, 10.0, 31.0, 100.0)
    n_inputs: int = 10
    steps: int = 10
    long_steps: int = 50
    n_paths: int = 3
    long_paths: int = 1


SCALES = {
    "smoke": Config(
        widths=(10, 31), draws=(1, 2, 3), depth=60, alphas=(0.03, 0.1, 2.1, 3.0, 4.0), steps=4,
        long_steps=8,
    ),
    "laptop": Config(),
    "paper": Config(
        draws=tuple(range(1, 17)), n_paths=10, long_paths=2,
        alphas=(
            0.01, 0.016, 0.026, 0.043, 0.07, 0.11, 0.18, 0.3, 0.48, 0.7, 1.0, 1.5, 2.1, 3.0, 4.8,
            7.0, 10.0, 22.0, 46.0, 100.0,
        ),
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    """One task for every D and alpha."""
    return {"width": config.widths, "alpha": config.alphas}


def cost(config: Config, *, width: int, alpha: float) -> float:
    return 20 + width


def task(
    config: Config, *, seed: int, width: int, alpha: float, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one D and alpha on every draw."""
    net = limits.MeanFieldResNet(
        width, config.hidden_width, depth=config.depth, alpha=alpha, convention="initialisation"
    )
    n_draws, n_paths = len(config.draws), config.n_paths
    pairs = [_problem.data(width, config.n_inputs, draw=draw) for draw in config.draws]
    # All draws side by side, with networks of their own.
    x, y = (
        torch.stack(each).repeat_interleave(n_paths, dim=0) for each in zip(*pairs, strict=True)
    )
    weights = net.sample(n_paths=n_draws * n_paths, seed=seed)
    start = weights.u.clone()
    out = net.descend(x, y, weights, steps=config.steps, in_place=True, nonfinite="keep")
    variance = out.outputs[0].unflatten(0, (n_draws, n_paths)).var(dim=1).mean(dim=(1, 2))
    some = [draw * n_paths + path for draw in range(n_draws) for path in range(config.long_paths)]
    if progress is not None:
        progress(1, 2, "descents")
    far = net.descend(
        x[some], y[some], replace(weights, u=weights.u[:, some], v=weights.v[:, some]),
        steps=config.long_steps - config.steps, in_place=True, nonfinite="keep",
    ).weights  # fmt: skip
    moved = (far.u - start[:, some]).square().mean(dim=(0, 2, 3)).unflatten(0, (n_draws, -1))
    return xr.Dataset(
        {
            "variance": ("draw", variance.numpy()),
            "change": ("draw", moved.mean(dim=1).sqrt().numpy()),
        },
        coords={"draw": list(config.draws)},
        attrs={
            "depth": config.depth, "hidden_width": config.hidden_width, "steps": config.steps,
            "long_steps": config.long_steps, "n_inputs": config.n_inputs,
        },
    )  # fmt: skip


def published(alpha: np.ndarray, width: int, shape: int) -> np.ndarray:
    """Return the published formula of the standard deviation; `shape` is L M."""
    return ((0.05 + 0.3 * alpha) * width**0.5 + 0.4) / shape**0.5


def _shape(dataset: xr.Dataset) -> int:
    return dataset.attrs["depth"] * dataset.attrs["hidden_width"]


def holds_until(dataset: xr.Dataset, width: int) -> float:
    """Return the alpha up to which the formula is meant, 10 or sqrt(LM/D)."""
    return min(LARGEST, (_shape(dataset) / width) ** 0.5)


def ratios(dataset: xr.Dataset, width: int) -> np.ndarray:
    """Return logs of standard deviation over formula, ``(draw, alpha)``; inf where it diverged."""
    variance = dataset["variance"].sel(width=width).transpose("draw", "alpha").to_numpy()
    formula = published(dataset["alpha"].to_numpy(), width, _shape(dataset))
    logs = np.log(np.where(np.isfinite(variance), variance, np.inf)) / 2
    return logs - np.log(formula)


def mean_ratio(logs: np.ndarray, comparisons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the geometric mean over draws and its 95 % interval, all comparisons at once."""
    n = len(logs)
    middle = logs.mean(axis=0)
    half = student_quantile(n, 0.95, comparisons) * logs.std(axis=0, ddof=1) / n**0.5
    return np.exp(middle), np.exp(middle - half), np.exp(middle + half)


def exponent_of_change(
    dataset: xr.Dataset, width: int, span: tuple[float, float]
) -> tuple[float, float]:
    """Return the exponent of 1/alpha in the change of U over a span, and its error over draws.

    With a term of next order, 1/alpha^2 or alpha^2: training is even in alpha.
    """
    alphas = dataset["alpha"].to_numpy()
    until = min(span[1], (_shape(dataset) / width) ** 0.5)
    there = (alphas >= span[0]) & (alphas <= until)
    change = dataset["change"].sel(width=width).transpose("draw", "alpha").to_numpy()[:, there]
    columns = [np.ones(there.sum()), -np.log(alphas[there])]
    columns.append(alphas[there] ** (-2.0 if span[0] > 1 else 2.0))
    if there.sum() < len(columns):
        return np.nan, np.nan
    found = np.linalg.lstsq(np.stack(columns, axis=1), np.log(change).T, rcond=None)[0][1]
    return float(found.mean()), float(found.std(ddof=1) / len(found) ** 0.5)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw fluctuation, its ratio to the formula, and the change of U against alpha."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 3.1), layout="constrained")
        for width, colour, marker in zip(
            dataset["width"].to_numpy().tolist(), COLOURS, MARKERS, strict=False
        ):
            look = {"color": colour, "marker": marker}
            _fluctuation(left, middle, dataset, width, look)
            _change(right, dataset, width, look)
        _finish(left, middle, right, dataset)
    return figure


def _fluctuation(
    left: Axes, middle: Axes, dataset: xr.Dataset, width: int, look: dict[str, str]
) -> None:
    alphas, logs = dataset["alpha"].to_numpy(), ratios(dataset, width)
    formula, valid = (
        published(alphas, width, _shape(dataset)),
        alphas <= holds_until(dataset, width),
    )
    usual, low, high = mean_ratio(logs[:, valid], 1)
    left.plot(alphas[valid], usual * formula[valid], linestyle="none", label=f"$D={width}$", **look)
    left.plot(alphas, formula, **{**DASHED, "color": look["color"]})
    middle.errorbar(
        alphas[valid], usual, yerr=[usual - low, high - usual], linestyle="none", capsize=2, **look
    )
    # Draws of which one diverged have no mean.
    beyond = np.exp(np.where(np.isfinite(logs).all(axis=0), logs.mean(axis=0), np.nan))
    for ax, values in ((left, beyond * formula), (middle, beyond)):
        ax.plot(alphas[~valid], values[~valid], "x", color=look["color"], markersize=5)


def _change(ax: Axes, dataset: xr.Dataset, width: int, look: dict[str, str]) -> None:
    alphas = dataset["alpha"].to_numpy()
    logs = np.log(dataset["change"].sel(width=width).transpose("draw", "alpha").to_numpy())
    calm = alphas <= (_shape(dataset) / width) ** 0.5
    usual, low, high = mean_ratio(logs[:, calm], 1)
    ax.errorbar(
        alphas[calm], usual, yerr=[usual - low, high - usual], linestyle="none", capsize=2, **look
    )
    beyond = np.exp(np.where(np.isfinite(logs).all(axis=0), logs.mean(axis=0), np.nan))
    ax.plot(alphas[~calm], beyond[~calm], "x", color=look["color"], markersize=5)


def _finish(left: Axes, middle: Axes, right: Axes, dataset: xr.Dataset) -> None:
    settings = dataset.attrs
    left.plot([], [], label="published formula", **DASHED)
    left.plot([], [], "x", color="black", label=r"beyond $\min(10,\sqrt{LM/D})$")
    for ax in (left, middle, right):
        _problem.log_log(ax)
        ax.set_xlabel(r"scale $\alpha$")
    middle.axhline(1, **DASHED)
    middle.axhspan(1 / (1 + SHARE), 1 + SHARE, color="0.9", linewidth=0, zorder=0)
    middle.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    left.set_ylabel(f"standard deviation, $k={settings['steps']}$")
    middle.set_ylabel("over the formula (grey: 30 %)")
    right.set_ylabel(rf"RMS change of $U$, $k={settings['long_steps']}$")
    dense = np.geomspace(FALLING[0], dataset["alpha"].max(), 50)
    first = dataset["width"].to_numpy()[0]
    at = dataset["change"].sel(width=first).sel(alpha=FALLING[0], method="nearest")
    scale = float(at.mean()) * float(at["alpha"])
    right.plot(dense, scale / dense, label=r"slope $-1$", **DASHED)
    left.legend(loc="upper left", fontsize=6.5)
    right.legend(loc="lower left")
    left.set_title(f"$L={settings['depth']}$, $M={settings['hidden_width']}$")
    middle.set_title(f"mean of {dataset.sizes['draw']} data sets")
    right.set_title(f"$N={settings['n_inputs']}$")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the published formula over all draws where it is meant, and the change of U."""
    widths, verdicts = dataset["width"].to_numpy().tolist(), []
    verdicts += [_of_formula(dataset, width, len(widths)) for width in widths]
    n = dataset.sizes["draw"]
    for width in widths:
        for span, expected, words in ((FLAT, 0.0, "small"), (FALLING, 1.0, "large")):
            verdicts.append(
                of_estimate(
                    f"D = {width}: exponent of 1/alpha in the change of U, alpha {words}",
                    exponent_of_change(dataset, width, span), n, expected, widest=WIDEST,
                    sizes=f"alpha = {span[0]:g}-{span[1]:g}", changed="" if expected else CHANGED,
                )
            )  # fmt: skip
    return tuple(verdicts)


def _of_formula(dataset: xr.Dataset, width: int, comparisons: int) -> limits.Verdict:
    alphas, until = dataset["alpha"].to_numpy(), holds_until(dataset, width)
    valid = alphas <= until
    usual, low, high = mean_ratio(ratios(dataset, width)[:, valid], comparisons * int(valid.sum()))
    inside = (low >= 1 / (1 + SHARE)) & (high <= 1 + SHARE)
    outside = (high < 1 / (1 + SHARE)) | (low > 1 + SHARE)
    worst = int(np.abs(np.log(usual)).argmax())
    return limits.Verdict(
        f"D = {width}: standard deviation on the published formula, mean over draws of X and Y",
        f"95 % intervals of the mean within 30 % for all alpha <= {until:.3g}",
        f"{usual.min():.2f} to {usual.max():.2f}, farthest at alpha = {alphas[valid][worst]:g}: "
        f"{usual[worst]:.2f} [{low[worst]:.2f}, {high[worst]:.2f}]",
        bool(inside.all()),
        decided=bool(inside.all() or outside.any()),
    )
