"""All depths of a study advance through one pass over the weight path."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from limits.parallel import check_wanted
from limits.paths.increments import DenseIncrement, Increment, Layer
from limits.paths.lazy.draw import LazySource
from limits.paths.sources import Source

__all__ = ["Reading", "coupled_layers"]


@dataclass(frozen=True)
class Reading:
    """What is read of a draw: its source(s), which paths, and in which precision and direction.

    Parameters
    ----------
    source : Source
        The weight path.
    index : float
        Index gamma of the path: order-one weights are L^gamma times the increments.
    first_path, n_paths : int
        Consecutive paths.
    inner : Source or None
        The independent path of the inner weights, for blocks that have them.
    """

    source: Source
    index: float
    first_path: int
    n_paths: int
    dtype: torch.dtype
    device: torch.device
    inner: Source | None = None
    backwards: bool = False


def coupled_layers(reading: Reading, depths: Sequence[int]) -> Iterator[Layer]:
    """Yield the layers of every depth, each when the pass has seen all it is made of.

    A path read by "sum" gives a coarse layer when the last fine increment of its interval has
    passed; each depth is summed from the next finer depth it divides, so the sums cost less
    than twice the finest pass. A path read by "point" gives it at its node.

    Parameters
    ----------
    depths : sequence of int
        Divisors of the source's depth; one depth is the ordinary reading.
    """
    roots = _ladder(depths, reading.source.depth)
    matrices = [
        _fine_layers(reading, source) for source in (reading.source, reading.inner) if source
    ]
    order = range(reading.source.depth)
    for fine, parts in zip(
        reversed(order) if reading.backwards else order, zip(*matrices, strict=True), strict=True
    ):
        if reading.source.reading == "sum":
            for root in roots:
                yield from _sum_into(root, list(parts), fine, reading)
        else:
            yield from _read_at(sorted(depths, reverse=True), list(parts), fine, reading)


@dataclass(slots=True)
class _Level:
    depth: int
    ratio: int
    children: "list[_Level]" = field(default_factory=list)
    count: int = 0
    total: list[Increment] = field(default_factory=list)


def _ladder(depths: Sequence[int], finest: int) -> list[_Level]:
    """Hang every depth below the coarsest finer one that it divides; return the top ones."""
    levels: list[_Level] = []
    roots: list[_Level] = []
    for depth in sorted(set(depths), reverse=True):
        parent = next((level for level in reversed(levels) if level.depth % depth == 0), None)
        level = _Level(depth, (parent.depth if parent else finest) // depth)
        (parent.children if parent else roots).append(level)
        levels.append(level)
    return roots


def _sum_into(
    level: _Level, parts: list[Increment], fine: int, reading: Reading
) -> Iterator[Layer]:
    if level.count == 0:
        level.total = parts
    else:
        owned = level.count > 1
        level.total = [
            total.plus(part, owned=owned) for total, part in zip(level.total, parts, strict=True)
        ]
    level.count += 1
    if level.count < level.ratio:
        return
    level.count = 0
    yield _layer(level.depth, level.total, fine, reading)
    for child in level.children:
        yield from _sum_into(child, level.total, fine, reading)


def _read_at(
    depths: Sequence[int], parts: list[Increment], fine: int, reading: Reading
) -> Iterator[Layer]:
    for depth in depths:
        if fine % (reading.source.depth // depth) == 0:
            yield _layer(
                depth, [part.scaled(depth**-reading.index) for part in parts], fine, reading
            )


def _layer(depth: int, parts: list[Increment], fine: int, reading: Reading) -> Layer:
    inner = parts[1].scaled(depth**reading.index) if len(parts) > 1 else None
    return Layer(depth, fine * depth // reading.source.depth, parts[0], inner)


def _fine_layers(reading: Reading, source: Source) -> Iterator[Increment]:
    if isinstance(source, LazySource):
        paths = reading.first_path, reading.n_paths
        for increment in source.layers(*paths, backwards=reading.backwards):
            check_wanted()
            yield increment
        return
    reader = source.open(reading.first_path, reading.n_paths, reading.device)
    n_slabs = -(-source.depth // source.slab_layers)
    direction: Literal[1, -1] = -1 if reading.backwards else 1
    for part in range(n_slabs)[::direction]:
        slab = reader.slab(part).to(reading.device)
        for layer in range(slab.shape[1])[::direction]:
            check_wanted()
            yield DenseIncrement(slab[:, layer].to(reading.dtype), source.scale)
