"""One look for every figure: readable at column width and in grey, no LaTeX needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

__all__ = ["COLUMN", "PAGE", "style"]

COLUMN = 3.5
"""Width of a printed column in inches."""
PAGE = 7.2
"""Width of a printed page in inches."""

_SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 200,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the look to figures made inside.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> with style():
    ...     figure, axes = plt.subplots()
    >>> plt.close(figure)
    """
    with mpl.rc_context(_SETTINGS):
        yield
