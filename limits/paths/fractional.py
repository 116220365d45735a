"""Correlated Gaussian weights between the rough and the smooth: fractional Gaussian noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from limits._typing import LayerMatrices
from limits.checks import check_hurst
from limits.closed_forms import fractional_autocovariance
from limits.exceptions import LimitsError
from limits.modes import kept
from limits.paths.base import Family, WeightPath
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["FractionalPath", "noise_from_normals"]

_CPU = torch.device("cpu")
_NORMALS_PER_GROUP, _PATHS_OF_A_GROUP = 2**15, 16


@plain_numbers
@dataclass(frozen=True)
class FractionalPath(WeightPath):
    """Fractional Gaussian noise across layers, X = fractional Brownian motion / sqrt(width).

    Every entry of V_k is a stationary Gaussian sequence of variance 1 / width and correlation
    r(j) = (|j + 1|^2H - 2 |j|^2H + |j - 1|^2H) / 2; dX_k = V_k / L^H. Independent at H = 1/2,
    coherent above, alternating below. Read at a shallower depth by summing increments, which
    fractional noise reproduces exactly. Drawn exactly by circulant embedding of length 2 L.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    hurst : float
        Hurst index H in (0, 1).

    Raises
    ------
    LimitsError
        If `hurst` lies outside (0, 1). Weights smoother than any H are a `SmoothPath`.

    References
    ----------
    Marion et al. (2025), Section 5; Dietrich and Newsam, "Fast and exact simulation of
    stationary Gaussian processes", SIAM J. Sci. Comput. 18 (1997).

    Examples
    --------
    >>> path = FractionalPath(4, hurst=0.7)
    >>> path.index, path.critical_beta, FractionalPath(4, hurst=0.2).critical_beta
    (0.7, 0.7, 0.5)
    """

    hurst: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hurst(self.hurst)

    @property
    def index(self) -> float:
        """Index gamma = H."""
        return float(self.hurst)

    @property
    def family(self) -> Family:
        """Independent, persistent (coherent layers) or antipersistent (alternating)."""
        if self.hurst == 0.5:
            return "brownian"
        return "persistent" if self.hurst > 0.5 else "antipersistent"

    @property
    def label(self) -> str:
        """Name of the law."""
        return f"fractional-{float(self.hurst)!r}"

    def source(self, *, depth: int, seed: int, role: str) -> "FractionalSource":
        """Return the numbers behind a draw."""
        stream = self.stream(seed=seed, role=role, depth=depth)
        return FractionalSource(stream, self.width, depth, float(self.hurst))


@kept(32)
def circulant_amplitudes(depth: int, hurst: float) -> Tensor:
    """Return the standard deviation of each Fourier coefficient, shape ``(depth + 1,)``.

    Raises
    ------
    LimitsError
        If an eigenvalue of the embedding is negative beyond rounding, which theory excludes.
    """
    half = fractional_autocovariance(np.arange(depth + 1, dtype=np.float64), hurst)
    row = np.concatenate([half, half[depth - 1 : 0 : -1]])
    eigenvalues = np.fft.rfft(row).real
    lowest = float(eigenvalues.min())
    if lowest < -1e-9 * float(eigenvalues.max()):
        raise LimitsError(
            f"the circulant embedding of fractional noise has an eigenvalue {lowest:.3g} at "
            f"hurst={hurst} and depth={depth}. Use a smaller depth."
        )
    return torch.from_numpy(np.sqrt(np.maximum(eigenvalues, 0.0)))


def noise_from_normals(normals: Tensor, depth: int, hurst: float) -> Tensor:
    """Return fractional noise that is linear in `normals`, ``(..., 2 depth)`` to ``(..., depth)``.

    Examples
    --------
    >>> unit = torch.eye(8, dtype=torch.float64)
    >>> noise = noise_from_normals(unit, 4, 0.7)
    >>> covariance = noise.T @ noise
    >>> round(float(covariance[0, 0]), 12), round(float(covariance[0, 1]), 4)
    (1.0, 0.3195)
    """
    real, imaginary = _spectral_weights(depth, hurst)
    spectrum = torch.empty(*normals.shape[:-1], depth + 1, 2, dtype=torch.float64, device="cpu")
    torch.mul(normals[..., : depth + 1], real, out=spectrum[..., 0])
    torch.mul(normals[..., depth + 1 :], imaginary, out=spectrum[..., 1:depth, 1])
    spectrum[..., 0, 1] = spectrum[..., depth, 1] = 0.0
    return torch.fft.irfft(torch.view_as_complex(spectrum), n=2 * depth, dim=-1)[..., :depth]


def _spectral_weights(depth: int, hurst: float) -> tuple[Tensor, Tensor]:
    """Return the factors of real parts, ``(depth + 1,)``, and imaginary parts, ``(depth - 1,)``."""
    amplitudes = circulant_amplitudes(depth, hurst) * math.sqrt(2 * depth)
    # Coefficients 0 and depth are real, the others complex with half the variance in each part.
    real = amplitudes * math.sqrt(0.5)
    real[0], real[depth] = amplitudes[0], amplitudes[depth]
    return real, amplitudes[1:depth] * math.sqrt(0.5)


@dataclass(frozen=True)
class FractionalSource:
    """The normals of a fractional path; a whole path is one slab.

    Parameters
    ----------
    stream : Stream
        Where the numbers come from.
    width, depth : int
        Size of the matrices and number of layers.
    hurst : float
        Hurst index H.
    noise : callable
        ``noise(normals, depth, hurst)``, what makes the weights of an entry, of unit variance, from
        2 `depth` normals.
    """

    stream: Stream
    width: int
    depth: int
    hurst: float
    noise: Callable[[Tensor, int, float], Tensor] = noise_from_normals

    @property
    def name(self) -> str:
        """Identify the draw: other noise of the same normals is another draw."""
        if self.noise is noise_from_normals:
            return self.stream.label
        return f"{self.stream.label}/{self.noise.__module__}.{self.noise.__qualname__}"

    @property
    def reading(self) -> Literal["sum", "point"]:
        """Shallower networks sum increments."""
        return "sum"

    @property
    def slab_layers(self) -> int:
        """All layers: each depends on all others."""
        return self.depth

    @property
    def scale(self) -> float:
        """Turn unit variance into increments: 1 / (sqrt(width) depth^H)."""
        return 1 / (math.sqrt(self.width) * self.depth**self.hurst)

    @property
    def bytes_per_path(self) -> int:
        """The whole path in float64."""
        return 8 * self.depth * self.width**2

    def open(
        self, first_path: int, n_paths: int, device: torch.device = _CPU
    ) -> "_FractionalReader":
        """Return a reader of consecutive paths, on the CPU whatever the device."""
        return _FractionalReader(self, first_path, n_paths)


@dataclass(frozen=True)
class _FractionalReader:
    source: FractionalSource
    first_path: int
    n_paths: int

    def slab(self, part: int) -> LayerMatrices:
        return self._whole if part == 0 else self._whole[:, :0]

    @cached_property
    def _whole(self) -> LayerMatrices:
        depth, entries = self.source.depth, self.source.width**2
        group = max(1, min(entries, _NORMALS_PER_GROUP // (2 * depth)))
        shape = self.n_paths, depth, entries
        noise = torch.empty(shape, dtype=torch.float64, device=_CPU)
        # A few at a time, so that normals and spectra stay in the cache between their steps.
        for first in range(0, self.n_paths, _PATHS_OF_A_GROUP):
            count = min(_PATHS_OF_A_GROUP, self.n_paths - first)
            for start in range(0, entries, group):
                stop = min(start + group, entries)
                # An entry of the matrices takes the place of a layer: its series is one row.
                series = self.source.stream.normals(
                    self.first_path + first, count, 2 * depth, start, n_layers=stop - start
                )
                values = self.source.noise(series, depth, self.source.hurst)
                noise[first : first + count, :, start:stop] = values.permute(1, 2, 0)
        return noise.unflatten(2, (self.source.width, self.source.width))
