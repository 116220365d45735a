"""Activations for loops of numba: no branch and no call, so that they are vectorised.

Within 6 units in the last place, in float32 and float64, where the result is a normal number.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from limits.kernels.jit import bitcast, inlined, loop
from limits.kernels.pointwise.polynomials import (
    EXPONENTIAL_32,
    EXPONENTIAL_64,
    LOG_2_32,
    LOG_2_64,
    TAIL_32,
    TAIL_64,
)

__all__ = ["activate", "differentiate"]

_F, _D, _I, _L = np.float32, np.float64, np.int32, np.int64
_to_bits_32 = bitcast(ir.IntType(32), types.int32, types.float32)
_of_bits_32 = bitcast(ir.FloatType(), types.float32, types.int32)
_to_bits_64 = bitcast(ir.IntType(64), types.int64, types.float64)
_of_bits_64 = bitcast(ir.DoubleType(), types.float64, types.int64)

# Adding it rounds to an integer, which then stands in the low bits.
_ROUND_32, _ROUND_64 = _F(1.5 * 2**23), _D(1.5 * 2**52)
_ROUND_BITS_32, _ROUND_BITS_64 = _I(0x4B400000), _L(0x4338000000000000)
_PER_LOG_2_32, _PER_LOG_2_64 = _F(1.4426950408889634), _D(1.4426950408889634)
_HIGH_32, _LOW_32 = (_F(each) for each in LOG_2_32)
_HIGH_64, _LOW_64 = (_D(each) for each in LOG_2_64)
# A square of these bits is exact.
_HALF_BITS_32, _HALF_BITS_64 = _I(-(2**12)), _L(-(2**27))
_E0, _E1, _E2, _E3, _E4 = (_F(each) for each in EXPONENTIAL_32)
_D0, _D1, _D2, _D3, _D4, _D5, _D6, _D7, _D8, _D9 = (_D(each) for each in EXPONENTIAL_64)
_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9 = (_F(each) for each in TAIL_32)
(
    _U0, _U1, _U2, _U3, _U4, _U5, _U6, _U7, _U8, _U9, _U10, _U11,
    _U12, _U13, _U14, _U15, _U16, _U17, _U18, _U19, _U20, _U21, _U22,
) = (_D(each) for each in TAIL_64)  # fmt: skip
_LARGEST_32, _LARGEST_64 = _F(13), _D(37.5)
"""Beyond, Phi(-a) is zero, as far as normal numbers go."""

_DENSITY = _D(0.3989422804014327)


@inlined
def _power_32(high: Any, low: Any) -> Any:
    """Return 2^n and e^r - 1 of e^(high + low) = 2^n e^r."""
    shifted = high * _PER_LOG_2_32 + _ROUND_32
    n = shifted - _ROUND_32
    r = ((high - n * _HIGH_32) - n * _LOW_32) + low
    p = r + r * r * ((((r * _E4 + _E3) * r + _E2) * r + _E1) * r + _E0)
    exponent = _I(_to_bits_32(shifted) - _ROUND_BITS_32) + _I(127)
    return _of_bits_32(_I(exponent << _I(23))), p


@inlined
def _power_64(high: Any, low: Any) -> Any:
    shifted = high * _PER_LOG_2_64 + _ROUND_64
    n = shifted - _ROUND_64
    r = ((high - n * _HIGH_64) - n * _LOW_64) + low
    p = ((((r * _D9 + _D8) * r + _D7) * r + _D6) * r + _D5) * r + _D4
    p = r + r * r * ((((p * r + _D3) * r + _D2) * r + _D1) * r + _D0)
    exponent = _to_bits_64(shifted) - _ROUND_BITS_64 + _L(1023)
    return _of_bits_64(exponent << _L(52)), p


def _tanh_32(x: Any) -> Any:
    y = _F(-2) * abs(x)
    power, p = _power_32(_F(-20) if y < _F(-20) else y, _F(0))
    t = power * p + (power - _F(1))
    size = -t / (t + _F(2))
    return -size if x < _F(0) else size


def _tanh_64(x: Any) -> Any:
    y = _D(-2) * abs(x)
    power, p = _power_64(_D(-40) if y < _D(-40) else y, _D(0))
    t = power * p + (power - _D(1))
    size = -t / (t + _D(2))
    return -size if x < _D(0) else size


def _gelu_32(x: Any) -> Any:
    a = abs(x)
    far = a > _LARGEST_32
    a = _LARGEST_32 if far else a
    high = _of_bits_32(_to_bits_32(a) & _HALF_BITS_32)
    low = (a - high) * (a + high)
    power, p = _power_32(_F(-0.5) * high * high, _F(-0.5) * low)
    u = _F(1) / (a + _F(4))
    t = (a - _F(4)) * u
    w = ((((t * _T9 + _T8) * t + _T7) * t + _T6) * t + _T5) * t + _T4
    w = u * ((((w * t + _T3) * t + _T2) * t + _T1) * t + _T0)
    tail = power * (w + w * p)
    tail = _F(0) if far else tail
    return x * (tail if x < _F(0) else _F(1) - tail)


@inlined
def _normal_64(x: Any) -> Any:
    """Return Phi(x) and e^(-x^2/2)."""
    a = abs(x)
    far = a > _LARGEST_64
    a = _LARGEST_64 if far else a
    high = _of_bits_64(_to_bits_64(a) & _HALF_BITS_64)
    low = (a - high) * (a + high)
    power, p = _power_64(_D(-0.5) * high * high, _D(-0.5) * low)
    u = _D(1) / (a + _D(4))
    t = (a - _D(4)) * u
    w = ((((t * _U22 + _U21) * t + _U20) * t + _U19) * t + _U18) * t + _U17
    w = ((((w * t + _U16) * t + _U15) * t + _U14) * t + _U13) * t + _U12
    w = ((((w * t + _U11) * t + _U10) * t + _U9) * t + _U8) * t + _U7
    w = ((((w * t + _U6) * t + _U5) * t + _U4) * t + _U3) * t + _U2
    w = u * ((w * t + _U1) * t + _U0)
    tail = power * (w + w * p)
    tail = _D(0) if far else tail
    bell = _D(0) if far else power + power * p
    return (tail if x < _D(0) else _D(1) - tail), bell


def _gelu_64(x: Any) -> Any:
    distribution, _ = _normal_64(x)
    return x * distribution


def _tanh(x: Any) -> Any:
    """Stand for the function of the argument's precision."""


def _gelu(x: Any) -> Any:
    """Stand for the function of the argument's precision."""


@overload(_tanh, inline="always")
def _choose_tanh(x: Any) -> Any:
    return _tanh_32 if x == types.float32 else _tanh_64


@overload(_gelu, inline="always")
def _choose_gelu(x: Any) -> Any:
    return _gelu_32 if x == types.float32 else _gelu_64


@loop
def activate(values: Any, states: Any, count: Any, code: Any) -> None:
    """Write s(h) of the first `count` states, flat arrays of one dtype.

    Parameters
    ----------
    code : int
        Place in `limits.kernels.pointwise.polynomials.ACTIVATION_CODES`.
    """
    zero = states.dtype.type(0)
    if code == 0:
        for i in range(count):
            values[i] = states[i]
    elif code == 1:
        for i in range(count):
            values[i] = zero if states[i] < zero else states[i]
    elif code == 2:
        for i in range(count):
            values[i] = _tanh(states[i])
    else:
        for i in range(count):
            values[i] = _gelu(states[i])


@loop
def differentiate(slopes: Any, states: Any, count: Any, code: Any) -> None:
    """Write s'(h) of the first `count` states, computed in float64 and rounded once.

    Parameters
    ----------
    code : int
        As for `activate`.
    """
    kind = slopes.dtype.type
    if code == 0:
        for i in range(count):
            slopes[i] = kind(1)
    elif code == 1:
        for i in range(count):
            slopes[i] = kind(1) if states[i] > 0 else kind(0)
    elif code == 2:
        for i in range(count):
            t = _tanh(_D(states[i]))
            slopes[i] = kind(_D(1) - t * t)
    else:
        for i in range(count):
            x = _D(states[i])
            distribution, bell = _normal_64(x)
            slopes[i] = kind(distribution + x * bell * _DENSITY)
