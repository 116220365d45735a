"""All increments of a draw as one tensor."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limits.exceptions import LimitsError
from limits.parallel import map_chunks
from limits.paths.increments import DenseIncrement
from limits.paths.recycling import large_pages

if TYPE_CHECKING:
    from limits.paths.sample import WeightSample

__all__ = ["stacked_increments"]


def stacked_increments(sample: "WeightSample") -> Tensor:
    """Return the increments dX_k of a draw, shape ``(layer, path, width, width)``.

    Raises
    ------
    LimitsError
        If the draw is lazy, or there is not enough memory.
    """
    if sample.lazy is not None:
        sample.source.open(sample.first_path, sample.n_paths)
    shape = (sample.depth, sample.n_paths, sample.width, sample.width)
    n_bytes = sample.depth * sample.n_paths * sample.width**2 * sample.dtype.itemsize
    try:
        stacked = large_pages(shape, sample.dtype, sample.device)
    except (RuntimeError, MemoryError, ValueError) as error:
        raise LimitsError(
            f"the increments of {sample.n_paths} paths at depth {sample.depth} and width "
            f"{sample.width} need {n_bytes / 2**30:.1f} GiB, more than there is. Read fewer "
            "paths, a smaller depth with at_depth, or let a network read the sample."
        ) from error
    fill = _fill_slabs if sample.depth == sample.drawn_depth else _fill_layers
    map_chunks(
        lambda first, count: fill(sample, stacked[:, first : first + count], first), sample.shares()
    )
    return stacked


def _fill_slabs(sample: "WeightSample", stacked: Tensor, first: int) -> None:
    """Write the increments of the drawn layers."""
    source = sample.source
    reader = source.open(sample.first_path + first, stacked.shape[1])
    power = 1.0 if source.reading == "sum" else sample.depth**-sample.path.index
    for part, start in enumerate(range(0, sample.depth, source.slab_layers)):
        matrices = reader.slab(part).transpose(0, 1).mT
        stacked[start : start + source.slab_layers].copy_(matrices).mul_(source.scale * power)


def _fill_layers(sample: "WeightSample", stacked: Tensor, first: int) -> None:
    """Write the increments of a coarser reading."""
    for layer in sample.layers(first_path=first, n_paths=stacked.shape[1]):
        dense = layer.increment
        if not isinstance(dense, DenseIncrement):
            raise LimitsError("these increments are not held as matrices; ask mv and rmv.")
        torch.mul(dense.matrices.mT, dense.scale, out=stacked[layer.index])
