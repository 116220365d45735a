"""Weights that stay in memory, so that the backward pass need not draw them a second time."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

import limits


@dataclass(frozen=True)
class HeldSmoothPath(limits.SmoothPath):
    """Keeps every slab of a smooth weight path from its first reading on.

    Smooth weights cost more than everything that a network does with them. What is held is freed
    with the sample: take it in parts of a few draws.
    """

    def source(self, *, depth: int, seed: int, role: str) -> Any:
        return _Source(super().source(depth=depth, seed=seed, role=role))


@dataclass(frozen=True)
class _Source:
    inner: Any
    slabs: dict[Hashable, Tensor] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, first_path: int, n_paths: int, device: Any = None) -> "_Reader":
        return _Reader(self, first_path, n_paths)


@dataclass(frozen=True)
class _Reader:
    source: _Source
    first_path: int
    n_paths: int

    @cached_property
    def reader(self) -> Any:
        return self.source.inner.open(self.first_path, self.n_paths)

    def slab(self, part: int) -> Tensor:
        key, slabs = (self.first_path, self.n_paths, part), self.source.slabs
        if key not in slabs:
            slabs[key] = self.reader.slab(part)
        return slabs[key]
