"""The page of a depth check: six panels that a stranger can read."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from limits.plots.look import PAGE, positive, style
from limits.plots.palette import COLOURS, DASHED, MARKERS
from limits.user_models import DepthCheck
from limits.user_models.check.vocabulary import MEANINGS

__all__ = ["depth_page"]

_HEIGHT = 5.6
_DASHED: Any = DASHED | {"color": "0.25"}


def depth_page(check: DepthCheck | xarray.Dataset) -> Figure:
    """Draw a depth check on one page.

    Norms and gradients along the stream, growth with depth of what the branches add up to, and
    how they add up; the verdict above, what to do beside it. Bands are the range over seeds.

    Parameters
    ----------
    check : DepthCheck or Dataset
        What `limits.depth_check` returned, or its numbers.

    Returns
    -------
    Figure
    """
    found = check if isinstance(check, DepthCheck) else DepthCheck(check)
    with style():
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, _HEIGHT), layout="constrained")
        (stream, gradient, share), (growth, coherence, advice) = axes
        _profile(stream, found, "stream", "state norm $|h_k|\\,/\\,|h_0|$")
        stream.set_title("forward: hidden states")
        _profile(gradient, found, "gradient", "gradient norm $|p_k|\\,/\\,|p_L|$")
        gradient.set_title("backward: gradients")
        _profile(share, found, "contribution", "branch size $|f_k|\\,/\\,|h_k|$")
        share.set_title("each branch's contribution")
        stream.legend(title="depth", fontsize=7, title_fontsize=7)
        _growth(growth, found)
        _coherence(coherence, found)
        _advice(advice, found)
        verdict = found.verdict
        meaning = MEANINGS[verdict].observed if verdict else "the evidence is too thin"
        figure.suptitle(f"Depth check: {verdict or 'no verdict'} ({meaning})", fontsize=11)
    return figure


def _profile(ax: Axes, check: DepthCheck, name: str, label: str) -> None:
    """Draw a quantity along the stream, a line a depth with its range over seeds."""
    values = check.dataset[name].isel(phase=0)
    shades = np.linspace(0.75, 0, len(check.depths))
    for i, (depth, count) in enumerate(zip(check.depths, check.branches, strict=True)):
        # Branches are counted between states, states on both sides of every branch.
        n = count if name == "contribution" else count + 1
        rows = values.sel(depth=depth).to_numpy()[:, :n]
        rows = positive(rows)
        if np.isnan(rows).all():
            continue
        time = np.arange(n) / count
        middle = np.exp(_ignoring_nan(np.nanmean, np.log(rows)))
        colour = plt.get_cmap("viridis")(shades[i])
        low, high = _ignoring_nan(np.nanmin, rows), _ignoring_nan(np.nanmax, rows)
        ax.fill_between(time, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(time, middle, color=colour, label=f"{depth}")
    _logarithmic(ax)
    ax.set(xlabel="layer time $k/L$", ylabel=label)


def _ignoring_nan(summary: Any, rows: np.ndarray) -> np.ndarray:
    """Summarise columns over seeds; columns without numbers stay empty."""
    empty = np.isnan(rows).all(axis=0)
    result = np.full(rows.shape[1], np.nan)
    result[~empty] = summary(rows[:, ~empty], axis=0)
    return result


def _growth(ax: Axes, check: DepthCheck) -> None:
    """Draw the change of states and gradients against L, in every phase."""
    counts = np.asarray(check.branches, float)
    styles = zip(COLOURS, MARKERS, strict=True)
    names = {"forward": ("change", "states"), "backward": ("gradient_change", "gradients")}
    for (direction, phase), judged in check.judgements.items():
        name, word = names[direction]
        colour, marker = next(styles)
        values = positive(check.dataset[name].sel(phase=phase))
        if np.isnan(values).all():
            continue
        middle = np.exp(_ignoring_nan(np.nanmean, np.log(values.T)))
        low, high = (_ignoring_nan(f, values.T) for f in (np.nanmin, np.nanmax))
        when = " trained" if phase == "trained" else ""
        label = f"{word}{when}: $L^{{{judged.growth.value:+.2f}}}$"
        error = np.clip([middle - low, high - middle], 0, None)
        ax.errorbar(counts, middle, error, color=colour, marker=marker, capsize=2, label=label)
    ax.axhline(1, **_DASHED)
    _logarithmic(ax)
    _counted(ax, check)
    ax.set_ylabel("relative change, all branches")
    ax.set_title("growth with depth")
    ax.legend(fontsize=7)


def _coherence(ax: Axes, check: DepthCheck) -> None:
    """Draw how unit updates add up, between the diffusive and the coherent line."""
    counts = np.asarray(check.branches, float)
    values = positive(check.dataset["frozen_sum"].isel(phase=0)).T
    ax.plot(counts, counts**0.5, label="independent: $L^{1/2}$", **_DASHED)
    dotted: Any = _DASHED | {"linestyle": (0, (1, 1.5))}
    ax.plot(counts, counts, label="coherent: $L$", **dotted)
    middle = np.sqrt(_ignoring_nan(np.nanmean, values**2))
    low, high = (_ignoring_nan(f, values) for f in (np.nanmin, np.nanmax))
    error = np.clip([middle - low, high - middle], 0, None)
    found = check.coherence
    label = f"measured: $L^{{{found.value:.2f}}}$ [{found.low:.2f}, {found.high:.2f}]"
    ax.errorbar(
        counts, middle, error, color=COLOURS[0], marker="o", linestyle="none", capsize=2,
        label=label,
    )  # fmt: skip
    _logarithmic(ax)
    _counted(ax, check)
    ax.set_ylabel("|sum of unit updates|")
    ax.set_title(f"how updates add up: {check.kind or 'unclear'}")
    ax.legend(fontsize=6.5, handlelength=1.6, loc="upper left")


def _advice(ax: Axes, check: DepthCheck) -> None:
    """Write verdicts and recommendation."""
    ax.axis("off")
    lines = [f"{d}, {p}: {judged.word}" for (d, p), judged in check.judgements.items()]
    advice = check.recommendation
    if advice is None:
        lines += ["", *textwrap.wrap(check.reason, 38)]
    else:
        lines += ["", f"critical exponent {check.critical.value:.2f}"]
        lines += [f"branches now ~ $L^{{{-check.own_beta.value:+.2f}}}$", "", "what to do:"]
        lines += textwrap.wrap(advice.call, 38, break_long_words=False)
        lines += ["", "learning rate:", f"Adam {advice.adam}", f"SGD {advice.sgd}"]
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=7.8, linespacing=1.35)


def _counted(ax: Axes, check: DepthCheck) -> None:
    """Use a logarithmic axis of L whose ticks are the numbers of branches."""
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(check.branches, [f"{count}" for count in check.branches])
    ax.set_xlabel("residual branches $L$")


def _logarithmic(ax: Axes) -> None:
    """Use a logarithmic axis, and no less than a decade of it: small wiggles stay small."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high / low < 10:
        centre = (low * high) ** 0.5
        ax.set_ylim(centre / 10**0.5, centre * 10**0.5)
    if high / low < 1e4:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
