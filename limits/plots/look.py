"""One look for every figure: readable at column width and in grey, no LaTeX needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style as mpl_style
import numpy as np

__all__ = ["COLUMN", "PAGE", "positive", "style"]

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
# Beyond these a margin around the numbers is no number.
_SMALLEST, _LARGEST = 1e-290, 1e290


@contextmanager
def style() -> Iterator[None]:
    """Apply the look to figures made, and written, inside.

    The look is all there is: settings of the user, from a ``matplotlibrc`` or from the program
    around, are put aside, so that equal numbers give equal figures everywhere. They are back at
    the end.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> with plt.rc_context({"axes.facecolor": "black"}), style():
    ...     figure, axes = plt.subplots()
    >>> axes.get_facecolor()
    (1.0, 1.0, 1.0, 1.0)
    >>> plt.close(figure)
    """
    with mpl_style.context(["default", _SETTINGS], after_reset=True):
        yield


def positive(values: Any) -> np.ndarray:
    """Return values for a logarithmic axis: NaN, a gap, for what such an axis cannot show.

    Infinity would stretch the axis without end, and so would numbers too close to zero for
    matplotlib to multiply; both are left out like zero.

    Examples
    --------
    >>> positive([2, 0, -1, float("inf"), 1e-320]).tolist()
    [2.0, nan, nan, nan, nan]
    """
    numbers = np.real(np.asarray(values)).astype(float)
    return np.where((numbers > _SMALLEST) & (numbers < _LARGEST), numbers, np.nan)
