"""The law of the estimated index where few entries leave nothing to resample."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from limits.user_models.weights.layer_sums import blocks_of, slope_over

__all__ = ["interval_by_law", "law_of_index"]

_SMALLEST, _LARGEST = 0.005, 1.995
_STEPS = 14


@lru_cache(maxsize=1024)
def law_of_index(hurst: float, depth: int) -> tuple[float, float]:
    """Return bias and standard deviation of the estimated index of one entry.

    Mean squares Q_n of second differences of a Gaussian path have the covariance
    2 sum_(k, l) c_nm(l - k)^2 / (K_n K_m), where c_nm is that of two differences and follows from
    the variogram |t|^2H, for 1 < H < 2 the generalised one. The index is half a slope s of log Q_n;
    its moments are those of the expansion to second order. Laws with other fourth cumulants
    change all Q_n alike to first order, and a slope does not see it.

    Parameters
    ----------
    hurst : float
        True index, between 0 and 2.
    depth : int
        Number of layers, at least 6.

    Examples
    --------
    >>> bias, spread = law_of_index(0.5, 512)
    >>> round(bias, 4), round(spread, 3)
    (-0.003, 0.035)
    """
    blocks = blocks_of(depth)
    slope = slope_over(blocks)
    # At 1 second differences of |t|^2 vanish; their ratios are continuous.
    hurst = hurst if abs(hurst - 1) > 1e-4 else 1 + 1e-4
    power = np.abs(np.arange(-depth - 1, depth + 2)).astype(float) ** (2 * hurst)
    counts = [depth + 1 - 2 * n for n in blocks]
    scale = [_cross(power, n, n, np.zeros(1, int), depth + 1)[0] for n in blocks]
    covariance = np.empty((len(blocks), len(blocks)))
    for i, n in enumerate(blocks):
        for j, m in enumerate(blocks[: i + 1]):
            lags = np.arange(1 - counts[i], counts[j])
            pairs = np.minimum(counts[j] - 1, counts[i] - 1 + lags) - np.maximum(0, lags) + 1
            shared = pairs @ _cross(power, n, m, lags, depth + 1) ** 2
            found = 2 * shared / (counts[i] * counts[j] * scale[i] * scale[j])
            covariance[i, j] = covariance[j, i] = found
    bias = -0.25 * slope @ np.diag(covariance)
    return float(bias), 0.5 * math.sqrt(max(slope @ covariance @ slope, 0.0))


def _cross(
    power: NDArray[np.float64], n: int, m: int, lags: NDArray[np.intp], origin: int
) -> NDArray[np.float64]:
    """Return the covariance of differences over n layers and, `lags` later, m, up to its sign."""
    total = np.zeros(len(lags))
    for p, u in ((0, 1), (n, -2), (2 * n, 1)):
        for q, v in ((0, 1), (m, -2), (2 * m, 1)):
            total -= 0.5 * u * v * power[origin + lags + q - p]
    return total


def interval_by_law(
    value: float, depth: int, *, entries: float, degrees: float = math.inf
) -> tuple[float, float]:
    """Return the indices at which an estimate is no surprise: a 95 % interval.

    Parameters
    ----------
    value : float
        The estimate.
    depth : int
        Number of layers.
    entries : float
        Independent entries, over which bias and variance are divided.
    degrees : float
        Degrees of freedom of `entries`, if that is estimated.
    """
    quantile = float(stats.t.ppf(0.975, degrees))

    def surprise(hurst: float, side: int) -> float:
        bias, spread = law_of_index(hurst, depth)
        return value - hurst - bias / entries - side * quantile * spread / math.sqrt(entries)

    # Where it lies beyond all indices, the estimate itself is the end of the interval.
    low = _crossing(lambda hurst: surprise(hurst, 1))
    high = _crossing(lambda hurst: surprise(hurst, -1))
    return min(low, value), max(high, value)


def _crossing(function: Callable[[float], float]) -> float:
    """Return where a function that falls crosses zero, or the end of the range beyond it."""
    low, high = _SMALLEST, _LARGEST
    if function(low) <= 0:
        return low
    if function(high) >= 0:
        return high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2
