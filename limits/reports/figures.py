"""Figures as files: identical numbers give identical bytes."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from limits.plots import style
from limits.sweeps import write_bytes

__all__ = ["draw_figure", "png_bytes", "save_figure"]

_DPI = 200


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as PNG at 200 dots per inch.

    Matplotlib would note its own version in the file; it is left out, so that the bytes depend
    on nothing but what is drawn.

    Examples
    --------
    >>> figure = Figure()
    >>> _ = figure.add_subplot().plot([8, 16, 32], [0.4, 0.2, 0.1])
    >>> png_bytes(figure) == png_bytes(figure)
    True
    """
    buffer = io.BytesIO()
    # Ticks are made while a figure is written, by the settings of that moment.
    with style():
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def draw_figure(draw: Callable[[], Figure], path: str | Path) -> None:
    """Draw a figure for a file: in our look whatever the user has set, and with no window.

    Parameters
    ----------
    draw : callable
        Returns the figure.
    path : str or Path
        Where the PNG is written.
    """
    before = plt.get_backend()
    plt.switch_backend("agg")
    try:
        with style():
            figure = draw()
            save_figure(figure, path)
            plt.close(figure)
    finally:
        plt.switch_backend(before)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    write_bytes(path, png_bytes(figure))
