"""Exponents of mean errors, which are vectors, and what leaving groups out says of their noise."""

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def jackknife(groups: Floats, estimate: Callable[[Floats], float]) -> tuple[float, float]:
    """Return an estimate from the mean of all groups and its standard error; groups come last."""
    n, total = groups.shape[-1], groups.sum(axis=-1)
    left = np.array([estimate((total - groups[..., i]) / (n - 1)) for i in range(n)])
    error = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    return estimate(total / n), float(error)


def exponent(means: Floats, design: Callable[[float], Floats], span: tuple[float, float]) -> float:
    """Return the exponent p at which means ``(shape, output)`` are nearest to design(p) times any.

    The coefficients of the columns are vectors, one number for every output. At the end of the
    span there is no optimum: NaN.
    """

    def left(p: float) -> float:
        basis, _ = np.linalg.qr(design(p))
        return float(((means - basis @ (basis.T @ means)) ** 2).sum())

    found = scipy.optimize.minimize_scalar(left, bounds=span, method="bounded")
    inside = span[0] + 1e-3 < found.x < span[1] - 1e-3
    return float(found.x) if inside else np.nan


def common_square(parts: Floats) -> tuple[float, float]:
    """Return the mean square of what vectors ``(output, group)`` share, and its standard error.

    Products of different groups only: their noise is independent, and the mean may be negative.
    """

    def square(kept: Floats) -> float:
        n = kept.shape[-1]
        both = (kept.sum(axis=-1) ** 2 - (kept**2).sum(axis=-1)) / (n * (n - 1))
        return float(both.mean())

    n = parts.shape[-1]
    left = np.array([square(np.delete(parts, i, axis=-1)) for i in range(n)])
    return square(parts), float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))


def roots(square: float, error: float, quantile: float) -> tuple[float, float, float]:
    """Return the root of a square and the ends of its interval, zero below zero."""
    value, low, high = (square, square - quantile * error, square + quantile * error)
    return max(value, 0.0) ** 0.5, max(low, 0.0) ** 0.5, max(high, 0.0) ** 0.5
