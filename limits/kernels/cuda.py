"""The numbers as Triton kernels, for CUDA and for Triton's interpreter.

`tile_philox4x32` and `tile_four_normals` are for other kernels of this room. Whoever launches one
passes ``enable_fp_fusion=False``: a multiplication and an addition that are fused round once, and
the numbers are no longer those of other devices.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from limits.kernels.philox import (
    ANGLE,
    COSINE,
    DOUBLE_LOG_2,
    KINDS,
    LOGARITHM,
    MULTIPLIERS,
    ROOT_HALF,
    ROUNDS,
    SINE,
    WEYL,
    Key,
    NumberKind,
)

__all__ = ["signed", "tile_four_normals", "tile_philox4x32", "write_tiles"]

_BLOCK = 256
_M0, _M1 = (tl.constexpr(each) for each in MULTIPLIERS)
_W0, _W1 = (tl.constexpr(each) for each in WEYL)
_L0, _L1, _L2, _L3, _L4, _L5 = (tl.constexpr(each) for each in LOGARITHM)
_S0, _S1, _S2 = (tl.constexpr(each) for each in SINE)
_C0, _C1, _C2 = (tl.constexpr(each) for each in COSINE)
_LOG_2, _ANGLE = tl.constexpr(-DOUBLE_LOG_2), tl.constexpr(ANGLE)
_ROOT, _ROUNDS = tl.constexpr(ROOT_HALF), tl.constexpr(ROUNDS)
# Kernels are compiled anew for what their integers divide, unless told not to.
_ADDRESS = ["layer", "path", "first", "skipped", "k0", "k1", "k2", "scale", "paths", "quads"]


def signed(word: int) -> int:
    """Return the signed integer of the same 32 bits; Triton takes larger ones for 64 bits.

    Examples
    --------
    >>> signed(2**32 - 1), signed(7)
    (-1, 7)
    """
    return word - ((word >> 31) << 32)


@triton.jit
def tile_philox4x32(c0, c1, c2, c3, k0, k1):
    """Return the four words of Philox4x32-10; all are tiles or scalars of type uint32."""
    for _ in tl.static_range(_ROUNDS):  # pyright: ignore[reportGeneralTypeIssues]
        low = c0.to(tl.uint64) * _M0
        high = c2.to(tl.uint64) * _M1
        c0 = (high >> 32).to(tl.uint32) ^ c1 ^ k0
        c2 = (low >> 32).to(tl.uint32) ^ c3 ^ k1
        c1 = high.to(tl.uint32)
        c3 = low.to(tl.uint32)
        k0 = k0 + _W0
        k1 = k1 + _W1
    return c0, c1, c2, c3


@triton.jit
def _tile_radius(word):
    u = ((word >> 1).to(tl.int32).to(tl.float32) + 0.5) * 4.656612873077393e-10
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - _ROOT) >> 23
    x = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    p = ((((x * _L5 + _L4) * x + _L3) * x + _L2) * x + _L1) * x + _L0
    return tl.sqrt_rn(exponent.to(tl.float32) * _LOG_2 + (x * x * (x * p + 1.0) - (x + x)))


@triton.jit
def _tile_directions(word):
    x = (word & 0x1FFFFFFF).to(tl.int32).to(tl.float32) * _ANGLE
    z = x * x
    sine = x + x * z * ((z * _S2 + _S1) * z + _S0)
    cosine = 1.0 + z * ((z * _C2 + _C1) * z + _C0)
    swapped = ((word >> 29) & 1) != 0
    first = tl.where(swapped, sine, cosine).to(tl.uint32, bitcast=True)
    second = tl.where(swapped, cosine, sine).to(tl.uint32, bitcast=True)
    first = (first ^ ((word >> 31) << 31)).to(tl.float32, bitcast=True)
    second = (second ^ ((word >> 30) << 31)).to(tl.float32, bitcast=True)
    return first, second


@triton.jit
def tile_four_normals(w0, w1, w2, w3):
    """Return the four float32 normals of a block's words."""
    r = _tile_radius(w0)
    s = _tile_radius(w2)
    a, b = _tile_directions(w1)
    c, d = _tile_directions(w3)
    return r * a, r * b, s * c, s * d


@triton.jit
def _made(word, scale, KIND: tl.constexpr):
    if KIND == 1:
        made = (word >> 8).to(tl.int32).to(tl.float32) * 5.960464477539063e-08
    elif KIND == 2:
        made = word.to(tl.int32, bitcast=True).to(tl.float32) * scale
    else:
        made = 1.0 - ((word >> 31) << 1).to(tl.int32).to(tl.float32)
    return made


@triton.jit(do_not_specialize=_ADDRESS)
def _fill_tiles(
    out, total, quads, paths, size, layer_stride, path_stride,
    layer, path, first, skipped, k0, k1, k2, scale, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = index // quads
    quad = index - row * quads
    at_layer = row // paths
    at_path = row - at_layer * paths
    c0 = (quad + first).to(tl.uint32)
    c1 = (at_layer + layer).to(tl.uint32)
    c2 = (at_path + path).to(tl.uint32)
    zero = c0 ^ c0
    w0, w1, w2, w3 = tile_philox4x32(
        c0, c1, c2, zero + k2.to(tl.uint32), zero + k0.to(tl.uint32), zero + k1.to(tl.uint32)
    )
    if KIND == 0:
        a, b, c, d = tile_four_normals(w0, w1, w2, w3)
    else:
        a = _made(w0, scale, KIND)
        b = _made(w1, scale, KIND)
        c = _made(w2, scale, KIND)
        d = _made(w3, scale, KIND)
    entry = quad * 4 - skipped
    place = out + at_layer.to(tl.int64) * layer_stride + at_path.to(tl.int64) * path_stride + entry
    real = index < total
    tl.store(place, a, mask=real & (entry >= 0) & (entry < size))
    tl.store(place + 1, b, mask=real & (entry >= -1) & (entry < size - 1))
    tl.store(place + 2, c, mask=real & (entry >= -2) & (entry < size - 2))
    tl.store(place + 3, d, mask=real & (entry >= -3) & (entry < size - 3))


def write_tiles(
    out: Tensor, key: Key, kind: NumberKind, layer: int, path: int, entry: int, scale: float = 1.0
) -> None:
    """Fill `out` as `limits.kernels.reference.write` does, on the device it is on."""
    layers, paths, size = out.shape
    first, skipped = divmod(entry, 4)
    quads = (skipped + size + 3) // 4
    total = layers * paths * quads
    kernel: Any = _fill_tiles
    address = (signed(each) for each in (layer, path, first))
    with torch.cuda.device(out.device if out.is_cuda else -1):
        kernel[(triton.cdiv(total, _BLOCK),)](
            out, total, quads, paths, size, *out.stride()[:2],
            *address, skipped, *(signed(each) for each in key), scale,
            KINDS.index(kind), _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
