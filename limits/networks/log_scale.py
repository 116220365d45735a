"""Exact bookkeeping of powers of two, so that no regime overflows.

A positively homogeneous network commutes with h -> 2^-e h. States are kept near one and the
exponents e added up; multiplying by a power of two rounds nothing, so the numbers are those
of the plain recursion wherever that one is finite.
"""

import math

import torch
from torch import Tensor

from limits._typing import Exponents, State
from limits.trajectory import norms_of

__all__ = ["LARGEST_EXPONENT", "logs_of", "lost_states", "rescaled", "rescaling_period", "restored"]

LARGEST_EXPONENT = {torch.float32: 100, torch.float64: 900}
"""Powers of two that a state may be divided by at once, with room for a layer's growth."""


def rescaling_period(scale: float, dtype: torch.dtype) -> int:
    """Return after how many layers states must be rescaled.

    A layer multiplies a state by at most 1 + 6 scale, six standard deviations of a Gaussian
    weight, but for events that never happen.
    """
    bits = math.log2(1 + 6 * abs(scale)) if math.isfinite(scale) else math.inf
    return max(1, min(64, int(LARGEST_EXPONENT[dtype] / max(bits, 1.0) / 2)))


def rescaled(h: State) -> tuple[State, Exponents]:
    """Return (2^-e h, e) with the largest entry of every state in [1/2, 1)."""
    with torch.no_grad():
        largest = LARGEST_EXPONENT[h.dtype]
        exponent = torch.frexp(h.abs().amax(dim=-1)).exponent.clamp(-largest, largest)
        factor = _power_of_two(-exponent, h.dtype)
    return h * factor.unsqueeze(-1), exponent


def restored(h: Tensor, exponents: Tensor) -> Tensor:
    """Return 2^e h, +-inf where that overflows and never NaN."""
    if not bool(exponents.any()):
        return h
    quarter = LARGEST_EXPONENT[h.dtype]
    if int(exponents.abs().max()) <= quarter:
        return h * _power_of_two(exponents, h.dtype).unsqueeze(-1)
    left = exponents.clamp(-4 * quarter, 4 * quarter)
    for _ in range(4):
        part = left.clamp(-quarter, quarter)
        h = h * _power_of_two(part, h.dtype).unsqueeze(-1)
        left = left - part
    return h


def _power_of_two(exponents: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 2^e from its bits, because library powers need not be exact."""
    if dtype == torch.float64:
        return (exponents.to(torch.int64) + 1023).bitwise_left_shift(52).view(torch.float64)
    return (exponents.to(torch.int32) + 127).bitwise_left_shift(23).view(torch.float32)


def logs_of(h: Tensor, exponents: Tensor) -> Tensor:
    """Return log|2^e h|, finite whatever the exponent."""
    return norms_of(h) + exponents.to(h.dtype) * math.log(2)


def lost_states(values: Tensor, log_norms: Tensor) -> Tensor | None:
    """Say which states, ``(path, input, 1)``, are to be computed again, None if none are.

    States in their true size that overflowed or vanished have lost the directions that relu depends
    on, and small states the entries that are yet smaller. Each answers for itself, so that no
    path's gradients depend on the paths beside it.
    """
    smallest = math.log(torch.finfo(values.dtype).tiny) / 2
    kept = torch.isfinite(values).all(dim=-1) & (log_norms > smallest)
    lost = ~kept.all(dim=0)
    return lost.unsqueeze(-1) if bool(lost.any()) else None
