"""What is known of the lazy matrices of consecutive paths, and the normals they answer with."""

import threading
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from limits._typing import State
from limits.exceptions import CouplingError
from limits.paths.lazy.increment import SplitMatrix
from limits.paths.lazy.matrix import Answered, LazyMatrix
from limits.randomness import Stream

__all__ = ["LazyRange", "Ledger", "SlabNormals"]


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


@dataclass(frozen=True)
class SlabNormals:
    """The normals of one draw, a slab of consecutive layers at a time for every question.

    Parameters
    ----------
    stream : Stream
        Where the numbers come from.
    width, depth : int
        Size of the matrices and number of layers.
    scale : float
        Standard deviation of the entries.
    slab_layers : int
        Layers in a slab.
    dtype, device
        Of the normals.
    """

    stream: Stream
    width: int
    depth: int
    scale: float
    slab_layers: int
    dtype: torch.dtype
    device: torch.device

    def slab(self, first: int, count: int, slab: int, question: int) -> Tensor:
        """Return the normals of one question to a slab, ``(layer, path, 1, width)``."""
        layers = min(self.slab_layers, self.depth - slab * self.slab_layers)
        drawn = self.stream.normals(
            first,
            count,
            self.width,
            slab * self.slab_layers,
            n_layers=layers,
            # Whole blocks of four numbers: a part of one costs as much.
            first_entry=question * (-(-self.width // 4) * 4),
            device=self.device,
        )
        return drawn.unsqueeze(2).to(self.dtype).mul_(self.scale)


class LazyRange:
    """Matrices of consecutive paths that were asked the same number of questions.

    It must not know the draw it belongs to: a cycle of references would keep its memory, most of
    what a lazy draw takes, until Python collects garbage.

    Parameters
    ----------
    ledger : Ledger
        Counts what is remembered.
    normals : SlabNormals
        Where the normals come from.
    first, count : int
        The paths.
    """

    def __init__(self, ledger: Ledger, normals: SlabNormals, first: int, count: int) -> None:
        self.first = first
        self.count = count
        self._ledger = ledger
        self._normals = normals
        self._layers: dict[int, Answered] = {}
        self._slabs: dict[int, tuple[int, list[Tensor]]] = {}
        # One thread may cut a range that another one is reading, and must find what it answers.
        self._lock = threading.Lock()
        self._cut_into: list[LazyRange] = []

    def matrix(self, layer: int) -> LazyMatrix | SplitMatrix:
        """Return the matrices of a layer."""
        with self._lock:
            if not self._cut_into:
                known = self._layers.get(layer)
                if known is None:
                    known = Answered()
                    if self._ledger.most is not None:
                        self._layers[layer] = known
                return LazyMatrix(partial(self._numbers, layer), known)
        pieces = self._cut_into
        return SplitMatrix([each.matrix(layer) for each in pieces], [each.count for each in pieces])

    def close(self) -> None:
        """Let go of normals that were drawn ahead."""
        self._slabs.clear()
        for piece in self._cut_into:
            piece.close()

    def cut(self, start: int, stop: int) -> list["LazyRange"]:
        """Return this range in up to three pieces, cut where another range starts and stops."""
        end = self.first + self.count
        inside = {min(max(node, self.first), end) for node in (start, stop)}
        nodes = sorted({self.first, end} | inside)
        if len(nodes) == 2:
            return [self]
        with self._lock:
            bounds = [(a - self.first, b - self.first) for a, b in pairwise(nodes)]
            pieces = [
                LazyRange(self._ledger, self._normals, self.first + a, b - a) for a, b in bounds
            ]
            for layer, known in self._layers.items():
                for piece, part in zip(pieces, known.cut(bounds), strict=True):
                    piece._layers[layer] = part
            self._layers.clear()
            self._cut_into = pieces
        return pieces

    def _numbers(self, layer: int, number: int) -> State:
        slab, offset = divmod(layer, self._normals.slab_layers)
        held = self._slabs.get(number)
        if held is None or held[0] != slab:
            drawn = self._normals.slab(self.first, self.count, slab, number)
            # A row takes its normals and a direction of the same size.
            self._ledger.add(2 * drawn.numel() * drawn.element_size())
            held = self._slabs[number] = slab, list(drawn.unbind(0))
        return held[1][offset]
