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

    Numbers of rows differ from path to path and from layer to layer; what stands beyond them means
    nothing.
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
        ``(layer, path, 3)``, in int32: questions, right rows, left rows.
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
        with torch.inference_mode(mode=False):
            self.right = torch.empty((0, *shape), dtype=dtype, device=device)
            self.left = torch.empty((0, *shape), dtype=dtype, device=device)
            self.counts = torch.zeros(depth, n_paths, 3, dtype=torch.int32, device=device)

    @contextmanager
    def asking(self, first: int, count: int, *, right: int = 0, left: int = 0) -> Iterator[None]:
        """Keep others from some paths, with room for so many more rows of every layer."""
        with self._reserved(first, count, slice(None), right, left):
            before = self._rows(first, count)
            try:
                yield
            finally:
                self._charge(self._rows(first, count) - before)

    @contextmanager
    def page(
        self, layer: int, first: int, count: int, *, right: int = 0, left: int = 0
    ) -> Iterator[tuple[Answered, np.ndarray]]:
        """Keep others from some paths; give what they answered, and how many questions each.

        What is added to it is kept.
        """
        with self._reserved(first, count, layer, right, left) as counts:
            asked = counts[:, 0].copy()
            known = Answered(
                _known(self.right, counts[:, 1], layer, first),
                _known(self.left, counts[:, 2], layer, first),
            )
            yield known, asked
            self.counts[layer, first : first + count, 0] += known.count
            self._charge(
                sum(self._add(self.right, 1, layer, first, *row) for row in known.right.added())
                + sum(self._add(self.left, 2, layer, first, *row) for row in known.left.added())
            )

    @contextmanager
    def _reserved(
        self, first: int, count: int, layer: int | slice, right: int, left: int
    ) -> Iterator[np.ndarray]:
        """Keep others from some paths, have room for more rows, and give the paths' counts."""
        while True:
            with self._turns.of(first, first + count):
                counts = self.counts[layer, first : first + count].cpu().numpy()
                rights = int(counts[..., 1].max()) + right if right else 0
                lefts = int(counts[..., 2].max()) + left if left else 0
                if rights <= self.right.shape[0] and lefts <= self.left.shape[0]:
                    yield counts
                    return
            with self._turns.of(0, self.counts.shape[1]):
                self.right, self.left = _grown(self.right, rights), _grown(self.left, lefts)

    def _add(
        self, memory: Tensor, side: int, layer: int, first: int, direction: Tensor, answer: Tensor
    ) -> int:
        """Add a row to the paths on which its direction is not zero, and return how many are."""
        count = direction.shape[0]
        kept = direction[:, 0].cpu().numpy().any(axis=1)
        rows = self.counts[layer, first : first + count, side]
        known = rows.cpu().numpy()
        if kept.all() and (known == known[0]).all():
            place = memory[int(known[0]), first : first + count, layer]
            place[:, :1], place[:, 1:] = direction, answer
            rows += 1
            return count
        paths = torch.from_numpy(np.flatnonzero(kept)).to(memory.device)
        row, chosen = rows[paths].long(), first + paths
        memory[row, chosen, layer, 0] = direction[paths, 0]
        memory[row, chosen, layer, 1] = answer[paths, 0]
        rows[paths] += 1
        return len(paths)

    def _rows(self, first: int, count: int) -> int:
        # Layer by layer: sums over the last axis, of three numbers, take a hundred times as long.
        counts = self.counts[:, first : first + count].cpu().numpy().sum(axis=0)
        return int(counts[:, 1:].sum())

    def _charge(self, rows: int) -> None:
        self._ledger.add(rows * self._row_bytes)


def _known(memory: Tensor, counts: np.ndarray, layer: int, first: int) -> Rows:
    """Return the rows of some paths, zero where a path has fewer than others."""
    rows = int(counts.max())
    if rows == 0:
        return Rows()
    known = memory[:rows, first : first + len(counts), layer]
    if counts.min() < rows:
        has = torch.from_numpy(np.arange(rows)[:, None] < counts).to(memory.device)
        known = torch.where(has[..., None, None], known, 0)
    return Rows(known.unsqueeze(3))


def _grown(memory: Tensor, rows: int) -> Tensor:
    """Return memory for so many rows and as many more, so that it seldom needs to grow.

    It is not cleared: what is not written to takes no memory.
    """
    if rows <= len(memory):
        return memory
    with torch.inference_mode(mode=False), torch.no_grad():
        grown = memory.new_empty((2 * rows, *memory.shape[1:]))
        grown[: len(memory)] = memory
    return grown
