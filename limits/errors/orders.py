"""Convergence orders with intervals: paths are resampled, never points."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from limits._typing import Array
from limits.checks import check_power, check_seed, checked_array
from limits.estimates import Order
from limits.exceptions import NonFiniteStateError, ShapeError
from limits.scalars import plain_numbers

__all__ = ["fit_order", "fit_weak_order"]

_RESAMPLES = 2000
_MOST_GROUPS = 1000
_NORMAL = 1.959963984540054
"""97.5 % point of the normal law."""

_LEAST_FREEDOM = 4.0
"""Below, a variance is known to no better than 70 %."""


@plain_numbers
def fit_order(
    path_errors: ArrayLike | Tensor, *, depths: Sequence[int], p: int = 2, seed: int
) -> Order:
    """Fit error ~ C L^-p by least squares in log log, with a 95 % interval.

    Errors at different depths share their paths, so the bootstrap draws whole paths, the same
    ones at every depth. Percentiles are moved away from the fit by the factor of Student's law with
    2 n / (kurtosis - 1) degrees of freedom, kurtosis that of what a path moves the slope by: where
    few paths decide, their spread is not known well. Below four there is no interval (it is
    infinite): draw more paths, or take p = 1.

    Parameters
    ----------
    path_errors : array_like
        |h_L - H_1| of every path, shape ``(depth, path)``.
    depths : sequence of int
        The depths of the rows; at least three.
    p : {1, 2}
        The norm over paths, (mean of error^p)^(1/p).
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Order
        With the depths it was fitted on.

    Raises
    ------
    ShapeError
        If there are fewer than three depths or two paths, or shapes disagree.
    NonFiniteStateError
        If an error is NaN, infinite, negative, or zero on every path of a depth.

    References
    ----------
    Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), Section 13.3 (percentiles).
    Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
    Bulletin 2 (1946) (degrees of freedom).

    Examples
    --------
    >>> errors = np.outer([1.0, 0.5, 0.25], np.linspace(1, 2, 10))
    >>> print(fit_order(errors, depths=(8, 16, 32), seed=0))
    order 1.000 [1.000, 1.000], L = 8-32
    """
    check_power(p)
    errors = _checked(path_errors, depths)
    if (errors < 0).any():
        raise NonFiniteStateError(
            f"path errors must not be negative, found {float(errors.min()):g}. Pass |h_L - H_1|."
        )
    # In units of the largest, so that powers neither overflow nor vanish.
    unit = float(errors.max()) or 1.0
    return _fit((errors / unit) ** p, depths, lambda means: means ** (1 / p), seed, unit)


@plain_numbers
def fit_weak_order(differences: ArrayLike | Tensor, *, depths: Sequence[int], seed: int) -> Order:
    """Fit |mean difference| ~ C L^-p; signed differences of shape ``(depth, path)``."""
    values = _checked(differences, depths)
    unit = float(np.abs(values).max()) or 1.0
    return _fit(values / unit, depths, np.abs, seed, unit)


def _checked(values: ArrayLike | Tensor, depths: Sequence[int]) -> Array:
    _check_depths(depths)
    array = checked_array(values, "path errors of shape (depth, path)")
    if array.ndim != 2 or array.shape[0] != len(depths) or len(depths) < 3 or array.shape[1] < 2:
        raise ShapeError(
            f"an order needs errors of shape (depth, path) on at least three depths and two "
            f"paths, found shape {array.shape} for depths {tuple(depths)}. Add depths or paths."
        )
    if not np.isfinite(array).all():
        raise NonFiniteStateError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} path errors are NaN or infinite. "
            "An exploding network has no order; use the critical exponent."
        )
    return array


def _check_depths(depths: Sequence[int]) -> None:
    listed = list(depths) if isinstance(depths, Sequence) else [depths]
    whole = all(isinstance(each, int | np.integer) and each > 0 for each in listed)
    if not whole or len(set(listed)) != len(listed):
        raise ShapeError(
            f"depths must be different positive integers, found {depths!r}. Use for example "
            "depths=(8, 16, 32)."
        )


def _fit(
    values: Array,
    depths: Sequence[int],
    summary: Callable[[Array], Array],
    seed: int,
    unit: float,
) -> Order:
    logs: Array = np.log(np.asarray(depths, dtype=np.float64))
    centred = logs - logs.mean()
    errors = summary(values.mean(axis=1))
    if (errors <= 0).all():
        raise NonFiniteStateError(
            f"the error is exactly zero at every depth, {tuple(depths)}, so there is no order: "
            "the network equals its reference. Use inputs that it moves, and a coefficient other "
            "than 0."
        )
    if (errors <= 0).any():
        zero = [depth for depth, error in zip(depths, errors, strict=True) if error <= 0]
        raise NonFiniteStateError(
            f"the error is exactly zero at depths {zero}, so it has no logarithm. Leave out the "
            "depth of the reference."
        )
    slope = -centred @ np.log(errors) / (centred @ centred)
    constant = float(np.exp(np.log(errors).mean() + math.log(unit) + slope * logs.mean()))
    resampled = np.log(np.maximum(summary(_bootstrap_means(values, seed)), np.finfo(float).tiny))
    slopes = -resampled @ centred / (centred @ centred)
    wider = _widening(centred @ (values / values.mean(axis=1, keepdims=True)))
    low, high = slope + wider * (np.percentile(slopes, [2.5, 97.5]) - slope)
    return Order(float(slope), float(low), float(high), constant, tuple(depths))


def _widening(influences: Array) -> float:
    """Return Student's quantile over the normal one, at the freedom that the paths leave.

    A slope moves by the mean of `influences`, whose variance is known from n paths with a relative
    variance of (kurtosis - 1) / n. That of a chi-square of 2 n / (kurtosis - 1) degrees of freedom
    is the same.
    """
    moved = influences - influences.mean()
    variance = float((moved**2).mean())
    # Rounding alone: all paths have the same order.
    if variance < 1e-28:
        return 1.0
    kurtosis = float((moved**4).mean()) / variance**2
    freedom = 2 * moved.size / max(kurtosis - 1, 1e-9)
    if freedom < _LEAST_FREEDOM:
        return math.inf
    return _student(freedom) / _NORMAL


def _student(freedom: float) -> float:
    """Return the 97.5 % point of Student's law, within 4e-4 from four degrees of freedom on.

    Abramowitz and Stegun, *Handbook of Mathematical Functions* (1964), 26.7.5. Studies run without
    scipy.
    """
    z = _NORMAL
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _bootstrap_means(values: Array, seed: int) -> Array:
    """Means over resampled paths, shape ``(resample, depth)``.

    Beyond a thousand paths groups of consecutive paths are resampled, whose sums are as good
    as independent draws and a thousand of which leave no visible error in a percentile.
    """
    n = values.shape[1]
    groups = min(n, _MOST_GROUPS)
    starts = np.arange(groups) * n // groups
    sums = np.add.reduceat(values, starts, axis=1)
    sizes = np.diff(np.append(starts, n)).astype(np.float64)
    rng = np.random.default_rng(check_seed(seed))
    # What a multinomial law counts, drawn group by group, which takes a quarter of the time.
    drawn = rng.integers(groups, size=(_RESAMPLES, groups))
    drawn += groups * np.arange(_RESAMPLES)[:, None]
    flat = np.bincount(drawn.ravel(), minlength=_RESAMPLES * groups)
    counts: Array = flat.reshape(_RESAMPLES, groups).astype(np.float64)
    return (counts @ sums.T) / (counts @ sizes)[:, None]
