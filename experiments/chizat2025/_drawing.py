"""Logarithmic axes with plain numbers on them."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator


def plain_axes(ax: Axes, positions: Iterable[float] | None = None, *, powers: bool = False) -> None:
    """Label both axes plainly: x at the positions, y at 1, 2, 5, 10 and so on.

    With `powers` the positions are written as powers of two.
    """
    ax.set(xscale="log", yscale="log")
    if positions is not None:
        ax.xaxis.set_major_locator(FixedLocator(list(positions)))
        ax.xaxis.set_major_formatter(
            FuncFormatter(lambda x, _: f"$2^{{{round(np.log2(x))}}}$" if powers else f"{x:g}")
        )
    ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    digits = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=digits, numticks=20))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
