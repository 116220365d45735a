"""Stationary covariances on [0, 1] as finite Fourier sums.

A covariance k is made periodic with a period so long that its copies do not meet, and its
Fourier series is cut where nothing is left: no eigenvalue problem, no sign or order that
differs between machines, and a value at every t.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from limits.exceptions import LimitsError
from limits.modes import kept

__all__ = ["Kernel", "fourier_features"]

Kernel = Literal["rbf", "rbf-derivative", "matern-5/2"]

_MOST_TERMS = 20_000
# exp(-8.7^2 / 2) is 4e-17, and (1 + q + q^2/3) exp(-q) is below 1e-16 at q = 44.
_RBF_REACH = 8.7
_MATERN_REACH = 44 / math.sqrt(5)
_MATERN_TAIL = 1e-8


def fourier_features(kernel: Kernel, length_scale: float, times: Tensor) -> Tensor:
    """Return basis functions F with F(s) . F(t) = k(s - t), shape ``(time, feature)``.

    Parameters
    ----------
    kernel : {"rbf", "rbf-derivative", "matern-5/2"}
        The covariance; see `limits.SmoothPath`.
    length_scale : float
        Correlation length l.
    times : Tensor
        One-dimensional, float64, in [0, 1].

    Examples
    --------
    >>> t = torch.tensor([0.0, 0.1], dtype=torch.float64)
    >>> F = fourier_features("rbf", 0.1, t)
    >>> round(float(F[0] @ F[1]), 12) == round(math.exp(-1 / 2), 12)
    True
    """
    frequencies, amplitudes = _spectrum(kernel, length_scale)
    phases = times[:, None] * frequencies
    cosines, sines = torch.cos(phases) * amplitudes, torch.sin(phases) * amplitudes
    # The mode of frequency zero has a cosine only.
    return torch.cat([cosines, sines[:, 1:]], dim=1)


@kept(64)
def _spectrum(kernel: Kernel, length_scale: float) -> tuple[Tensor, Tensor]:
    """Angular frequencies and the standard deviation of each mode's coefficient."""
    rbf = kernel != "matern-5/2"
    period = 1 + length_scale * (_RBF_REACH if rbf else _MATERN_REACH)
    decay = math.sqrt(5) / length_scale
    highest = (
        _RBF_REACH / length_scale
        if rbf
        else decay * (16 / (15 * math.pi) / _MATERN_TAIL) ** (1 / 5)
    )
    n_modes = math.ceil(period * highest / (2 * math.pi))
    if 2 * n_modes > _MOST_TERMS:
        raise LimitsError(
            f"length_scale={length_scale:g} needs {2 * n_modes:,} Fourier terms for the {kernel} "
            f"kernel, more than {_MOST_TERMS:,}. Use a longer length_scale, or BrownianPath: "
            "weights that decorrelate within a layer are independent."
        )
    omega = 2 * np.pi * np.arange(n_modes + 1) / period
    if rbf:
        density = math.sqrt(2 * math.pi) * length_scale * np.exp(-((omega * length_scale) ** 2) / 2)
    else:
        density = 16 / 3 * decay**5 / (decay**2 + omega**2) ** 3
    variances = np.where(omega == 0, 1.0, 2.0) * density / period
    variances = variances / variances.sum()
    if kernel == "rbf-derivative":
        variances = variances * (omega * length_scale) ** 2
    return torch.from_numpy(omega), torch.from_numpy(np.sqrt(variances))
