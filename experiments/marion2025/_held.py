"""Weights that stay in memory, so that the backward pass need not draw them a second time."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

import limits


@dataclass(frozen=True)
class HeldPath(limits.IIDPath):
    """The draws of `limits.IIDPath`, each slab kept from its first reading on.

    Uniform numbers cost more than everything that a network does with them. What is held is
    freed with the sample: take it in parts of a few draws.
    """

    def source(self, *, depth: int, seed: int, role: str) -> Any:
        return _Held(super().source(depth=depth, seed=seed, role=role))


@dataclass(frozen=True)
class _Held:
    inner: Any
    slabs: dict[Hashable, Tensor] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def bytes_per_path(self) -> int:
        return self.inner.bytes_per_path * -(-self.inner.depth // self.inner.slab_layers)

    def open(self, first_path: int, n_paths: int) -> "_Reader":
        return _Reader(self, first_path, n_paths)


@dataclass(frozen=True)
class _Reader:
    source: _Held
    first_path: int
    n_paths: int

    def slab(self, part: int) -> Tensor:
        key = (self.first_path, self.n_paths, part)
        if key not in self.source.slabs:
            reader = self.source.inner.open(self.first_path, self.n_paths)
            self.source.slabs[key] = reader.slab(part)
        return self.source.slabs[key]
