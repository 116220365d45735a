"""A lazy draw: who asked what of which layer, for as long as the draw lives."""

import math
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, NoReturn

import torch
from torch import Tensor

from limits._typing import State
from limits.exceptions import CouplingError, LimitsError
from limits.paths.lazy_increments import LazyIncrement, SplitMatrix
from limits.paths.lazy_matrix import Answered, LazyMatrix
from limits.randomness import BLOCK, Stream

__all__ = ["MEMORY", "LazyDraw", "LazySource"]

MEMORY = 2**31
"""Bytes that a lazy draw may remember.

A draw remembers if one question per layer takes at most a quarter of it; a deeper one serves a
single call."""

_NORMALS_PER_PATH = 2**12
"""Numbers a path draws at once, of one question to consecutive layers.

Part of the definition of the streams: changing it changes every lazy draw."""

_HELD_PER_NORMAL = 16


class LazyDraw:
    """What the views of one lazy draw share: its name and the answers it gave.

    Parameters
    ----------
    depth, n_paths, width, dtype, device
        Of the draw.
    remember : bool, optional
        Whether answers are kept for later calls; by default, if they fit `MEMORY`.
    """

    def __init__(
        self,
        *,
        depth: int,
        n_paths: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
        remember: bool | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        # A seed does not fix a lazy draw, its questions do: equal seeds are different draws.
        self.token = secrets.token_hex(4)
        question = 2 * dtype.itemsize * depth * n_paths * width
        self.remembers = 4 * question <= MEMORY if remember is None else remember
        self._sizes = depth, n_paths, width
        self._description = f"{n_paths} paths, depth {depth}, width {width}"
        self._question_bytes = question
        self._bytes = 0
        self._ranges: dict[str, list[_Range]] = {}
        self._spent: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise CouplingError(
            "a lazy draw cannot be copied or sent to another process: it would be asked other "
            "questions there and become another draw. Draw where it is used, or draw with "
            "lazy=False."
        )

    def for_one_call(self) -> "LazyDraw":
        """Return another draw of the same sizes that keeps nothing and serves a single call."""
        depth, n_paths, width = self._sizes
        return LazyDraw(
            depth=depth,
            n_paths=n_paths,
            width=width,
            dtype=self.dtype,
            device=self.device,
            remember=False,
        )

    def spend(self, role: str, first: int, count: int) -> None:
        """Raise `CouplingError` if a draw that remembers nothing is asked about paths again."""
        paths = {(role, path) for path in range(first, first + count, BLOCK)}
        with self._lock:
            again = self._spent & paths
            self._spent |= paths
        if again:
            raise CouplingError(
                "this lazy draw serves a single call and was asked before: remembering one "
                f"question per layer ({self._description}) takes "
                f"{self._question_bytes / 2**30:.2g} GiB of the {MEMORY / 2**30:g} GiB that a draw "
                "may use, and without memory a second call would see other matrices. Ask "
                "everything in one call (several inputs, net.tangent, convergence_study(..., "
                "lazy=True)), draw again for independent matrices, or draw fewer paths or a "
                "smaller depth."
            )

    def count_bytes(self, more: int) -> None:
        """Raise `CouplingError` if what is remembered outgrows `MEMORY`."""
        with self._lock:
            self._bytes += more
            total = self._bytes
        if self.remembers and total > MEMORY:
            raise CouplingError(
                f"this lazy draw ({self._description}) would remember more than "
                f"{MEMORY / 2**30:g} GiB of questions and answers. Ask fewer questions of one "
                "draw, or draw fewer paths or a smaller depth."
            )

    def ranges(self, source: "LazySource", first: int, count: int) -> list["_Range"]:
        """Return what is known of the matrices of some paths, in pieces asked alike so far."""
        if not self.remembers:
            self.spend(source.role, first, count)
            return [_Range(self, source, first, count)]
        with self._lock:
            kept = self._ranges.setdefault(source.role, [])
            pieces = [piece for known in kept for piece in known.cut(first, first + count)]
            inside = [p for p in pieces if first <= p.first < first + count]
            filled, position = [], first
            for piece in [*inside, None]:
                until = first + count if piece is None else piece.first
                if until > position:
                    filled.append(_Range(self, source, position, until - position))
                if piece is not None:
                    filled.append(piece)
                    position = piece.first + piece.count
            others = [p for p in pieces if not first <= p.first < first + count]
            self._ranges[source.role] = sorted([*others, *filled], key=lambda p: p.first)
        return filled


@dataclass(frozen=True)
class LazySource:
    """Where the normals of a lazy draw come from, and the layers they belong to.

    Parameters
    ----------
    stream : Stream
        Where the numbers come from.
    width, depth : int
        Size of the matrices and number of layers.
    role : str
        ``"outer"`` or ``"inner"``.
    draw : LazyDraw
        What was asked so far.
    """

    stream: Stream
    width: int
    depth: int
    role: str
    draw: LazyDraw
    reading: Literal["sum", "point"] = "sum"

    @property
    def name(self) -> str:
        """Identify the draw."""
        return f"{self.stream.seed}:{self.stream.name}:{self.draw.token}"

    @property
    def scale(self) -> float:
        """Standard deviation of the entries, 1 / sqrt(width * depth)."""
        return 1 / math.sqrt(self.width * self.depth)

    @property
    def slab_layers(self) -> int:
        """Layers whose normals are drawn at once, a power of two."""
        return 2 ** max(0, (_NORMALS_PER_PATH // self.width).bit_length() - 1)

    @property
    def bytes_per_path(self) -> int:
        """A few slabs of normals, each for one question."""
        return _HELD_PER_NORMAL * self.slab_layers * self.width

    def open(self, first_path: int, n_paths: int) -> NoReturn:
        """Raise: there are no matrices to read."""
        raise LimitsError(
            "the increments of a lazy draw are not held as matrices; they answer mv and rmv. "
            "Draw with lazy=False to read sample.increments or to use torchsde."
        )

    def layers(self, first_path: int, n_paths: int, *, backwards: bool) -> Iterator[LazyIncrement]:
        """Yield the layers of a range of paths, first or last one first."""
        ranges = self.draw.ranges(self, first_path, n_paths)
        order = range(self.depth)
        try:
            for layer in reversed(order) if backwards else order:
                if len(ranges) == 1:
                    yield LazyIncrement([ranges[0].matrix(layer)])
                else:
                    sizes = [each.count for each in ranges]
                    matrices = [each.matrix(layer) for each in ranges]
                    yield LazyIncrement([SplitMatrix(matrices, sizes)])
        finally:
            for each in ranges:
                each.close()


class _Range:
    """Matrices of consecutive paths that were asked the same number of questions."""

    def __init__(self, draw: LazyDraw, source: LazySource, first: int, count: int) -> None:
        self.first = first
        self.count = count
        self._draw = draw
        self._source = source
        self._layers: dict[int, Answered] = {}
        self._slabs: dict[int, tuple[int, list[Tensor]]] = {}

    def matrix(self, layer: int) -> LazyMatrix:
        """Return the matrices of a layer."""
        known = self._layers.get(layer)
        if known is None:
            known = Answered()
            if self._draw.remembers:
                self._layers[layer] = known
        return LazyMatrix(partial(self._normals, layer), known)

    def close(self) -> None:
        """Let go of normals that were drawn ahead."""
        self._slabs.clear()

    def cut(self, start: int, stop: int) -> list["_Range"]:
        """Return this range in up to three pieces, cut where another range starts and stops."""
        end = self.first + self.count
        inside = {min(max(node, self.first), end) for node in (start, stop)}
        nodes = sorted({self.first, end} | inside)
        if len(nodes) == 2:
            return [self]
        return [self._piece(a, b - a) for a, b in pairwise(nodes)]

    def _piece(self, first: int, count: int) -> "_Range":
        piece = _Range(self._draw, self._source, first, count)
        start = first - self.first
        piece._layers = {
            k: known.of_paths(start, start + count) for k, known in self._layers.items()
        }
        return piece

    def _normals(self, layer: int, number: int) -> State:
        slab, offset = divmod(layer, self._source.slab_layers)
        held = self._slabs.get(number)
        if held is None or held[0] != slab:
            held = self._slabs[number] = slab, self._drawn(slab, number)
        return held[1][offset]

    def _drawn(self, slab: int, number: int) -> list[Tensor]:
        """Return the normals of one question to the layers of a slab, ``(path, 1, width)``."""
        source, draw = self._source, self._draw
        layers = min(source.slab_layers, source.depth - slab * source.slab_layers)
        slabs = -(-source.depth // source.slab_layers)
        # Streams start at whole blocks of paths, a range may not.
        skipped = self.first % BLOCK
        flat = source.stream.normals(
            self.first - skipped,
            self.count + skipped,
            layers * source.width,
            slab + slabs * number,
        )[skipped:]
        by_layer = flat.unflatten(1, (layers, 1, source.width)).transpose(0, 1)
        normals = by_layer.to(draw.device, draw.dtype, memory_format=torch.contiguous_format)
        # A row takes its normals and a direction of the same size.
        draw.count_bytes(2 * normals.numel() * normals.element_size())
        return list(normals.mul_(source.scale).unbind(0))
