"""The pictures of a depth check: panels that a stranger can read, alone or on one page."""

import json
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from limits.plots.look import COLUMN, PAGE, positive, style
from limits.plots.palette import COLOURS, DASHED, MARKERS
from limits.user_models import DepthCheck, Recommendation, StreamCheck
from limits.user_models.check.vocabulary import verdict_colour, verdict_words

__all__ = ["depth_page", "depth_panels"]

_HEIGHT = 6.6
_PANEL_HEIGHT = 3.1
_DASHED: Any = DASHED | {"color": "0.25"}
_Panel = Callable[[Axes], None]


def depth_page(check: DepthCheck | xarray.Dataset) -> Figure:
    """Draw a depth check on one page.

    Norms and gradients along the stream, growth with depth of what the branches add up to, and
    how they add up; the verdict above, what to do beside it. Bands are the range over seeds. Of
    several streams the one with the worst verdict is drawn.

    Parameters
    ----------
    check : DepthCheck or Dataset
        What `limits.depth_check` returned, or its numbers.

    Returns
    -------
    Figure
    """
    found = check if isinstance(check, DepthCheck) else DepthCheck(check)
    stream = found.leading
    with style():
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, _HEIGHT), layout="constrained")
        panels = _panels(stream, found.recommendation)
        for ax, draw in zip(axes.flat, panels.values(), strict=False):
            draw(ax)
        _advice(axes.flat[-1], found)
        of = f"{stream.name}: " if len(found.streams) > 1 else ""
        title = textwrap.fill(f"{of}{verdict_words(stream.verdict, bounded=stream.bounded)}", 72)
        colour = verdict_colour(stream.verdict, bounded=stream.bounded)
        figure.suptitle(title, fontsize=11, color=colour, fontweight="bold")
    return figure


def depth_panels(stream: StreamCheck, advice: Recommendation | None) -> dict[str, Figure]:
    """Draw every picture of one stream as a figure of its own, by its title.

    Parameters
    ----------
    stream : StreamCheck
        One of those of a `DepthCheck`.
    advice : Recommendation or None
        What is recommended for it, whose prediction is drawn.
    """
    figures = {}
    with style():
        for title, draw in _panels(stream, advice).items():
            size = COLUMN, _PANEL_HEIGHT
            figures[title], ax = plt.subplots(figsize=size, layout="constrained")
            draw(ax)
    return figures


def _panels(stream: StreamCheck, advice: Recommendation | None) -> dict[str, _Panel]:
    norm, gradient = "state norm $|h_k|\\,/\\,|h_0|$", "gradient norm $|p_k|\\,/\\,|p_L|$"
    profiles = {
        "forward: hidden states": ("stream", norm),
        "backward: gradients": ("gradient", gradient),
    }
    found: dict[str, _Panel] = {
        title: lambda ax, title=title, of=of: _profile(ax, stream, *of, title)
        for title, of in profiles.items()
    }
    found["each branch's contribution"] = lambda ax: _contribution(ax, stream)
    found["growth with depth"] = lambda ax: _growth(ax, stream, advice)
    found["how updates add up"] = lambda ax: _coherence(ax, stream)
    return found


def _profile(ax: Axes, check: StreamCheck, name: str, label: str, title: str) -> None:
    """Draw a quantity along the stream, a line a depth with its range over seeds."""
    values = check.dataset[name].isel(phase=0)
    shades = np.linspace(0.75, 0, len(check.depths))
    for i, (depth, count) in enumerate(zip(check.depths, check.multiplying, strict=True)):
        # States are on both sides of every branch.
        rows = positive(values.sel(depth=depth).to_numpy()[:, : count + 1])
        colour = plt.get_cmap("viridis")(shades[i])
        _banded(ax, np.arange(count + 1) / count, rows, colour, label=f"{depth}")
    _logarithmic(ax)
    ax.set(xlabel="layer time $k/L$", ylabel=label, title=title)
    _legend_below(ax, n_columns=min(len(check.depths), 4), title="depth")


def _contribution(ax: Axes, check: StreamCheck) -> None:
    """Draw the size of the branches of the deepest network, a line a kind of branch."""
    data = check.dataset.isel(phase=0, depth=-1)
    count, names = check.multiplying[-1], json.loads(check.dataset.attrs["groups"])
    groups = data["group"].to_numpy()[:count]
    rows = positive(data["contribution"].to_numpy()[:, :count])
    for number, group in enumerate(dict.fromkeys(groups.tolist())):
        layers = np.flatnonzero(groups == group)
        label = names[group] or "no module"
        colour = COLOURS[number % len(COLOURS)]
        _banded(ax, layers / count, rows[:, layers], colour, label=label)
    _logarithmic(ax)
    ax.set(xlabel="layer time $k/L$", ylabel="branch size $|f_k|\\,/\\,|h_k|$")
    ax.set_title(f"each branch's contribution, depth {check.depths[-1]}")
    _legend_below(ax)


def _banded(ax: Axes, time: np.ndarray, rows: np.ndarray, colour: Any, *, label: str) -> None:
    """Draw a geometric mean over seeds with the range of all."""
    if np.isnan(rows).all():
        return
    middle = np.exp(_ignoring_nan(np.nanmean, np.log(rows)))
    low, high = _ignoring_nan(np.nanmin, rows), _ignoring_nan(np.nanmax, rows)
    ax.fill_between(time, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(time, middle, color=colour, label=label)


def _ignoring_nan(summary: Any, rows: np.ndarray) -> np.ndarray:
    """Summarise columns over seeds; columns without numbers stay empty."""
    empty = np.isnan(rows).all(axis=0)
    result = np.full(rows.shape[1], np.nan)
    result[~empty] = summary(rows[:, ~empty], axis=0)
    return result


def _growth(ax: Axes, check: StreamCheck, advice: Recommendation | None) -> None:
    """Draw the change of states and gradients against L in every phase, and after the fix."""
    counts = np.asarray(check.multiplying, float)
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
        law = f"L^{{{judged.growth.value:+.2f}}}"
        if judged.per_branch is not None:
            law = f"e^{{{judged.per_branch:.2g} L}}"
        error = np.clip([middle - low, high - middle], 0, None)
        ax.errorbar(
            counts, middle, error, color=colour, marker=marker, capsize=2,
            label=f"{word}{when}: ${law}$",
        )  # fmt: skip
    if advice is not None and advice.tau is not None:
        predicted = check.predicted_change(advice.power)
        label = f"predicted with {advice.tau}"
        ax.plot(counts, predicted, color="0.35", linestyle=(0, (6, 1.5, 1, 1.5)), label=label)
    ax.axhline(1, **_DASHED)
    _logarithmic(ax)
    _counted(ax, check)
    ax.set(ylabel="relative change, all branches", title="growth with depth")
    _legend_below(ax)


def _coherence(ax: Axes, check: StreamCheck) -> None:
    """Draw how unit updates add up, between the diffusive and the coherent line."""
    counts = np.asarray(check.multiplying, float)
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
    ax.set(ylabel="|sum of unit updates|")
    ax.set_title(f"how updates add up: {check.kind or 'unclear'}")
    _legend_below(ax)


def _advice(ax: Axes, check: DepthCheck) -> None:
    """Write verdicts and recommendation, for every phase that was measured."""
    ax.axis("off")
    stream = check.leading
    lines = [f"{d}, {p}: {judged.word}" for (d, p), judged in stream.judgements.items()]
    for phase in stream.phases:
        advice = check.advice(phase=phase)
        when = f", {phase}" if len(stream.phases) > 1 else ""
        lines += ["", f"what to do{when}:"]
        if advice is None:
            lines += textwrap.wrap(stream.judged("forward", phase).reason, 42)
            continue
        lines += textwrap.wrap(textwrap.shorten(advice.call, 160), 42, break_long_words=False)
        lines += [f"Adam {advice.adam}", f"SGD {advice.sgd}"]
    ax.text(0, 1, "\n".join(lines), va="top", fontsize=8, linespacing=1.35, wrap=True)


def _legend_below(ax: Axes, *, n_columns: int = 1, title: str | None = None) -> None:
    """Put the legend under the axis, where it hides no curve."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            title=title, ncols=n_columns, loc="upper center", bbox_to_anchor=(0.5, -0.24),
            handlelength=1.6, columnspacing=1.0, borderaxespad=0,
        )  # fmt: skip


def _counted(ax: Axes, check: StreamCheck) -> None:
    """Use a logarithmic axis of L whose ticks are the numbers of branches."""
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(check.multiplying, [f"{count}" for count in check.multiplying])
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
