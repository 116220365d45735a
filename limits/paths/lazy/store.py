"""What is known of the matrices of a lazy draw: arrays over all paths and layers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from limits.exceptions import CouplingError
from limits.paths.lazy.matrix import Answered, Rows
from limits.paths.lazy.turns import Turns

__all__ = ["Ledger", "Store"]


class Ledger:
    """Counts the bytes that a lazy draw remembers.

    Parameters
    ----------
    most : int or None
        Bytes that may be remembered; None for a draw that remembers nothing.
    description : str
        Sizes of the draw, for the message.
    """

    def __init__(self, most: int | None, description: str) -> None:
        self.most = most
        self.description = description
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, more: int) -> None:
        """Raise `CouplingError` if what is remembered outgrows the memory."""
        with self._lock:
            self._bytes += more
            total = self._bytes
        if self.most is not None and total > self.most:
            raise CouplingError(
                f"this lazy draw ({self.description}) would remember more than "
                f"{self.most / 2**30:g} GiB of questions and answers. Ask fewer questions of one "
                "draw, or draw fewer paths or a smaller depth."
            )


class Store:
    """The directions that the matrices of one role were asked about, and their answers.

    Numbers of rows differ from path to path and from layer to layer; beyond them rows are zero.
    A store must not know the draw it belongs to: a cycle of references would keep its memory, most
    of what a lazy draw takes, until Python collects garbage.

    Parameters
    ----------
    ledger : Ledger
        Counts what is remembered.
    depth, n_paths, width, dtype, device
        Of the draw.

    Attributes
    ----------
    right, left : Tensor
        ``(row, path, layer, 2, width)``: directions and answers.
    counts : Tensor
        ``(path, layer, 3)``, in int32: questions, right rows, left rows.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        depth: int,
        n_paths: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._ledger = ledger
        self._turns = Turns()
        self._row_bytes = 2 * width * dtype.itemsize
        shape = n_paths, depth, 2, width
        self.right = _zeros((0, *shape), dtype, device)
        self.left = _zeros((0, *shape), dtype, device)
        self.counts = _zeros((n_paths, depth, 3), torch.int32, device)

    @contextmanager
    def asking(
        self, first: int, count: int, layer: int | None = None, *, right: int = 0, left: int = 0
    ) -> Iterator[None]:
        """Keep others from some paths, with room for so many more rows of a layer, or of all.

        What was added is counted at the end.

        Raises
        ------
        CouplingError
            If more is remembered than may be.
        """
        places = self.counts[first : first + count, slice(None) if layer is None else layer]
        while True:
            with self._turns.of(first, first + count):
                if len(self.right) >= _rows(places, 1, right) and (
                    len(self.left) >= _rows(places, 2, left)
                ):
                    before = places[..., 1:].sum()
                    yield
                    more = int(places[..., 1:].sum() - before)
                    self._ledger.add(more * self._row_bytes)
                    return
            with self._turns.of(0, len(self.counts)):
                self.right = _grown(self.right, _rows(places, 1, right))
                self.left = _grown(self.left, _rows(places, 2, left))

    def read(self, layer: int, first: int, count: int) -> tuple[Answered, list[int]]:
        """Return what some paths answered, and how many questions each was asked."""
        chosen = slice(first, first + count)
        asked, *sides = self.counts[chosen, layer].unbind(dim=-1)
        rows = [
            Rows(memory[: int(most.max()), chosen, layer].unsqueeze(3))
            for memory, most in zip((self.right, self.left), sides, strict=True)
        ]
        return Answered(*rows), asked.tolist()

    def write(self, layer: int, first: int, count: int, answered: Answered) -> None:
        """Keep the rows that were added to what `read` returned."""
        for memory, rows, side in ((self.right, answered.right, 1), (self.left, answered.left, 2)):
            for direction, answer in rows.added():
                # Where nothing was new the direction is zero, and there is nothing to keep.
                paths = (direction[:, 0] != 0).any(dim=-1).nonzero()[:, 0]
                chosen = first + paths
                row = self.counts[chosen, layer, side].long()
                memory[row, chosen, layer, 0] = direction[paths, 0]
                memory[row, chosen, layer, 1] = answer[paths, 0]
                self.counts[chosen, layer, side] += 1
        self.counts[first : first + count, layer, 0] += answered.count


def _rows(places: Tensor, side: int, more: int) -> int:
    return int(places[..., side].max()) + more if more else 0


def _grown(memory: Tensor, rows: int) -> Tensor:
    """Return memory for so many rows and as many more, so that it seldom needs to grow."""
    if rows <= len(memory):
        return memory
    grown = _zeros((2 * rows, *memory.shape[1:]), memory.dtype, memory.device)
    with torch.no_grad():
        grown[: len(memory)] = memory
    return grown


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return memory that takes none, on a CPU, before it is written to."""
    with torch.inference_mode(mode=False):
        if device.type != "cpu":
            return torch.zeros(shape, dtype=dtype, device=device)
        kind = {torch.float32: np.float32, torch.float64: np.float64, torch.int32: np.int32}
        return torch.from_numpy(np.zeros(shape, kind[dtype]))
