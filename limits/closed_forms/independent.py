"""Exact answers for independent weights, at every finite depth and width."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import check_choice, check_coefficient, check_count, checked_array
from limits.closed_forms.arguments import positive_array
from limits.exceptions import LimitsError
from limits.scalars import plain_numbers

LawBlock = Literal["res-3", "res-1", "post-relu"]
_LARGEST_EXPONENT = 700.0

__all__ = [
    "LogNormal",
    "linear_nested_strong_error",
    "linear_second_moment",
    "linear_strong_error",
    "linear_weak_error",
    "log_norm_law",
    "relu_log_mean_depth_bias",
    "relu_second_moment",
    "relu_weak_error",
]


@dataclass(frozen=True)
class LogNormal:
    """The normal law of the log of a squared norm ratio, log(|H_1|^2 / |H_0|^2)."""

    mean: float
    variance: float


def linear_second_moment(depth: ArrayLike, scale: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return E|h_L|^2 / |h_0|^2 = (1 + alpha^2)^L of a linear res-1 network.

    Valid for i.i.d. centred weights of variance 1/width, any law, width and depth.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    scale : array_like, optional
        Residual scale alpha; L^(-1/2) when left out.

    References
    ----------
    The recursion of second moments; Marion et al. (2025), Section 3, for the regimes.

    Examples
    --------
    >>> float(linear_second_moment(1))
    2.0
    """
    return _compound(depth, scale, rate=1.0)


def relu_second_moment(depth: ArrayLike, scale: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return E|h_L|^2 / |h_0|^2 = (1 + alpha^2 / 2)^L of a res-3 network.

    Valid for i.i.d. centred outer weights and inner weights with a symmetric law, both of
    variance 1/width. Tangent vectors grow by the same factor when the inner law has no atoms.

    Parameters
    ----------
    depth, scale : array_like
        As in `linear_second_moment`.

    References
    ----------
    The recursion of second moments; Marion et al. (2025), Proposition 2, gives bounds.

    Examples
    --------
    >>> float(relu_second_moment(1))
    1.5
    """
    return _compound(depth, scale, rate=0.5)


@plain_numbers
def linear_strong_error(depth: ArrayLike, *, coefficient: float = 1.0) -> NDArray[np.float64]:
    """Return (E|h_L - H_1|^2)^(1/2) / |h_0| = (exp(c^2) - (1 + c^2 / L)^L)^(1/2).

    Linear res-1 network with Gaussian weights at beta = 1/2 against its SDE on the same path,
    at any width; about (e / (2 L))^(1/2) for c = 1, strong order 1/2.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    coefficient : float
        The c of the residual scale c L^(-1/2).

    References
    ----------
    Itô isometry and E<h_L, H_1> = E|h_L|^2 for the nested Euler scheme.

    Examples
    --------
    >>> round(float(linear_strong_error(100)) * 10, 3)
    1.161
    """
    moment = linear_second_moment(depth, _critical(depth, coefficient))
    return np.sqrt(_exponential(coefficient**2) - moment)


@plain_numbers
def linear_nested_strong_error(
    depth: ArrayLike, finer: ArrayLike, *, coefficient: float = 1.0
) -> NDArray[np.float64]:
    """Return (E|h_L - h_L'|^2)^(1/2) / |h_0| = ((1 + c^2/L')^L' - (1 + c^2/L)^L)^(1/2).

    Linear res-1 networks of depths L | L' that read one path of i.i.d. increments by summing
    (any law, any width) at beta = 1/2.

    Parameters
    ----------
    depth : array_like
        The shallower depth L.
    finer : array_like
        The deeper depth L', a multiple of L.
    coefficient : float
        The c of the residual scale c L^(-1/2).

    Examples
    --------
    >>> round(float(linear_nested_strong_error(4, 16)) ** 2, 4)
    0.1965
    """
    fine = linear_second_moment(finer, _critical(finer, coefficient))
    return np.sqrt(fine - linear_second_moment(depth, _critical(depth, coefficient)))


@plain_numbers
def linear_weak_error(depth: ArrayLike, *, coefficient: float = 1.0) -> NDArray[np.float64]:
    """Return |E|h_L|^2 - E|H_1|^2| / |h_0|^2 = exp(c^2) - (1 + c^2 / L)^L, linear res-1.

    At beta = 1/2, any i.i.d. law and width; about e / (2 L) for c = 1, weak order 1.

    Examples
    --------
    >>> round(float(linear_weak_error(100)) * 100, 3)
    1.347
    """
    moment = linear_second_moment(depth, _critical(depth, coefficient))
    return _exponential(coefficient**2) - moment


@plain_numbers
def relu_weak_error(depth: ArrayLike, *, coefficient: float = 1.0) -> NDArray[np.float64]:
    """Return |E|h_L|^2 - E|H_1|^2| / |h_0|^2 = exp(c^2/2) - (1 + c^2 / (2 L))^L, res-3.

    At beta = 1/2; about exp(1/2) / (8 L) for c = 1, weak order 1.

    Examples
    --------
    >>> round(float(relu_weak_error(100)) * 100, 3)
    0.205
    """
    moment = relu_second_moment(depth, _critical(depth, coefficient))
    return _exponential(coefficient**2 / 2) - moment


@plain_numbers
def log_norm_law(block: LawBlock, width: int, *, coefficient: float = 1.0) -> LogNormal:
    """Return the law of log(|H_1|^2 / |H_0|^2) at beta = 1/2.

    Normal(c^2 (1/2 - 1/d), 2 c^2/d) for res-3 with relu, Normal(c^2 (1 - 2/d), 4 c^2/d) for linear
    res-1 and for post-relu, exactly at every width d, for i.i.d. weights of variance 1/d. The
    reflection of post-relu adds nothing to the norm: a unit is pushed only while it is at 0. For
    post-relu |H_0| is the norm of relu(h_0).

    Parameters
    ----------
    block : {"res-3", "res-1", "post-relu"}
        res-3 and post-relu mean relu, res-1 the identity activation.
    width : int
        Width d.
    coefficient : float
        The c of the residual scale c L^(-1/2).

    Examples
    --------
    >>> log_norm_law("res-3", 100)
    LogNormal(mean=0.49, variance=0.02)
    """
    check_choice(block, "block", LawBlock)
    check_count(width, "width")
    check_coefficient(coefficient)
    time = coefficient**2
    if block == "res-3":
        return LogNormal(time * (1 / 2 - 1 / width), time * 2 / width)
    return LogNormal(time * (1 - 2 / width), time * 4 / width)


@plain_numbers
def relu_log_mean_depth_bias(depth: ArrayLike, width: int) -> NDArray[np.float64]:
    """Return E log(|h_L|^2/|h_0|^2) - (1/2 - 1/d) of res-3 to first order in 1/L.

    -(d - 2)(d - 4)(d + 5) / (8 d^3 L) for Gaussian weights at beta = 1/2.

    Examples
    --------
    >>> float(relu_log_mean_depth_bias(100, 4))
    -0.0
    """
    check_count(width, "width")
    d = width
    return -(d - 2) * (d - 4) * (d + 5) / (8 * d**3 * positive_array(depth))


def _compound(depth: ArrayLike, scale: ArrayLike | None, *, rate: float) -> NDArray[np.float64]:
    depth = positive_array(depth)
    squared = 1 / depth if scale is None else checked_array(scale, "scale") ** 2
    return _exponential(depth * np.log1p(rate * squared))


def _exponential(exponent: ArrayLike) -> NDArray[np.float64]:
    largest = float(np.max(exponent))
    if largest > _LARGEST_EXPONENT:
        raise LimitsError(
            f"a moment exp({largest:.4g}) is beyond what a float can hold, which is "
            f"exp({_LARGEST_EXPONENT:g}). Use a smaller coefficient, or log_norm_law."
        )
    return np.exp(np.asarray(exponent, dtype=np.float64))


def _critical(depth: ArrayLike, coefficient: float) -> NDArray[np.float64]:
    check_coefficient(coefficient)
    return coefficient / np.sqrt(positive_array(depth))
