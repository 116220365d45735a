"""Where the numbers of one draw come from: slabs of consecutive layers, read in any order.

A slab is what a reader holds at once. No number depends on its size.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from limits._typing import LayerMatrices
from limits.kernels import NumberKind
from limits.randomness import Stream

__all__ = ["Draw", "IndependentSource", "Reader", "SmoothReader", "Source"]

_CPU = torch.device("cpu")
_NORMALS_PER_PATH = 2**14
"""Numbers a reader of one path holds: many to a call, few enough for the cache."""


class Draw(Protocol):
    """Draws numbers of unit variance, ``(n_layers, n_paths, size)`` in float32."""

    def __call__(
        self,
        stream: Stream,
        first_path: int,
        n_paths: int,
        size: int,
        layer: int,
        /,
        *,
        n_layers: int,
        device: torch.device,
    ) -> Tensor:
        """Return the numbers of consecutive layers from one on, on a device."""
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

    def open(self, first_path: int, n_paths: int, device: torch.device = _CPU) -> Reader:
        """Return a reader of the paths `first_path` ... `first_path` + `n_paths` - 1.

        Where `device` has no bearing on what is read, slabs may be elsewhere: whoever reads
        moves them.
        """
        ...


@dataclass(frozen=True)
class IndependentSource:
    """Independent layers with i.i.d. entries of unit variance, drawn when they are read.

    Entry e of layer k of path p is the number at the address (p, k, e) of the stream, so that
    layers can be read backwards, and any paths of them, without storing them.

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
        Numbers that a reader of one path holds, where it is not that of weights.
    kind, number_scale : str and float, optional
        What `standardised` asks of `limits.kernels.fill`, for loops that draw for themselves;
        without a kind they leave the drawing to it.
    """

    stream: Stream
    shape: tuple[int, ...]
    depth: int
    scale: float
    standardised: Draw
    reading: Literal["sum", "point"] = "sum"
    normals_per_path: int | None = None
    kind: NumberKind | None = None
    number_scale: float = 1.0

    @classmethod
    def of_matrices(
        cls,
        stream: Stream,
        width: int,
        depth: int,
        standardised: Draw,
        kind: NumberKind,
        number_scale: float = 1.0,
    ) -> "IndependentSource":
        """Return square matrices with entries of variance 1 / (width * depth)."""
        scale = 1 / math.sqrt(width * depth)
        return cls(
            stream,
            (width, width),
            depth,
            scale,
            standardised,
            kind=kind,
            number_scale=number_scale,
        )

    @property
    def name(self) -> str:
        """Identify the draw."""
        return self.stream.label

    @property
    def slab_layers(self) -> int:
        """Layers drawn at once."""
        layers = (self.normals_per_path or _NORMALS_PER_PATH) // math.prod(self.shape)
        return min(self.depth, max(1, layers))

    @property
    def bytes_per_path(self) -> int:
        """One slab of float32 numbers."""
        return 4 * self.slab_layers * math.prod(self.shape)

    def open(
        self, first_path: int, n_paths: int, device: torch.device = _CPU
    ) -> "_IndependentReader":
        """Return a reader of consecutive paths, which draws on `device`."""
        return _IndependentReader(self, first_path, n_paths, device)


@dataclass(frozen=True)
class _IndependentReader:
    source: IndependentSource
    first_path: int
    n_paths: int
    device: torch.device

    def slab(self, part: int) -> Tensor:
        source = self.source
        start = part * source.slab_layers
        flat = source.standardised(
            source.stream,
            self.first_path,
            self.n_paths,
            math.prod(source.shape),
            start,
            n_layers=min(source.slab_layers, source.depth - start),
            device=self.device,
        )
        return flat.transpose(0, 1).unflatten(2, source.shape)
