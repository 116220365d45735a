"""Residual scales, critical exponents and the regimes they separate."""

import math

import torch
from torch import Tensor

from limits._typing import Regime
from limits.exceptions import LimitsError

__all__ = ["check_representable", "critical_beta", "regime", "residual_scale"]


def critical_beta(index: float) -> float:
    """Return the exponent with a non-trivial limit, max(index, 1/2).

    Parameters
    ----------
    index : float
        Index gamma of the weight path: 1/2 i.i.d., H fractional, 1 smooth.

    References
    ----------
    Marion et al. (2025), Theorems 4 and 9 and Figure 7.

    Examples
    --------
    >>> critical_beta(0.5), critical_beta(1.0), critical_beta(0.2)
    (0.5, 1.0, 0.5)
    """
    return max(index, 0.5)


def residual_scale(depth: int, beta: float | Tensor, coefficient: float = 1.0) -> float | Tensor:
    """Return alpha_L = c L^-beta, a number or one value per input.

    Raises
    ------
    LimitsError
        If it is beyond what a float can hold.

    Examples
    --------
    >>> residual_scale(100, 0.5)
    0.1
    """
    if isinstance(beta, Tensor):
        scale = coefficient * torch.exp(-beta.to(torch.float64) * math.log(depth))
        largest = float(scale.detach().abs().max())
    else:
        try:
            scale = coefficient * float(depth) ** -beta
        except OverflowError:
            scale = math.inf
        largest = abs(scale)
    if not math.isfinite(largest):
        raise LimitsError(
            f"the residual scale c L^-beta is beyond what a float can hold: c={coefficient:g}, "
            f"L={depth}, beta={beta}. Use a larger beta; the critical exponents lie between 0.5 "
            "and 1."
        )
    return scale


def check_representable(factor: float | Tensor, dtype: torch.dtype) -> None:
    """Raise unless what multiplies states is within the range of their precision.

    Raises
    ------
    LimitsError
        With both numbers. Use a smaller coefficient, a larger beta, or float64.

    Examples
    --------
    >>> check_representable(2.0, torch.float32)
    """
    sizes = torch.as_tensor(factor, dtype=torch.float64, device="cpu").detach().abs()
    largest, most = float(sizes.max()), torch.finfo(dtype).max
    if not largest <= most:
        raise LimitsError(
            f"a layer multiplies by {largest:.3g}, beyond the {most:.3g} that {dtype} can hold. "
            "Use a smaller coefficient, a larger beta, or dtype=torch.float64."
        )


def regime(beta: float, index: float) -> Regime:
    """Return what depth does at exponent `beta`: ``identity``, ``limit`` or ``explosion``.

    Exponents within 1e-9 of the critical one count as critical, so that a `beta` computed in
    floating point is not pushed off the border by rounding.

    Raises
    ------
    LimitsError
        If `beta` is not finite.

    Examples
    --------
    >>> regime(0.25, 0.5), regime(0.5, 0.5), regime(1.0, 0.5)
    ('explosion', 'limit', 'identity')
    """
    if not math.isfinite(beta):
        raise LimitsError(f"beta must be a finite number, found {beta}. Use for example 0.5.")
    critical = critical_beta(index)
    if math.isclose(beta, critical, abs_tol=1e-9):
        return "limit"
    return "identity" if beta > critical else "explosion"
