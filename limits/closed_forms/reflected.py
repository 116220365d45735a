"""Exact answers for post-relu networks, whose relu acts after the addition.

h_{k+1} = relu(h_k + tau W_k h_k) with independent Gaussian W_k of entries N(0, 1 / width); `scale`
is tau = c L^-beta, a standard deviation of the weights other than one included in c.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import checked_array
from limits.closed_forms.independent import linear_second_moment, relu_second_moment
from limits.exceptions import ShapeError

__all__ = ["post_relu_ratio", "post_relu_second_moment_bounds"]


def post_relu_ratio(states: ArrayLike, scale: ArrayLike) -> NDArray[np.float64]:
    """Return E(|h_{k+1}|^2 | h_k) / |h_k|^2 of one post-relu layer, exactly.

    Entry i of h + tau W h is N(h_i, s^2) with s = tau |h| / sqrt(width), and for a normal Z
    E relu(a + s Z)^2 = (a^2 + s^2) Phi(a / s) + a s phi(a / s), which lies between a^2 + s^2 / 2
    and a^2 + s^2 for a >= 0. So the ratio lies in [1 + tau^2 / 2, 1 + tau^2] for states in the
    orthant of non-negative entries: the lower end where all mass sits in one unit of many, the
    upper end where every unit is far from 0.

    Parameters
    ----------
    states : array_like
        h_k, shape ``(..., width)``, not zero.
    scale : array_like
        Residual scale tau, of the shape of ``states[..., 0]`` or a number.

    References
    ----------
    Zhang et al., "Stabilize deep ResNet with a sharp scaling factor tau", Mach. Learn. 111
    (2022), arXiv:1903.07120, for bounds without constants; the ratio is derived above.

    Examples
    --------
    >>> round(float(post_relu_ratio([1.0, 0.0], 0.1) - 1), 6)
    0.0075
    """
    h, tau = checked_array(states, "states"), checked_array(scale, "scale")
    if h.ndim == 0 or not h.any(axis=-1).all():
        raise ShapeError(
            f"states must have shape (..., width) and none may be zero, found shape {h.shape}. "
            "Leave zero states out: a layer leaves them where they are."
        )
    deviation = np.expand_dims(tau, -1) / np.sqrt(h.shape[-1])
    a = h / np.linalg.norm(h, axis=-1, keepdims=True) / deviation
    # The gain over a^2 by itself: nothing is lost where tau^2 is below the rounding of 1.
    density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    from scipy.special import ndtr

    gain = ndtr(a) + a * density - a**2 * ndtr(-a)
    return 1 + tau**2 * gain.mean(axis=-1)


def post_relu_second_moment_bounds(
    depth: ArrayLike, scale: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds of E|h_L|^2 / |h_0|^2 at every depth and width, h_0 without negative entries.

    (1 + tau^2 / 2)^L and (1 + tau^2)^L: stable if and only if tau = O(L^(-1/2)); for
    tau = L^(-1/2 + c) the logarithm is at least L^(2c) / 2 to first order.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    scale : array_like, optional
        Residual scale tau; L^(-1/2) when left out.

    References
    ----------
    `post_relu_ratio`, layer by layer; Zhang et al. (2022), Theorems 1 and 2, for the rates.

    Examples
    --------
    >>> [float(bound) for bound in post_relu_second_moment_bounds(1)]
    [1.5, 2.0]
    """
    return relu_second_moment(depth, scale), linear_second_moment(depth, scale)
