"""Exact and asymptotic answers for fractional weights."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import check_count, check_hurst, checked_array
from limits.closed_forms.arguments import check_antipersistent, positive_array
from limits.closed_forms.independent import LogNormal
from limits.exceptions import LimitsError, ShapeError
from limits.scalars import plain_numbers

__all__ = [
    "fractional_autocovariance",
    "fractional_relu_border",
    "rough_drift",
    "rough_relu_law",
    "rough_relu_rates",
    "young_linear_error",
]

_TERMS = 2**20


@plain_numbers
def fractional_autocovariance(lags: ArrayLike, hurst: float) -> NDArray[np.float64]:
    """Return r(j) of fractional Gaussian noise of unit variance, accurate at large lags.

    For j >= 1 as j^2H / 2 (expm1(2H log1p(1/j)) + expm1(2H log1p(-1/j))): the textbook
    difference of powers loses five digits at j = 200.

    Parameters
    ----------
    lags : array_like
        Lags j, of either sign.
    hurst : float
        Hurst index H in (0, 1).

    References
    ----------
    Mandelbrot and Van Ness, "Fractional Brownian motions, fractional noises and applications",
    SIAM Review 10 (1968).

    Examples
    --------
    >>> fractional_autocovariance([0, 1], 0.5)
    array([1., 0.])
    """
    check_hurst(hurst)
    j = np.abs(checked_array(lags, "lags"))
    safe = np.where(j >= 1, j, 1.0)
    with np.errstate(divide="ignore"):
        below = np.expm1(2 * hurst * np.log1p(-1 / safe))
    above = np.expm1(2 * hurst * np.log1p(1 / safe))
    return np.where(j >= 1, safe ** (2 * hurst) / 2 * (above + below), 1.0)


@plain_numbers
def fractional_relu_border(hurst: float, shallow: int, deep: int) -> float:
    """Return the beta at which E|h_L - h_0|^2 of res-3 is the same at two depths.

    Where states have moved little, E|h_L - h_0|^2 / |h_0|^2 = L^(-2 beta) S(L) with
    S(L) = sum_{k,l} r(k - l) k(r(k - l)), r the correlation of the weights at a lag and
    k(x) = ((1 - x^2)^(1/2) + x (pi - arccos x)) / (2 pi). S grows like L^2H for H > 1/2 and like
    L below, but slowly so, and the border lies below max(H, 1/2) at any depth:
    log(S(L') / S(L)) / (2 log(L' / L)).

    Parameters
    ----------
    hurst : float
        Hurst index H of all weights.
    shallow, deep : int
        The two depths.

    Examples
    --------
    >>> fractional_relu_border(0.5, 250, 1000)
    0.5
    >>> round(fractional_relu_border(0.7, 250, 1000), 3)
    0.66
    """
    check_hurst(hurst)
    for each, name in ((shallow, "shallow"), (deep, "deep")):
        check_count(each, name)
    if deep <= shallow:
        raise ShapeError(
            f"a border needs two depths, deep larger than shallow, found shallow={shallow} and "
            f"deep={deep}. Use for example shallow=250, deep=1000."
        )
    growth = math.log(_relu_change(deep, hurst) / _relu_change(shallow, hurst))
    return growth / (2 * math.log(deep / shallow))


def _arc_cosine(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k(r) = E relu(x) relu(y) of unit normals of correlation r."""
    return (np.sqrt(1 - r**2) + r * (math.pi - np.arccos(r))) / (2 * math.pi)


def _relu_change(depth: int, hurst: float) -> float:
    """Return S(L)."""
    lags = np.arange(1, depth)
    r = fractional_autocovariance(lags, hurst)
    return depth / 2 + 2 * float(((depth - lags) * r * _arc_cosine(r)).sum())


@plain_numbers
def young_linear_error(depth: ArrayLike, hurst: float) -> NDArray[np.float64]:
    """Return E|h_L - H_1| / |h_0| ~ (1/2) e^(1/2) L^(1 - 2H) of the linear network, width 1.

    The leading term as L grows, for H in (1/2, 1), beta = H, coefficient 1 and p = 1; at H = 0.9
    it is reached at depths far beyond practice only.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    hurst : float
        Hurst index H.

    References
    ----------
    h_L - H_1 ~ -(1/2) L^(1 - 2H) exp(B^H_1); Hu, Liu, Nualart, Ann. Appl. Probab. 26 (2016).

    Examples
    --------
    >>> round(float(young_linear_error(100, 0.75)), 4)
    0.0824
    """
    check_hurst(hurst)
    return 0.5 * math.exp(0.5) * positive_array(depth) ** (1 - 2 * hurst)


@plain_numbers
def rough_drift(depth: ArrayLike, hurst: float, width: int) -> NDArray[np.float64]:
    """Return the drift rate of res-1 at H < 1/2 and beta = 1/2, at finite depth.

    (1 - L^(2H - 1)) / (2 d): the network follows dh/dt = -rate Dg(h)^T g(h), up to a
    fluctuation of size L^(H - 1/2). Negative correlations of consecutive layers leave it.

    Parameters
    ----------
    depth : array_like
        Number of layers L; infinity is allowed.
    hurst : float
        Hurst index H in (0, 1/2).
    width : int
        Width d.

    Examples
    --------
    >>> float(rough_drift(np.inf, 0.2, 10))
    0.05
    """
    check_hurst(hurst)
    check_count(width, "width")
    return (1 - positive_array(depth) ** (2 * hurst - 1)) / (2 * width)


@plain_numbers
def rough_relu_rates(hurst: float, width: int, *, depth: int | None = None) -> tuple[float, float]:
    """Return (c_H, drift) of res-3 at H < 1/2 and beta = 1/2.

    The limit for one input is dH = (c_H / d)^(1/2) |H| dB - H / (4 pi d) dt with
    c_H = 1/2 - 1/(2 pi) + 2 sum_{j >= 1} r(j) (k(r(j)) - 1/(2 pi)), r the correlation of the
    weights at lag j and k(x) = ((1 - x^2)^(1/2) + x (pi - arccos x)) / (2 pi).

    At depth L the sum has the weights 1 - j/L, and 1/(2 pi) and the drift the factor
    1 - L^(2H - 1): near H = 1/2 the limit is far beyond practice.

    Parameters
    ----------
    hurst : float
        Hurst index H in (0, 1/2).
    width : int
        Width d.
    depth : int, optional
        Number of layers L; infinitely many when left out.

    Examples
    --------
    >>> [round(rough_relu_rates(hurst, 16)[0], 3) for hurst in (0.1, 0.2, 0.35)]
    [0.419, 0.394, 0.359]
    >>> round(rough_relu_rates(0.35, 16, depth=1000)[0], 3)
    0.379
    """
    check_hurst(hurst)
    check_antipersistent(hurst)
    check_count(width, "width")
    if depth is None:
        lags, weights, reached = np.arange(1, _TERMS), 1.0, 1.0
    else:
        check_count(depth, "depth")
        lags = np.arange(1, depth)
        weights, reached = 1 - lags / depth, 1 - depth ** (2 * hurst - 1)
    r = fractional_autocovariance(lags, hurst)
    series = float((weights * r * (_arc_cosine(r) - 1 / (2 * math.pi))).sum())
    return 0.5 - reached / (2 * math.pi) + 2 * series, reached / (4 * math.pi * width)


@plain_numbers
def rough_relu_law(hurst: float, width: int, *, depth: int | None = None) -> LogNormal:
    """Return the law of log(|H_1|^2 / |H_0|^2) of res-3 at H < 1/2, beta = 1/2, coefficient 1.

    Normal(c_H (1 - 2/d) - 1/(2 pi d), 4 c_H / d), to first order in 1/d; at depth L with c_H and
    the drift of that depth. Measured means lie within 0.3 / d^2 of it at d >= 2, H = 0.1 to 0.45
    and L >= 256. The law of infinite depth is reached like L^(2H - 1) only: at d = 4, H = 0.4 and
    L = 1000 its mean lacks 0.03 and its variance 0.04.

    Parameters
    ----------
    hurst : float
        Hurst index H in (0, 1/2).
    width : int
        Width d, at least 2.
    depth : int, optional
        Number of layers L; infinitely many when left out.

    Raises
    ------
    LimitsError
        If the width is 1, of which an expansion in 1/d says nothing.

    Examples
    --------
    >>> round(rough_relu_law(0.1, 16).mean, 3)
    0.357
    >>> law = rough_relu_law(0.4, 4, depth=1024)
    >>> round(law.mean, 3), round(law.variance, 3)
    (0.165, 0.39)
    """
    strength, decay = rough_relu_rates(hurst, width, depth=depth)
    if width < 2:
        raise LimitsError(
            "the law is an expansion in 1/width, which says nothing of width=1. Use width=2 or "
            "more, best 4 or more."
        )
    return LogNormal(strength * (1 - 2 / width) - 2 * decay, 4 * strength / width)
