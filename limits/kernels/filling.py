"""Which kernel fills memory with numbers: that of the device the memory is on."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from limits.exceptions import LimitsError
from limits.kernels.philox import KINDS, Key, NumberKind

__all__ = ["fill"]

_AT_ONCE = 2**27
"""Numbers of one call, a quarter of a second: between calls the user may interrupt."""


def fill(
    out: Tensor,
    key: Key,
    kind: NumberKind,
    *,
    layer: int = 0,
    path: int = 0,
    entry: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Fill memory with the numbers of consecutive layers, paths and entries, and return it.

    The numbers depend on their address alone: not on the device, not on what else is drawn, and
    not on which thread draws. Other threads run meanwhile.

    Parameters
    ----------
    out : Tensor
        Of axes (layer, path, entry), in float32. Layers and paths may have any strides, entries
        are neighbours.
    key : Key
        Of the stream, from `limits.kernels.stream_key`.
    kind : {"normal", "uniform", "centred", "sign"}
        Standard normals; uniforms on [0, 1); integers from -2^31 to 2^31, times `scale`; -1 or 1.
    layer, path, entry : int, default 0
        The first of each; layers and paths below 2^32, entries below 2^34.
    scale : float, default 1
        Factor of centred uniforms, rounded to float32.

    Raises
    ------
    LimitsError
        If `out` is not what it must be, or an address is out of range.

    Examples
    --------
    >>> from limits.kernels import stream_key
    >>> key = stream_key(0, "example")
    >>> whole = fill(torch.empty(3, 2, 50), key, "normal")
    >>> part = fill(torch.empty(1, 1, 7), key, "normal", layer=2, path=1, entry=30)
    >>> bool((part == whole[2, 1, 30:37]).all())
    True
    """
    _check(out, (layer, path, entry))
    scale = float(np.float32(scale))
    for piece, first_layer, first_path in _pieces(out, layer, path):
        if out.is_cuda:
            from limits.kernels.cuda import write_tiles

            write_tiles(piece, key, kind, first_layer, first_path, entry, scale)
        elif out.device.type == "cpu":
            _fill_cpu(piece, key, kind, (first_layer, first_path, entry), scale)
        else:
            drawn = torch.empty(piece.shape, dtype=torch.float32, device="cpu")
            _fill_cpu(drawn, key, kind, (first_layer, first_path, entry), scale)
            piece.copy_(drawn)
    return out


def _fill_cpu(
    out: Tensor, key: Key, kind: NumberKind, start: tuple[int, int, int], scale: float
) -> None:
    # Numba takes half a second to import, and not every command draws.
    from limits.kernels.cpu import fill_flat

    shape, (layer_stride, path_stride, _) = tuple(out.shape), out.stride()
    reach = (shape[0] - 1) * layer_stride + (shape[1] - 1) * path_stride + shape[2]
    flat = out.detach().as_strided((reach,), (1,)).numpy()
    words = tuple(np.uint64(word) for word in key)
    fill_flat(
        flat, shape, (layer_stride, path_stride), start, words, KINDS.index(kind), np.float32(scale)
    )


def _pieces(out: Tensor, layer: int, path: int) -> Iterator[tuple[Tensor, int, int]]:
    """Yield parts that one call may fill, with their first layer and path."""
    layers, paths, size = out.shape
    if not out.numel():
        return
    few = max(1, _AT_ONCE // size)
    for first in range(0, paths, few):
        columns = out[:, first : first + few]
        deep = max(1, _AT_ONCE // (size * columns.shape[1]))
        for at in range(0, layers, deep):
            yield columns[at : at + deep], layer + at, path + first


def _check(out: Tensor, start: tuple[int, int, int]) -> None:
    lined = out.ndim == 3 and (out.shape[2] <= 1 or out.stride(2) == 1)
    if not lined or out.dtype != torch.float32:
        raise LimitsError(
            "numbers are drawn into float32 memory of axes (layer, path, entry) with entries side "
            f"by side, found {tuple(out.shape)}, {out.dtype}, strides {out.stride()}. Pass "
            "torch.empty(layers, paths, entries, dtype=torch.float32)."
        )
    ends = [first + n for first, n in zip(start, out.shape, strict=True)]
    bounds = (2**32, 2**32, 2**34)
    if min(start) < 0 or any(end > bound for end, bound in zip(ends, bounds, strict=True)):
        raise LimitsError(
            f"layers and paths are numbered from 0 to 2^32 and entries to 2^34, asked for "
            f"(layer, path, entry) from {start} to {tuple(ends)}. Draw the rest from a stream of "
            "another name."
        )
