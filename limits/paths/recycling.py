"""Memory that is used again: fresh pages cost as much as the numbers that fill them."""

import math
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["RecycledMemory", "large_pages"]

_KEPT = 3
_ALIGNMENT = 64
"""Bytes; that of torch's own memory, on which the bits of a matrix product may depend."""


class RecycledMemory:
    """Pieces of memory of one size, lent again when nobody refers to their numbers any more.

    A view of a piece, a list of them or a graph of autograd keeps it: the next piece is then
    another one.

    Parameters
    ----------
    size : int
        Numbers in a piece, float32.

    Examples
    --------
    >>> memory = RecycledMemory(8)
    >>> first = memory.piece()
    >>> second, address = memory.piece(), first.data_ptr()
    >>> second.data_ptr() == address
    False
    >>> del first
    >>> memory.piece().data_ptr() == address
    True
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lent: list[tuple[np.ndarray, weakref.ref[np.ndarray]]] = []
        self._lock = threading.Lock()

    def piece(self) -> Tensor:
        """Return uninitialised numbers of shape ``(size,)`` that nobody else refers to."""
        with self._lock:
            for place, (memory, borrower) in enumerate(self._lent):
                if borrower() is None:
                    return self._lend(memory, place)
            return self._lend(_aligned(4 * self._size).view(np.float32), len(self._lent))

    def _lend(self, memory: np.ndarray, place: int) -> Tensor:
        view = memory[:]
        if place < _KEPT:
            self._lent[place : place + 1] = [(memory, weakref.ref(view))]
        return torch.from_numpy(view)


def large_pages(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return uninitialised memory which, if there is much of it, costs little to touch first.

    numpy asks Linux for pages of 2 MiB where torch takes those of 4 KiB.

    Raises
    ------
    RuntimeError, MemoryError, ValueError
        If there is not enough.
    """
    if device.type != "cpu":
        return torch.empty(*shape, dtype=dtype, device=device)
    flat = torch.from_numpy(_aligned(math.prod(shape) * dtype.itemsize))
    return flat.view(dtype).view(*shape)


def _aligned(size: int) -> np.ndarray:
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]
