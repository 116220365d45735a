"""Singular values of the product of all layers of a linear network of infinite width."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

__all__ = ["linear_product_edge", "linear_product_edge_limit"]


def linear_product_edge(depth: ArrayLike, scale: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the largest singular value of (I + tau W_L) ... (I + tau W_1), width to infinity.

    For independent W_k with i.i.d. entries of variance 1 / width, at every depth. The squared
    singular values of one factor have the S-transform v (1 + v) / (psi (1 + psi)) at
    psi = v + tau^2 v (1 + v), those of the product its L-th power, so that

        edge^2 = min over v > 0 of (1 + psi) / psi (psi (1 + psi) / (v (1 + v)))^L.

    At finite width the largest singular value is lower by a relative O(width^(-2/3)).

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    scale : array_like, optional
        Residual scale tau; L^(-1/2) when left out.

    References
    ----------
    Free multiplicative convolution: Voiculescu, Dykema, Nica, *Free random variables* (1992),
    Section 3.6; one factor is the free convolution of symmetrised laws, a sign and a semicircle.

    Examples
    --------
    >>> float(linear_product_edge(1, 1.0)) ** 2
    6.75
    """
    depth = np.asarray(depth, dtype=float)
    tau = depth**-0.5 if scale is None else np.asarray(scale, dtype=float)
    depth, tau = np.broadcast_arrays(depth, tau)
    logs = [_log_edge(L, u) for L, u in zip(depth.flat, np.square(tau).flat, strict=True)]
    return np.exp(np.reshape(logs, depth.shape) / 2)


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
    total = np.asarray(time, dtype=float)
    root = np.sqrt(1 + 2 / total)
    return np.sqrt((root + 1) / (root - 1)) * np.exp(total * root / 2)


def _log_edge(depth: float, squared: float) -> float:
    """Return the minimum over log v of a function that is convex there."""

    def value(log_v: float) -> float:
        v = math.exp(log_v)
        growth = math.log1p(squared * (1 + v)) + math.log1p(squared * v)
        psi = v * (1 + squared * (1 + v))
        return math.log1p(1 / psi) + depth * growth

    found: Any = minimize_scalar(value, bounds=(-50, 50), options={"xatol": 1e-9})
    return float(found.fun)
