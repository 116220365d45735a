"""Activations for kernels of Triton: the steps of `limits.kernels.pointwise.cpu` on tiles."""

# Triton gives types a meaning of its own: numbers stand for constants, tiles for anything.
# pyright: reportArgumentType=false, reportOperatorIssue=false

from typing import Any

import triton
import triton.language as tl

from limits.kernels.pointwise.polynomials import (
    EXPONENTIAL_32,
    EXPONENTIAL_64,
    LOG_2_32,
    LOG_2_64,
    TAIL_32,
    TAIL_64,
)

__all__ = ["tile_activated"]


def _constants(values: tuple[float, ...]) -> Any:
    return tuple(tl.constexpr(each) for each in values)


_E0, _E1, _E2, _E3, _E4 = _constants(EXPONENTIAL_32)
_D0, _D1, _D2, _D3, _D4, _D5, _D6, _D7, _D8, _D9 = _constants(EXPONENTIAL_64)
_HIGH_32, _LOW_32 = _constants(LOG_2_32)
_HIGH_64, _LOW_64 = _constants(LOG_2_64)
_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9 = _constants(TAIL_32)
(
    _U0, _U1, _U2, _U3, _U4, _U5, _U6, _U7, _U8, _U9, _U10, _U11,
    _U12, _U13, _U14, _U15, _U16, _U17, _U18, _U19, _U20, _U21, _U22,
) = _constants(TAIL_64)  # fmt: skip
_ROUND_32, _ROUND_64 = tl.constexpr(1.5 * 2**23), tl.constexpr(1.5 * 2**52)
_ROUND_BITS_32 = tl.constexpr(0x4B400000)
_ROUND_BITS_64 = tl.constexpr(0x4338000000000000)
_PER_LOG_2 = tl.constexpr(1.4426950408889634)


# What is double is made of tiles, since constants beside them take their precision.
@triton.jit
def _tile_power(high, low):
    """Return 2^n and e^r - 1 of e^(high + low) = 2^n e^r."""
    if high.dtype == tl.float32:
        shifted = high * _PER_LOG_2 + _ROUND_32
        n = shifted - _ROUND_32
        r = ((high - n * _HIGH_32) - n * _LOW_32) + low
        p = r + r * r * ((((r * _E4 + _E3) * r + _E2) * r + _E1) * r + _E0)
        exponent = shifted.to(tl.int32, bitcast=True) - _ROUND_BITS_32 + 127
        power = (exponent << 23).to(tl.float32, bitcast=True)
    else:
        shifted = high * _PER_LOG_2 + _ROUND_64
        n = shifted - _ROUND_64
        r = ((high - n * _HIGH_64) - n * _LOW_64) + low
        p = ((((r * _D9 + _D8) * r + _D7) * r + _D6) * r + _D5) * r + _D4
        p = r + r * r * ((((p * r + _D3) * r + _D2) * r + _D1) * r + _D0)
        exponent = shifted.to(tl.int64, bitcast=True) - _ROUND_BITS_64 + 1023
        power = (exponent << 52).to(tl.float64, bitcast=True)
    return power, p


@triton.jit
def _tile_tanh(x):
    y = tl.abs(x) * -2.0
    # Far enough for both precisions, and not so far that powers of two end.
    y = tl.where(y < -40.0, -40.0, y)
    power, p = _tile_power(y, y - y)
    t = power * p + (power - 1.0)
    size = -t / (t + 2.0)
    return tl.where(x < 0, -size, size)


@triton.jit
def _tile_tail(a):
    """Return Phi(-a) for a >= 0."""
    if a.dtype == tl.float32:
        largest = a * 0 + 13.0
        far = a > 13.0
        a = tl.where(far, largest, a)
        high = (a.to(tl.int32, bitcast=True) & -4096).to(tl.float32, bitcast=True)
    else:
        largest = a * 0 + 37.5
        far = a > 37.5
        a = tl.where(far, largest, a)
        high = (a.to(tl.int64, bitcast=True) & -134217728).to(tl.float64, bitcast=True)
    low = (a - high) * (a + high)
    power, p = _tile_power(high * -0.5 * high, low * -0.5)
    u = 1.0 / (a + 4.0)
    t = (a - 4.0) * u
    if a.dtype == tl.float32:
        w = ((((t * _T9 + _T8) * t + _T7) * t + _T6) * t + _T5) * t + _T4
        w = u * ((((w * t + _T3) * t + _T2) * t + _T1) * t + _T0)
    else:
        w = ((((t * _U22 + _U21) * t + _U20) * t + _U19) * t + _U18) * t + _U17
        w = ((((w * t + _U16) * t + _U15) * t + _U14) * t + _U13) * t + _U12
        w = ((((w * t + _U11) * t + _U10) * t + _U9) * t + _U8) * t + _U7
        w = ((((w * t + _U6) * t + _U5) * t + _U4) * t + _U3) * t + _U2
        w = u * ((w * t + _U1) * t + _U0)
    tail = power * (w + w * p)
    return tl.where(far, tail * 0, tail)


@triton.jit
def tile_activated(x, CODE: tl.constexpr):
    """Return s(x) of a tile in float32 or float64; `CODE` as in `ACTIVATION_CODES`."""
    if CODE == 0:
        value = x
    elif CODE == 1:
        value = tl.where(x < 0, x * 0, x)
    elif CODE == 2:
        value = _tile_tanh(x)
    else:
        tail = _tile_tail(tl.abs(x))
        value = x * tl.where(x < 0, tail, 1.0 - tail)
    return value
