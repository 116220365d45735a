"""The published generator of fractional weights, whose variance is not one.

It embeds the covariance r of fractional noise in a circulant matrix as everybody does, but puts
0 in place of r(L) at lag L of the row, gives the coefficient at the Nyquist frequency the
eigenvalue of frequency zero, and takes complex roots of negative eigenvalues, of which it keeps
the real part: that is nothing, because the two conjugate modes of such an eigenvalue cancel.
For H > 1/2 the wrong coefficient adds (-1)^k times one normal number to the weights of a path,
of variance about H L^(2H - 2): 1.23 instead of 1 in all at H = 0.9 and L = 1000.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import limits


@dataclass(frozen=True)
class PublishedPath(limits.FractionalPath):
    """What the published generator makes of the random numbers of `limits.FractionalPath`."""

    def source(self, *, depth: int, seed: int, role: str) -> Any:
        ours = super().source(depth=depth, seed=seed, role=role)
        return replace(ours, noise=noise_from_normals)


def mode_variances(depth: int, hurst: float) -> np.ndarray:
    """Return the variance of the modes k = 0 ... L of the periodic extension, times 2 L."""
    half = limits.closed_forms.fractional_autocovariance(np.arange(depth), hurst)
    row = np.concatenate([half, [0.0], half[:0:-1]])
    eigenvalues = np.fft.rfft(row).real
    eigenvalues[depth] = eigenvalues[0]
    return np.maximum(eigenvalues, 0.0)


def variance(depth: int, hurst: float) -> float:
    """Return the variance of a weight, in units of the one it should have."""
    modes = mode_variances(depth, hurst)
    return float(modes[0] + modes[depth] + 2 * modes[1:depth].sum()) / (2 * depth)


def noise_from_normals(normals: Tensor, depth: int, hurst: float) -> Tensor:
    """Return noise that is linear in `normals`, shape ``(..., 2 depth)`` to ``(..., depth)``."""
    amplitudes = torch.from_numpy(np.sqrt(mode_variances(depth, hurst) * 2 * depth))
    pairs = amplitudes[1:depth] * math.sqrt(0.5)
    real = torch.cat([amplitudes[:1], pairs, amplitudes[depth:]])
    spectrum = torch.zeros(*normals.shape[:-1], depth + 1, 2, dtype=torch.float64)
    spectrum[..., 0] = normals[..., : depth + 1] * real
    spectrum[..., 1:depth, 1] = normals[..., depth + 1 :] * pairs
    return torch.fft.irfft(torch.view_as_complex(spectrum), n=2 * depth, dim=-1)[..., :depth]
