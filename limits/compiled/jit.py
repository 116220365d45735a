"""How loops are compiled: without Python's lock, and kept on disk where there is a place."""

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["loop"]


def loop(function: Callable[..., None]) -> Any:
    """Compile a function when it is first called."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the installation nor the home of the user can be written
        return njit(nogil=True)(function)
