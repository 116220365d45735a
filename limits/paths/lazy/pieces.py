"""The matrices of some paths of a lazy draw, and the normals they answer with."""

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from limits._typing import State
from limits.paths.lazy.matrix import LazyMatrix
from limits.paths.lazy.store import Store
from limits.randomness import Stream

__all__ = ["LazyRange", "SlabNormals", "StoredMatrix"]


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
        return self.of_layers(first, count, slab * self.slab_layers, layers, question)

    def of_layers(self, first: int, count: int, layer: int, n_layers: int, question: int) -> Tensor:
        """Return the normals of one question to some layers, ``(layer, path, 1, width)``."""
        drawn = self.stream.normals(
            first,
            count,
            self.width,
            layer,
            n_layers=n_layers,
            # Whole blocks of four numbers: a part of one costs as much.
            first_entry=question * (-(-self.width // 4) * 4),
            device=self.device,
        )
        return drawn.unsqueeze(2).to(self.dtype).mul_(self.scale)


class LazyRange:
    """The matrices of consecutive paths, for one pass through the layers.

    Parameters
    ----------
    normals : SlabNormals
        Where the normals come from.
    first, count : int
        The paths.
    store : Store or None
        What is known of all matrices; None if answers are forgotten with their layer.
    """

    def __init__(
        self, normals: SlabNormals, first: int, count: int, store: Store | None = None
    ) -> None:
        self.first = first
        self.count = count
        self._normals = normals
        self._store = store
        self._slabs: dict[int, tuple[int, list[Tensor]]] = {}

    def matrix(self, layer: int) -> "LazyMatrix | StoredMatrix":
        """Return the matrices of a layer."""
        if self._store is None:
            return LazyMatrix(partial(self.numbers, layer))
        return StoredMatrix(self._store, self, layer)

    def close(self) -> None:
        """Let go of normals that were drawn ahead."""
        self._slabs.clear()

    def numbers(self, layer: int, number: int) -> State:
        """Return the normals of a question, the same on all paths, drawn a slab at a time."""
        slab, offset = divmod(layer, self._normals.slab_layers)
        held = self._slabs.get(number)
        if held is None or held[0] != slab:
            drawn = self._normals.slab(self.first, self.count, slab, number)
            held = self._slabs[number] = slab, list(drawn.unbind(0))
        return held[1][offset]

    def numbers_after(self, layer: int, asked: np.ndarray, number: int) -> State:
        """Return the normals of a question, on paths that were asked so many before."""
        if (asked == asked[0]).all():
            return self.numbers(layer, int(asked[0]) + number)
        parts, first = [], self.first
        for before, alike in groupby(asked.tolist()):
            count = len(list(alike))
            parts.append(self._normals.of_layers(first, count, layer, 1, before + number)[0])
            first += count
        return torch.cat(parts)


class StoredMatrix:
    """A batch of matrices of one layer, whose answers outlast the call.

    Parameters
    ----------
    store : Store
        What is known of them.
    paths : LazyRange
        Which paths, and their normals.
    layer : int
        The layer.
    """

    __slots__ = ("_layer", "_paths", "_store")

    def __init__(self, store: Store, paths: LazyRange, layer: int) -> None:
        self._store = store
        self._paths = paths
        self._layer = layer

    def mv(self, u: State) -> State:
        """Return W u, for u of shape ``(path, input, width)``."""
        return self._ask(u, right=u.shape[1])

    def rmv(self, p: State) -> State:
        """Return W^T p, for p of shape ``(path, input, width)``."""
        return self._ask(p, left=p.shape[1])

    def _ask(self, u: State, *, right: int = 0, left: int = 0) -> State:
        layer, first, count = self._layer, self._paths.first, self._paths.count
        with self._store.page(layer, first, count, right=right, left=left) as (known, asked):
            matrix = LazyMatrix(partial(self._paths.numbers_after, layer, asked), known)
            return matrix.mv(u) if right else matrix.rmv(u)
