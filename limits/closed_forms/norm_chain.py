"""The norm of a res-3 network with Gaussian weights: a random walk on the logarithmic scale.

Given h, V relu(W h) is a centred Gaussian vector of variance |h|^2 S / d^2 per coordinate, where
S, the sum of d squared rectified standard normals, is independent of h. So |h_{k+1}| / |h_k| are
independent and identically distributed, and so are the ratios of a gradient that does not depend
on the weights at the output.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import check_count, checked_array
from limits.closed_forms.arguments import positive_array
from limits.scalars import plain_numbers

__all__ = ["relu_log_mean"]

_LOGARITHMS = np.linspace(-38.0, 38.0, 381)
_NEGLIGIBLE = 1e-18


@plain_numbers
def relu_log_mean(
    depth: ArrayLike, width: int, scale: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return E log(|h_L|^2 / |h_0|^2) of a res-3 network with Gaussian weights, any L and alpha.

    L E log |e + alpha S^(1/2) xi / d|^2 for a unit vector e and a standard normal xi, with
    E log Y = int (exp(-t) - E exp(-t Y)) dt / t and S a chi-square whose number of degrees of
    freedom is binomial. The mean log of a norm is what simulations can check where its moments
    are carried by rare draws, below the critical exponent.

    Parameters
    ----------
    depth : array_like
        Number of layers L.
    width : int
        Width d, at least 2.
    scale : array_like, optional
        Residual scale alpha, of the shape of `depth`; L^(-1/2) when left out.

    References
    ----------
    Marion et al. (2025), Section 3, for the regimes; the chain is exact and stated above.

    Examples
    --------
    >>> round(float(relu_log_mean(10_000, 40)), 4), 1 / 2 - 1 / 40
    (0.475, 0.475)
    """
    check_count(width, "width", least=2)
    depth = positive_array(depth)
    alpha = depth**-0.5 if scale is None else checked_array(scale, "scale")
    depth, alpha = np.broadcast_arrays(depth, alpha)
    values, weights = _rectified_energy(width)
    means = [_log_mean_of_a_layer(a**2 * values / width**2, weights, width) for a in alpha.flat]
    return depth * np.reshape(means, alpha.shape)


def _log_mean_of_a_layer(
    variances: NDArray[np.float64], weights: NDArray[np.float64], width: int
) -> float:
    """Return E log|e + s xi|^2 where s^2 takes `variances` with probability `weights`.

    The integral over log t: its integrand decays at both ends, where the trapezoidal rule
    converges faster than any power.
    """
    t = np.exp(_LOGARITHMS)[:, None]
    spread = 1 + 2 * t * variances
    transform = np.exp(-t / spread - width / 2 * np.log(spread))
    integrand = (np.exp(-t) - transform) @ weights
    return float(integrand.sum() * (_LOGARITHMS[1] - _LOGARITHMS[0]))


def _rectified_energy(width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights of a quadrature for S = sum of relu(xi_i)^2, i = 1 ... d.

    The trapezoidal rule again, in log S, and the atom at 0 of networks without an active unit.
    """
    step = min(0.1, width**-0.5)
    logarithms = np.arange(-80.0, np.log(2 * width + 200), step)
    active = np.arange(1, width + 1)[:, None]
    import scipy

    density = scipy.stats.chi2.pdf(np.exp(logarithms), active) * np.exp(logarithms)
    weights = scipy.stats.binom.pmf(active[:, 0], width, 0.5) @ density * step
    kept = weights > _NEGLIGIBLE
    values = np.append(np.exp(logarithms[kept]), 0.0)
    weights = np.append(weights[kept], 0.5**width)
    # Densities are rounded; what they lack would be multiplied by the depth.
    return values, weights / weights.sum()
