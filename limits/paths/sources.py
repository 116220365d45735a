"""Where the numbers of one draw come from: slabs of consecutive layers, read in any order."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from limits._typing import LayerMatrices
from limits.paths.recycling import RecycledMemory
from limits.randomness import Stream, memory_of

__all__ = ["Draw", "IndependentSource", "Reader", "SmoothReader", "Source"]

_NORMALS_PER_PATH = 2**14
"""Numbers a path draws at once: large enough to hide the seeding, small enough for the cache.

Part of the definition of the streams: changing it changes every draw."""


class Draw(Protocol):
    """Draws ``(n_paths, size)`` numbers of unit variance into memory that is given."""

    def __call__(
        self,
        stream: Stream,
        first_path: int,
        n_paths: int,
        size: int,
        part: int,
        /,
        *,
        memory: Tensor,
    ) -> Tensor:
        """Return the numbers, float32."""
        ...


class Reader(Protocol):
    """Serves the layers of a contiguous range of paths."""

    def slab(self, part: int) -> LayerMatrices:
        """Return the matrices of one slab, ``(path, layer, width, width)``, transposed."""
        ...


@runtime_checkable
class SmoothReader(Reader, Protocol):
    """A reader of weights that have a value at every layer time."""

    def at(self, times: Tensor) -> LayerMatrices:
        """Return what `slab` would, at any times, ``(path, time, width, width)``."""
        ...


class Source(Protocol):
    """The numbers behind one draw of a weight path.

    Attributes
    ----------
    name : str
        Identifies the draw; equal names mean equal numbers.
    depth : int
        Number of layers at which the draw is stored.
    slab_layers : int
        Layers in a slab; the last slab may be shorter.
    bytes_per_path : int
        Memory that a reader holds for each path.
    reading : {"sum", "point"}
        Whether a shallower network sums the increments or samples the weights at its nodes.
    scale : float
        Increments at `depth` are `scale` times what a reader serves; for "point" that holds of
        the weights V, and increments are V / L^index at any depth L.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def depth(self) -> int: ...  # noqa: D102
    @property
    def slab_layers(self) -> int: ...  # noqa: D102
    @property
    def bytes_per_path(self) -> int: ...  # noqa: D102
    @property
    def reading(self) -> Literal["sum", "point"]: ...  # noqa: D102
    @property
    def scale(self) -> float: ...  # noqa: D102

    def open(self, first_path: int, n_paths: int) -> Reader:
        """Return a reader of the paths `first_path` ... `first_path` + `n_paths` - 1."""
        ...


@dataclass(frozen=True)
class IndependentSource:
    """Independent layers with i.i.d. entries of unit variance, drawn when they are read.

    Every slab of a block of paths has its own generator, so that layers can be read backwards
    without storing them. Within a slab the path is the slowest axis: fewer paths are a prefix.

    Parameters
    ----------
    stream : Stream
        Where the numbers come from.
    shape : tuple of int
        Shape of what one layer draws: ``(width, width)`` or ``(width,)``.
    depth : int
        Number of layers.
    scale : float
        Turns unit variance into increments.
    standardised : Draw
        Draws the numbers.
    normals_per_path : int, optional
        Numbers a path draws at once, where it is not that of weights; part of the definition of
        the streams.
    """

    stream: Stream
    shape: tuple[int, ...]
    depth: int
    scale: float
    standardised: Draw
    reading: Literal["sum", "point"] = "sum"
    normals_per_path: int | None = None

    @classmethod
    def of_matrices(
        cls, stream: Stream, width: int, depth: int, standardised: Draw
    ) -> "IndependentSource":
        """Return square matrices with entries of variance 1 / (width * depth)."""
        return cls(stream, (width, width), depth, 1 / math.sqrt(width * depth), standardised)

    @property
    def name(self) -> str:
        """Identify the draw."""
        return self.stream.label

    @property
    def slab_layers(self) -> int:
        """Layers drawn at once, a power of two unless the path is shorter."""
        layers = max(1, (self.normals_per_path or _NORMALS_PER_PATH) // math.prod(self.shape))
        return min(self.depth, 2 ** int(math.log2(layers)))

    @property
    def bytes_per_path(self) -> int:
        """One slab of float32 numbers."""
        return 4 * self.slab_layers * math.prod(self.shape)

    def open(self, first_path: int, n_paths: int) -> "_IndependentReader":
        """Return a reader of consecutive paths."""
        return _IndependentReader(self, first_path, n_paths)


class _IndependentReader:
    def __init__(self, source: IndependentSource, first_path: int, n_paths: int) -> None:
        self._source = source
        self._first_path = first_path
        self._n_paths = n_paths
        size = source.slab_layers * math.prod(source.shape)
        self._memory = RecycledMemory(memory_of(n_paths, size))

    def slab(self, part: int) -> Tensor:
        source = self._source
        layers = min(source.slab_layers, source.depth - part * source.slab_layers)
        size, memory = layers * math.prod(source.shape), self._memory.piece()
        flat = source.standardised(
            source.stream, self._first_path, self._n_paths, size, part, memory=memory
        )
        return flat.unflatten(1, (layers, *source.shape))
