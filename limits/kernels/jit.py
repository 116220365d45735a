"""How loops are compiled: without Python's lock, and kept on disk where there is a place."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

__all__ = ["inlined", "loop"]


def loop(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it lets other threads run.

    Never fast mathematics: a compiler that may fuse or reorder makes other bits.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the installation nor the home of the user can be written
        _say_once()
        return njit(nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into every loop that calls it."""
    return njit(inline="always")(function)


@cache
def _say_once() -> None:
    warnings.warn(
        "compiled loops cannot be kept: neither the installation nor the user's cache can be "
        "written. Every process compiles them again, for some seconds. Set NUMBA_CACHE_DIR to a "
        "folder that can be written.",
        RuntimeWarning,
        stacklevel=3,
    )
