"""Problems with an answer that owes nothing to the library's own loops."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import digamma, polygamma, roots_genlaguerre
from scipy.stats import binom, poisson
from torch import Tensor


def kernel(name: str, length_scale: float, lags: Tensor) -> Tensor:
    """Return the covariance of a smooth path's entries, in units of 1 / width."""
    if name == "matern-5/2":
        q = math.sqrt(5) * lags.abs() / length_scale
        return (1 + q + q**2 / 3) * torch.exp(-q)
    rbf = torch.exp(-((lags / length_scale) ** 2) / 2)
    return rbf if name == "rbf" else (1 - (lags / length_scale) ** 2) * rbf


def looped_states(
    h0: Tensor,
    outer: Tensor,
    inner: Tensor | None,
    *,
    activation: Callable[[Tensor], Tensor],
    beta: float | list[float],
    coefficient: float = 1.0,
) -> Tensor:
    """Return h_0 ... h_L of shape ``(depth + 1, path, input, width)``, one vector at a time.

    Parameters
    ----------
    h0 : Tensor
        Shape ``(input, width)`` or ``(path, input, width)``.
    outer, inner : Tensor
        Order-one weights V_k and W_k, shape ``(layer, path, width, width)``; with inner weights
        the field is relu(W h), else the activation of h.
    """
    depth, n_paths = outer.shape[:2]
    h0 = h0.expand(n_paths, *h0.shape[-2:])
    n_inputs = h0.shape[1]
    betas = beta if isinstance(beta, list) else [beta] * n_inputs
    states = torch.empty(depth + 1, *h0.shape, dtype=h0.dtype)
    for path in range(n_paths):
        for point in range(n_inputs):
            scale = coefficient * depth ** -betas[point]
            h = states[0, path, point] = h0[path, point]
            for k in range(depth):
                if inner is None:
                    field = activation(h)
                else:
                    field = torch.einsum("ij,j->i", inner[k, path], h).clamp_min(0)
                h = h + scale * torch.einsum("ij,j->i", outer[k, path], field)
                states[k + 1, path, point] = h
    return states


@dataclass(frozen=True)
class LogMoments:
    """Mean and variance of log(|h_L|^2 / |h_0|^2)."""

    mean: float
    variance: float


def relu_log_moments(depth: int, width: int, scale: float) -> LogMoments:
    """Return the exact moments of the log of res-3 with Gaussian weights, at finite depth.

    Given h, W h / |h| has entries z_i / sqrt(d) with z_i ~ N(0, 1), so |relu(W h)|^2 = |h|^2 S / d
    with S = chi-squared of K ~ Binomial(d, 1/2) degrees; and V is isotropic, so that a layer
    multiplies |h|^2 by (1 + a xi)^2 + a^2 chi^2_{d-1} with a^2 = scale^2 S / d^2. That factor does
    not depend on h: the layers' factors are independent and their logs add up.
    """
    mean = square = 0.0
    for k in range(1, width + 1):
        nodes, weights = roots_genlaguerre(24, k / 2 - 1)
        for s, weight in zip(2 * nodes, weights / weights.sum(), strict=True):
            first, second = _noncentral_log_moments(width, scale**2 * s / width**2)
            mean += binom.pmf(k, width, 0.5) * weight * first
            square += binom.pmf(k, width, 0.5) * weight * second
    return LogMoments(float(depth * mean), float(depth * (square - mean**2)))


def linear_log_moments(depth: int, width: int, scale: float) -> LogMoments:
    """Return the same for linear res-1 with Gaussian weights, where a^2 = scale^2 / d."""
    mean, square = _noncentral_log_moments(width, scale**2 / width)
    return LogMoments(float(depth * mean), float(depth * (square - mean**2)))


def _noncentral_log_moments(width: int, a2: float) -> tuple[float, float]:
    """Return E X and E X^2 of X = log((1 + a xi)^2 + a^2 chi^2_{d-1}).

    The argument is a^2 times a noncentral chi-squared, a Poisson mixture of central ones.
    """
    d = width
    if a2 < 1e-5:  # the mixture has too many terms; the series is exact to rounding
        mean = (d - 2) * a2 - (d - 2) * (d - 4) * a2**2 / 2
        return mean, 4 * a2 + (d**2 - 10 * d + 20) * a2**2
    rate = 1 / (2 * a2)
    reach = 12 * math.sqrt(rate) + 40
    j = np.arange(max(0, math.floor(rate - reach)), math.ceil(rate + reach))
    weights = poisson.pmf(j, rate)
    logs = digamma(d / 2 + j) + math.log(2 * a2)
    return float(weights @ logs), float(weights @ (logs**2 + polygamma(1, d / 2 + j)))
