"""The numbers as loops of numba, several at a time, without Python's lock.

`philox4x32` and `four_normals` are compiled into the loops that call them; `draw_words` and
`draw_normals` fill planes, one a lane, for kernels that use numbers where they are made. Words and
normals are two loops, because a compiler takes as many numbers at a time as fit the widest type of
a loop, and products have 64 bits.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from limits.kernels.jit import ZERO, bitcast, inlined, loop
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
)

__all__ = ["TILE", "draw_normals", "draw_words", "fill_flat", "four_normals", "philox4x32"]

TILE = 512
"""Blocks drawn at a time: words and numbers of a tile stay in the first cache."""

_EIGHT = 8
_F, _I, _U, _W = np.float32, np.int32, np.uint32, np.uint64
_MASK = _W(0xFFFFFFFF)
_M0, _M1 = (_W(each) for each in MULTIPLIERS)
_W0, _W1 = (_W(each) for each in WEYL)
_L0, _L1, _L2, _L3, _L4, _L5 = (_F(each) for each in LOGARITHM)
_S0, _S1, _S2 = (_F(each) for each in SINE)
_C0, _C1, _C2 = (_F(each) for each in COSINE)
_LOG_2, _ANGLE = _F(-DOUBLE_LOG_2), _F(ANGLE)
_HALF, _ONE, _ROOT = _F(0.5), _F(1), _I(ROOT_HALF)
_TO_UNIT, _TO_RADIUS = _F(2.0**-24), _F(2.0**-31)
_instruction: Any = intrinsic


_bits = bitcast(ir.IntType(32), types.int32, types.float32)
_number = bitcast(ir.FloatType(), types.float32, types.int32)


@_instruction
def _weave_eight(_: Any, out: Any, at: Any, planes: Any, start: Any) -> Any:
    """Store eight blocks: 32 numbers in a row from eight of each plane.

    A loop of four stores a block is not vectorised, and takes three times as long.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        eight = ir.VectorType(ir.FloatType(), _EIGHT)

        def place(array: int, index: Any) -> Any:
            made = context.make_array(signature.args[array])
            return builder.gep(made(context, builder, args[array]).data, [index])

        def shuffle(a: Any, b: Any, order: list[int]) -> Any:
            mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
            return builder.shuffle_vector(a, b, mask)

        # Rows of a tensor begin where they like: no more alignment than a number's.
        rows = [
            builder.load(
                builder.bitcast(
                    place(2, builder.add(args[3], ir.Constant(args[3].type, lane * TILE))),
                    eight.as_pointer(),
                ),
                align=4,
            )
            for lane in range(4)
        ]
        alternating = [i // 2 + _EIGHT * (i % 2) for i in range(16)]
        pairs = [shuffle(rows[i], rows[i + 1], alternating) for i in (0, 2)]
        lanes = [2 * (i // 4) + i % 2 + (16 if i % 4 > 1 else 0) for i in range(32)]
        woven = shuffle(pairs[0], pairs[1], lanes)
        target = builder.bitcast(place(0, args[1]), woven.type.as_pointer())
        builder.store(woven, target, align=4)
        return context.get_dummy_value()

    return types.void(out, types.intp, planes, types.intp), build


@inlined
def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return four words of 64 bits of which the low 32 are those of Philox4x32-10.

    All arguments are of type uint64. What stands in the upper halves does not matter: products
    mask it, which the instruction does for nothing.
    """
    for _ in range(ROUNDS):
        low, high = (c0 & _MASK) * _M0, (c2 & _MASK) * _M1
        c0, c1, c2, c3 = (high >> _W(32)) ^ c1 ^ k0, high, (low >> _W(32)) ^ c3 ^ k1, low
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


@inlined
def _radius(word: Any) -> Any:
    u = (_F(_I(word >> _U(1))) + _HALF) * _TO_RADIUS
    bits = _bits(u)
    exponent = (bits - _ROOT) >> _I(23)
    x = _number(_I(bits - (exponent << _I(23)))) - _ONE
    p = ((((x * _L5 + _L4) * x + _L3) * x + _L2) * x + _L1) * x + _L0
    return np.sqrt(_F(exponent) * _LOG_2 + (x * x * (x * p + _ONE) - (x + x)))


@inlined
def _directions(word: Any) -> Any:
    x = _F(_I(word & _U(0x1FFFFFFF))) * _ANGLE
    z = x * x
    sine = x + x * z * ((z * _S2 + _S1) * z + _S0)
    cosine = _ONE + z * ((z * _C2 + _C1) * z + _C0)
    swapped = (word & _U(0x20000000)) != _U(0)
    first = sine if swapped else cosine
    second = cosine if swapped else sine
    first = _number(_I(_bits(first) ^ _I(word & _U(0x80000000))))
    second = _number(_I(_bits(second) ^ _I((word << _U(1)) & _U(0x80000000))))
    return first, second


@inlined
def four_normals(w0: Any, w1: Any, w2: Any, w3: Any) -> Any:
    """Return the four float32 normals of a block's words, which are of type uint32."""
    r, s = _radius(w0), _radius(w2)
    a, b = _directions(w1)
    c, d = _directions(w3)
    return r * a, r * b, s * c, s * d


@loop
def draw_words(
    words: Any, count: Any, c0: Any, c1: Any, c2: Any, k0: Any, k1: Any, k2: Any
) -> None:
    """Fill four planes with the words of `count` blocks.

    Parameters
    ----------
    words : ndarray
        ``(4, block)``, of type uint32.
    count : int
        How many.
    c0, c1, c2 : ndarray
        entry // 4, layer and path of every block, of type uint32.
    k0, k1, k2 : uint64
        The key of the stream.
    """
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for t in range(count):
        a, b, c, d = philox4x32(_W(c0[t]), _W(c1[t]), _W(c2[t]), k2, k0, k1)
        w0[t], w1[t], w2[t], w3[t] = _U(a), _U(b), _U(c), _U(d)


@loop
def _pairs(radii: Any, angles: Any, first: Any, second: Any, count: Any) -> None:
    for t in range(count):
        r = _radius(radii[t])
        a, b = _directions(angles[t])
        first[t], second[t] = r * a, r * b


@loop
def draw_normals(planes: Any, words: Any, count: Any) -> None:
    """Fill four planes with the normals of words, ``(4, block)`` in float32 and uint32."""
    # Two pairs a turn need more registers than there are.
    _pairs(words[0], words[1], planes[0], planes[1], count)
    _pairs(words[2], words[3], planes[2], planes[3], count)


@loop
def _draw_others(planes: Any, words: Any, count: Any, kind: Any, scale: Any) -> None:
    for lane in range(4):
        word, number = words[lane], planes[lane]
        if kind == 1:
            for t in range(count):
                number[t] = _F(_I(word[t] >> _U(8))) * _TO_UNIT
        elif kind == 2:
            for t in range(count):
                number[t] = _F(_I(word[t])) * scale
        else:
            for t in range(count):
                number[t] = _ONE - _F(_I((word[t] >> _U(31)) << _U(1)))


@loop
def _store(row: Any, planes: Any, start: Any, count: Any, quad: Any, skipped: Any) -> None:
    """Weave `count` blocks from `start` on into a row whose first block is number zero."""
    size, done = row.size, 0
    while done < count:
        at = 4 * (quad + done) - skipped
        if done + 8 <= count and at >= 0 and at + 32 <= size:
            _weave_eight(row, at, planes, start + done)
            done += 8
            continue
        for lane in range(max(0, -at), min(4, size - at)):
            row[at + lane] = planes[lane * TILE + start + done]
        done += 1


@loop
def fill_flat(
    numbers: Any, shape: Any, strides: Any, start: Any, key: Any, kind: Any, scale: Any
) -> None:
    """Fill rows of memory with the numbers of layers and paths, in the order of the rows.

    Parameters
    ----------
    numbers : ndarray
        All of the memory, flat, in float32.
    shape, strides : tuple of int
        Of axes (layer, path, entry), the strides of the first two; entries are neighbours.
    start : tuple of int
        First layer, path and entry.
    key : tuple of uint64
        Of the stream.
    kind : int
        Place in `limits.kernels.philox.KINDS`.
    scale : float32
        Factor of centred uniforms.
    """
    layers, paths, size = shape
    first, skipped = start[2] // 4, start[2] % 4
    quads = (skipped + size + 3) // 4
    words, planes = np.empty((4, TILE), _U), np.empty((4, TILE), _F)
    flat = planes.reshape(4 * TILE)
    c0, c1, c2 = np.zeros(TILE, _U), np.zeros(TILE, _U), np.zeros(TILE, _U)
    # Rows that follow on each other are stored as one.
    joined = skipped == 0 and size % 4 == 0 and strides[1] == size and strides[0] == paths * size
    layer, path, quad = 0, 0, 0
    while layer < layers:
        begin_layer, begin_path, begin_quad, count = layer, path, quad, 0
        while count < TILE and layer < layers:
            n = min(TILE - count, quads - quad)
            for t in range(n):
                c0[count + t] = _U(first + quad + t)
                c1[count + t] = _U(start[0] + layer)
                c2[count + t] = _U(start[1] + path)
            count, quad = count + n, quad + n
            # Carried by hand: a division takes as long as forty numbers.
            if quad == quads:
                path, quad = path + 1, 0
            if path == paths:
                layer, path = layer + 1, 0
        # Whole vectors only: a loop's rest costs as much as four of them.
        whole = min(TILE, (count + 15) // 16 * 16)
        draw_words(words, whole, c0, c1, c2, key[0], key[1], key[2])
        if kind == 0:
            draw_normals(planes, words, whole)
        else:
            _draw_others(planes, words, whole, kind, scale)
        if joined:
            at = (begin_layer * paths + begin_path) * size + 4 * begin_quad
            _store(numbers[at : at + 4 * count], flat, ZERO, count, ZERO, ZERO)
            continue
        done = 0
        while done < count:
            n = min(count - done, quads - begin_quad)
            at = begin_layer * strides[0] + begin_path * strides[1]
            _store(numbers[at : at + size], flat, done, n, begin_quad, skipped)
            done, begin_path, begin_quad = done + n, begin_path + 1, 0
            if begin_path == paths:
                begin_layer, begin_path = begin_layer + 1, 0
