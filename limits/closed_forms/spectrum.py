"""Singular values of the product of all layers of a linear network of infinite width."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import check_count, checked_array
from limits.closed_forms.arguments import positive_array
from limits.scalars import plain_numbers

__all__ = ["linear_product_edge", "linear_product_edge_limit"]

_TRACY_WIDOM = -1.2065335745820
"""Mean of the Tracy-Widom law of real symmetric matrices."""
_STEP = 1e-3


@plain_numbers
def linear_product_edge(
    depth: ArrayLike, scale: ArrayLike | None = None, *, width: int | None = None
) -> NDArray[np.float64]:
    """Return the largest singular value of (I + tau W_L) ... (I + tau W_1), width to infinity.

    For independent W_k with i.i.d. entries of variance 1 / width, at every depth. The squared
    singular values of one factor have the S-transform v (1 + v) / (psi (1 + psi)) at
    psi = v + tau^2 v (1 + v), those of the product its L-th power, so that

        edge^2 = min over v > 0 of z = (1 + psi) / psi (psi (1 + psi) / (v (1 + v)))^L.

    At finite width the square ends below its edge by a Tracy-Widom variable of mean -1.2065 times
    edge^2 width^(-2/3) (z'' / (2 z))^(1/3), where z'' is the curvature of z in psi.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    scale : array_like, optional
        Residual scale tau; L^(-1/2) when left out.
    width : int, optional
        Return the mean at this width to first order instead, for Gaussian weights. Right where
        the shift is small: within about 3 % at width 400 up to tau^2 L = 14.

    References
    ----------
    Free multiplicative convolution: Voiculescu, Dykema, Nica, *Free random variables* (1992),
    Section 3.6; one factor is the free convolution of symmetrised laws, a sign and a semicircle.
    Tracy and Widom, Comm. Math. Phys. 177 (1996), for the law at the edge (real matrices).

    Examples
    --------
    >>> float(linear_product_edge(1, 1.0)) ** 2
    6.75
    """
    if width is not None:
        check_count(width, "width")
    depth = positive_array(depth)
    tau = depth**-0.5 if scale is None else checked_array(scale, "scale")
    depth, tau = np.broadcast_arrays(depth, tau)
    found = [_edge(L, u) for L, u in zip(depth.flat, np.square(tau).flat, strict=True)]
    logs, spreads = (np.reshape(each, depth.shape) for each in zip(*found, strict=True))
    if width is None:
        return np.exp(logs / 2)
    return np.exp((logs + np.log1p(_TRACY_WIDOM * width ** (-2 / 3) * spreads)) / 2)


def linear_product_edge_limit(time: ArrayLike) -> NDArray[np.float64]:
    """Return the limit of `linear_product_edge` as L goes to infinity with T = tau^2 L fixed.

    edge^2 = (1 + 1 / z) exp(T (1 + 2 / T)^(1/2)), z = ((1 + 2 / T)^(1/2) - 1) / 2.

    Parameters
    ----------
    time : array_like
        T = tau^2 L, the square of the coefficient at beta = 1/2.

    Examples
    --------
    >>> [round(float(each), 3) for each in linear_product_edge_limit([0.25, 1.0, 4.0])]
    [2.058, 4.593, 36.441]
    """
    total = positive_array(time, "time")
    root = np.sqrt(1 + 2 / total)
    return np.sqrt((root + 1) / (root - 1)) * np.exp(total * root / 2)


def _edge(depth: float, squared: float) -> tuple[float, float]:
    """Return log z at its minimum over log v, where it is convex, and (z'' / (2 z))^(1/3)."""

    def value(log_v: float) -> float:
        v = math.exp(log_v)
        growth = math.log1p(squared * (1 + v)) + math.log1p(squared * v)
        psi = v * (1 + squared * (1 + v))
        return math.log1p(1 / psi) + depth * growth

    import scipy

    found: Any = scipy.optimize.minimize_scalar(value, bounds=(-50, 50), options={"xatol": 1e-9})
    least, x = float(found.fun), float(found.x)
    curvature = (value(x + _STEP) - 2 * least + value(x - _STEP)) / _STEP**2
    v = math.exp(x)
    slope = v * (1 + squared * (1 + v)) + squared * v**2
    return least, (curvature / slope**2 / 2) ** (1 / 3)
