"""All increments of a draw as one tensor."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from limits.exceptions import LimitsError
from limits.parallel import check_wanted, map_chunks
from limits.paths.increments import DenseIncrement
from limits.paths.lazy.draw import LazySource
from limits.paths.reading import Reading, coupled_layers

__all__ = ["stacked_increments"]


def stacked_increments(
    reading: Reading, depth: int, width: int, shares: Sequence[tuple[int, int]]
) -> Tensor:
    """Return the increments dX_k of a draw, shape ``(layer, path, width, width)``.

    Parameters
    ----------
    reading : Reading
        The draw, and which of its paths.
    depth : int
        Depth L at which it is read, a divisor of the drawn one.
    width : int
        Size d of the matrices.
    shares : sequence of tuple
        Ranges (first, count) of the paths for the threads to fill, counted from the reading's
        first path.

    Raises
    ------
    LimitsError
        If the draw is lazy, or there is not enough memory.
    """
    if isinstance(reading.source, LazySource):
        reading.source.open(reading.first_path, reading.n_paths)
    shape = (depth, reading.n_paths, width, width)
    n_bytes = depth * reading.n_paths * width**2 * reading.dtype.itemsize
    try:
        stacked = torch.empty(shape, dtype=reading.dtype, device=reading.device)
    except (RuntimeError, MemoryError, ValueError) as error:
        raise LimitsError(
            f"the increments of {reading.n_paths} paths at depth {depth} and width "
            f"{width} need {n_bytes / 2**30:.1f} GiB, more than there is. Read fewer "
            "paths, a smaller depth with at_depth, or let a network read the sample."
        ) from error
    fill = _fill_slabs if depth == reading.source.depth else _fill_layers

    def filled(first: int, count: int) -> None:
        part = replace(reading, first_path=reading.first_path + first, n_paths=count)
        fill(part, stacked[:, first : first + count])

    map_chunks(filled, shares)
    return stacked


def _fill_slabs(reading: Reading, stacked: Tensor) -> None:
    """Write the increments of the drawn layers."""
    source = reading.source
    reader = source.open(reading.first_path, reading.n_paths, reading.device)
    power = 1.0 if source.reading == "sum" else source.depth**-reading.index
    for part, start in enumerate(range(0, source.depth, source.slab_layers)):
        check_wanted()
        matrices = reader.slab(part).transpose(0, 1).mT
        stacked[start : start + source.slab_layers].copy_(matrices).mul_(source.scale * power)


def _fill_layers(reading: Reading, stacked: Tensor) -> None:
    """Write the increments of a coarser reading."""
    for layer in coupled_layers(reading, (len(stacked),)):
        dense = layer.increment
        if not isinstance(dense, DenseIncrement):
            raise LimitsError("these increments are not held as matrices; ask mv and rmv.")
        torch.mul(dense.matrices.mT, dense.scale, out=stacked[layer.index])
