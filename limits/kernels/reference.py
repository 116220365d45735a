"""The numbers in plain torch, on any device: what compiled kernels are compared with."""

import torch
from torch import Tensor

from limits.kernels.philox import (
    ANGLE,
    COSINE,
    DOUBLE_LOG_2,
    LOGARITHM,
    MULTIPLIERS,
    ROOT_HALF,
    ROUNDS,
    SINE,
    WEYL,
    Key,
    NumberKind,
)

__all__ = ["block_words", "word_normals", "write"]

_MASK = 0xFFFFFFFF
Words = tuple[Tensor, Tensor, Tensor, Tensor]


def block_words(counter: Words, key: tuple[int, int]) -> Words:
    """Return the four words of Philox4x32-10, as integers of 64 bits below 2^32.

    Examples
    --------
    The first known answer of its authors.

    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [f"{word.item():08x}" for word in block_words((zero,) * 4, (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # Products exceed 63 bits and wrap, which changes none of their 64 bits.
        low, high = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = ((high >> 32) & _MASK) ^ c1 ^ k0
        c2 = ((low >> 32) & _MASK) ^ c3 ^ k1
        c1, c3 = high & _MASK, low & _MASK
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0, c1, c2, c3


def word_normals(radius: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Return two standard normals of two words, in float32."""
    u = ((radius >> 1).to(torch.float32) + 0.5) * 2.0**-31
    bits = u.view(torch.int32)
    exponent = (bits - ROOT_HALF) >> 23
    x = (bits - (exponent << 23)).view(torch.float32) - 1.0
    p = _polynomial(x, LOGARITHM)
    # Not addcmul and the like, which may round once where two roundings are meant.
    logarithm = x * x * (x * p + 1.0) - (x + x)
    square = exponent.to(torch.float32) * -DOUBLE_LOG_2 + logarithm
    # torch's root of float32 is one unit off in one case of six on a CPU. That of float64 cannot
    # be so far off that rounding to float32 is wrong.
    r = square.to(torch.float64).sqrt().to(torch.float32)

    x = (angle & 0x1FFFFFFF).to(torch.float32) * ANGLE
    z = x * x
    sine = x + x * z * _polynomial(z, SINE)
    cosine = 1.0 + z * _polynomial(z, COSINE)
    swapped = (angle & 0x20000000) != 0
    first = torch.where(swapped, sine, cosine)
    second = torch.where(swapped, cosine, sine)
    first = torch.where((angle & 0x80000000) != 0, -first, first)
    second = torch.where((angle & 0x40000000) != 0, -second, second)
    return r * first, r * second


def write(
    out: Tensor, key: Key, kind: NumberKind, layer: int, path: int, entry: int, scale: float = 1.0
) -> None:
    """Fill `out`, of axes (layer, path, entry), with what stands from an address on.

    Parameters
    ----------
    out : Tensor
        In float32, of any strides, on any device.
    key : Key
        Of the stream.
    kind : {"normal", "uniform", "centred", "sign"}
        What is made of the words.
    layer, path, entry : int
        The first of each.
    scale : float, default 1
        Factor of centred uniforms, applied to integers of 32 bits.
    """
    layers, paths, size = out.shape
    first, skipped = divmod(entry, 4)
    quads = torch.arange(first, (entry + size + 3) // 4, device=out.device)
    rows = torch.arange(path, path + paths, device=out.device).unsqueeze(1)
    shape = (paths, len(quads))
    fourth = torch.full(shape, key.k2, device=out.device)
    for index in range(layers):
        at = torch.full(shape, layer + index, device=out.device)
        counter = (quads.expand(shape), at, rows.expand(shape), fourth)
        words = block_words(counter, (key.k0, key.k1))
        lanes = torch.stack(_made(words, kind, scale), dim=-1).reshape(paths, -1)
        out[index] = lanes[:, skipped : skipped + size]


def _made(words: Words, kind: NumberKind, scale: float) -> tuple[Tensor, ...]:
    match kind:
        case "normal":
            return word_normals(*words[:2]) + word_normals(*words[2:])
        case "uniform":
            return tuple((word >> 8).to(torch.float32) * 2.0**-24 for word in words)
        case "centred":
            signed = (word - ((word >> 31) << 32) for word in words)
            return tuple(word.to(torch.float32) * scale for word in signed)
        case "sign":
            return tuple(1.0 - 2.0 * (word >> 31).to(torch.float32) for word in words)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    *lower, value = coefficients
    result: Tensor | float = value
    for coefficient in reversed(lower):
        result = x * result + coefficient
    return torch.as_tensor(result)
