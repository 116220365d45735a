"""The normals that torch draws on a CPU, the same in every bit, several numbers at a time.

Most of a normal of torch is its random word: the Mersenne Twister is stepped word by word, and
every word costs five times the logarithm, root, sine and cosine that follow. Here whole states
of 624 words are twisted, tempered and transformed in loops that a compiler vectorises. Needs
numba (``pip install "resnet-limits[fast]"``).

References
----------
Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998); Box and Muller, Ann. Math.
Stat. 29 (1958); Moshier, Cephes Mathematical Library: the polynomials of logarithm, sine, cosine.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from limits.compiled.mersenne import WORDS
from limits.kernels.jit import loop

__all__ = ["fill_normals"]

_SHIFT = 397
_HALF = 8
"""A group of sixteen numbers is made of eight radii and eight angles."""

_ALIGNMENT = 4

_F, _I, _U = np.float32, np.int32, np.uint32
_instruction: Any = intrinsic
_ROOT_HALF = _F(0.707106781186547524)
_TWO_PI = _F(6.283185307179586)


@_instruction
def _fused(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once: where torch's compiler fuses, bits depend on it."""

    def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), build


def _converting(convert: str, kind: ir.Type, result: Any, number: Any) -> Any:
    """Return an instruction that turns one number into another."""

    @_instruction
    def converted(context: Any, given: Any) -> Any:
        def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return getattr(builder, convert)(args[0], kind)

        return result(number), build

    return converted


_bits = _converting("bitcast", ir.IntType(32), types.int32, types.float32)
_number = _converting("bitcast", ir.FloatType(), types.float32, types.int32)
_truncated = _converting("fptosi", ir.IntType(32), types.int32, types.float32)


@_instruction
def _copy_eight(context: Any, target: Any, start: Any, source: Any, first: Any) -> Any:
    """Copy eight consecutive numbers: a loop of eight is unrolled before it is vectorised."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        eight = ir.VectorType(ir.FloatType(), _HALF).as_pointer()
        arrays = (signature.args[0], args[0], args[1]), (signature.args[2], args[2], args[3])
        into, out_of = (
            builder.bitcast(
                builder.gep(context.make_array(kind)(context, builder, array).data, [index]), eight
            )
            for kind, array, index in arrays
        )
        # Rows of a tensor begin where they like.
        builder.store(builder.load(out_of, align=_ALIGNMENT), into, align=_ALIGNMENT)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), build


@njit(inline="always")
def _twisted(word: Any, following: Any) -> Any:
    joined = (word & _U(0x80000000)) | (following & _U(0x7FFFFFFF))
    return (joined >> _U(1)) ^ ((_U(0) - (following & _U(1))) & _U(0x9908B0DF))


@loop
def _twist(state: Any) -> None:
    # Two loops, because the second reads what the first wrote.
    for i in range(WORDS - _SHIFT):
        state[i] = state[i + _SHIFT] ^ _twisted(state[i], state[i + 1])
    for i in range(WORDS - _SHIFT, WORDS - 1):
        state[i] = state[i - (WORDS - _SHIFT)] ^ _twisted(state[i], state[i + 1])
    state[WORDS - 1] = state[_SHIFT - 1] ^ _twisted(state[WORDS - 1], state[0])


@loop
def _temper(state: Any, uniforms: Any) -> None:
    for i in range(WORDS):
        word = state[i]
        word ^= word >> _U(11)
        word ^= (word << _U(7)) & _U(0x9D2C5680)
        word ^= (word << _U(15)) & _U(0xEFC60000)
        word ^= word >> _U(18)
        uniforms[i] = _F(_I(word & _U(0xFFFFFF))) * _F(2.0**-24)


@njit(inline="always")
def _logarithm(x: Any) -> Any:
    bits = _bits(x)
    exponent = _F((bits >> _I(23)) - _I(0x7F)) + _F(1)
    x = _number((bits & _I(0x007FFFFF)) | _I(0x3F000000))
    small = x < _ROOT_HALF
    extra = x if small else _F(0)
    exponent -= _F(1) if small else _F(0)
    x = (x - _F(1)) + extra
    square = x * x
    y = _F(7.0376836292e-2)
    y = _fused(y, x, _F(-1.1514610310e-1))
    y = _fused(y, x, _F(1.1676998740e-1))
    y = _fused(y, x, _F(-1.2420140846e-1))
    y = _fused(y, x, _F(1.4249322787e-1))
    y = _fused(y, x, _F(-1.6668057665e-1))
    y = _fused(y, x, _F(2.0000714765e-1))
    y = _fused(y, x, _F(-2.4999993993e-1))
    y = _fused(y, x, _F(3.3333331174e-1))
    y = _fused(y * x, square, exponent * _F(-2.12194440e-4))
    y = _fused(square, _F(-0.5), y)
    return _fused(exponent, _F(0.693359375), x + y)


@njit(inline="always")
def _sine_cosine(x: Any) -> Any:
    octant = (_truncated(x * _F(1.27323954473516)) + _I(1)) & _I(-2)
    y = _F(octant)
    # pi / 4 in three pieces, so that the reduction loses nothing.
    x = _fused(y, _F(-0.78515625), x)
    x = _fused(y, _F(-2.4187564849853515625e-4), x)
    x = _fused(y, _F(-3.77489497744594108e-8), x)
    square = x * x
    even = _F(2.443315711809948e-5)
    even = _fused(even, square, _F(-1.388731625493765e-3))
    even = _fused(even, square, _F(4.166664568298827e-2))
    even = _fused(even * square, square, square * _F(-0.5)) + _F(1)
    odd = _F(-1.9515295891e-4)
    odd = _fused(odd, square, _F(8.3321608736e-3))
    odd = _fused(odd, square, _F(-1.6666654611e-1))
    odd = _fused(odd * square, x, x)
    straight = (octant & _I(2)) == _I(0)
    sine, cosine = (odd, even) if straight else (even, odd)
    sine_sign = (octant & _I(4)) << _I(29)
    cosine_sign = (~(octant - _I(2)) & _I(4)) << _I(29)
    return _number(_bits(sine) ^ sine_sign), _number(_bits(cosine) ^ cosine_sign)


@loop
def _transform(radii: Any, angles: Any, first: Any, second: Any) -> None:
    for i in range(radii.size):
        radius = np.sqrt(_F(-2) * _logarithm(_F(1) - radii[i]))
        sine, cosine = _sine_cosine(_TWO_PI * angles[i])
        first[i] = radius * cosine
        second[i] = radius * sine


@loop
def fill_normals(numbers: Any, states: Any, size: int) -> None:
    """Fill an array with the standard normals of several generators, without holding the GIL.

    Parameters
    ----------
    numbers : ndarray
        Flat, of type float32; its size is a multiple of sixteen.
    states : ndarray
        States of the generators before their next word, ``(generator, 624)``, of type uint32;
        they are changed.
    size : int
        How many numbers each generator gives, a multiple of sixteen; the last gives what is left.

    Examples
    --------
    >>> import torch
    >>> theirs = torch.Generator().manual_seed(1)
    >>> state = theirs.get_state()[24 : 24 + 8 * WORDS].view(torch.int32)[::2].numpy()
    >>> ours = np.empty(2**16, np.float32)
    >>> fill_normals(ours, state.astype(np.uint32)[None], ours.size)
    >>> bool((ours == torch.empty(2**16).normal_(generator=theirs).numpy()).all())
    True
    """
    uniforms = np.empty(WORDS, _F)
    radii, angles = np.empty(WORDS // 2, _F), np.empty(WORDS // 2, _F)
    first, second = np.empty(WORDS // 2, _F), np.empty(WORDS // 2, _F)
    groups = WORDS // (2 * _HALF)
    for which in range(states.shape[0]):
        state = states[which]
        part = numbers[which * size : min((which + 1) * size, numbers.size)]
        for start in range(0, part.size, WORDS):
            _twist(state)
            _temper(state, uniforms)
            for group in range(groups):
                _copy_eight(radii, _HALF * group, uniforms, 2 * _HALF * group)
                _copy_eight(angles, _HALF * group, uniforms, 2 * _HALF * group + _HALF)
            _transform(radii, angles, first, second)
            for group in range(min(groups, (part.size - start) // (2 * _HALF))):
                _copy_eight(part, start + 2 * _HALF * group, first, _HALF * group)
                _copy_eight(part, start + 2 * _HALF * group + _HALF, second, _HALF * group)
