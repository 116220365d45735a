"""The published generator of fractional weights, whose variance is not one.

It embeds the covariance r of fractional noise in a circulant matrix as everybody does, but puts
0 in place of r(L) at lag L of the row, gives the coefficient at the Nyquist frequency the
eigenvalue of frequency zero, and takes complex roots of negative eigenvalues, of which it keeps
the real part: that is nothing, because the two conjugate modes of such an eigenvalue cancel.
For H > 1/2 the wrong coefficient adds (-1)^k times one normal number to the weights of a path,
of variance about H L^(2H - 2): 1.23 instead of 1 in all at H = 0.9 and L = 1000.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import limits

_NORMALS_PER_GROUP = 2**15
"""As in `limits.FractionalPath`, so that both generators turn the same normals into noise."""


@dataclass(frozen=True)
class PublishedPath(limits.FractionalPath):
    """What the published generator makes of the random numbers of `limits.FractionalPath`."""

    def source(self, *, depth: int, seed: int, role: str) -> Any:
        stream = self.stream(seed=seed, role=role, depth=depth)
        return _Source(stream, self.width, depth, float(self.hurst))


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


@dataclass(frozen=True)
class _Source:
    stream: limits.Stream
    width: int
    depth: int
    hurst: float
    reading = "sum"

    @property
    def name(self) -> str:
        return f"{self.stream.seed}:published/{self.stream.name}"

    @property
    def slab_layers(self) -> int:
        return self.depth

    @property
    def scale(self) -> float:
        return 1 / (math.sqrt(self.width) * self.depth**self.hurst)

    @property
    def bytes_per_path(self) -> int:
        return 8 * self.depth * self.width**2

    def open(self, first_path: int, n_paths: int) -> "_Reader":
        return _Reader(self, first_path, n_paths)


@dataclass(frozen=True)
class _Reader:
    source: _Source
    first_path: int
    n_paths: int

    def slab(self, part: int) -> Tensor:
        depth, width = self.source.depth, self.source.width
        size = max(1, min(width**2, _NORMALS_PER_GROUP // (2 * depth)))
        noise = torch.empty(self.n_paths, depth, width**2, dtype=torch.float64)
        for group, start in enumerate(range(0, width**2, size)):
            stop = min(start + size, width**2)
            normals = self.source.stream.normals(
                self.first_path, self.n_paths, (stop - start) * 2 * depth, group
            )
            series = normals.unflatten(1, (stop - start, 2 * depth))
            noise[:, :, start:stop] = noise_from_normals(series, depth, self.source.hurst).mT
        return noise.unflatten(2, (width, width))
