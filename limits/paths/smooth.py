"""Weights that vary smoothly with the layer: the neural ODE's driver."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from limits._typing import LayerMatrices
from limits.checks import check_choice, check_positive, checked_times
from limits.paths.base import Family, WeightPath
from limits.paths.sample import WeightSample
from limits.paths.spectra import Kernel, fourier_features
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["SmoothPath"]

_CPU = torch.device("cpu")
_SLAB_LAYERS = 16


@plain_numbers
@dataclass(frozen=True)
class SmoothPath(WeightPath):
    """Smooth Gaussian weights V(t): every entry an independent stationary process / sqrt(width).

    X_t is the integral of V. A network of depth L samples V at its nodes, dX_k = V(k/L) / L.
    V is a finite Fourier sum, so it has a value at every t and a draw is the same function
    whatever the depth.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    length_scale : float
        Correlation length l in units of layer time.
    kernel : {"rbf", "rbf-derivative", "matern-5/2"}
        Covariance of an entry times d, with r = s - t:
        ``rbf`` exp(-r^2 / (2 l^2)); ``rbf-derivative`` (1 - r^2 / l^2) exp(-r^2 / (2 l^2)), the
        law of l Z' for Z of covariance rbf and the limit of normalised increments of Z;
        ``matern-5/2`` (1 + q + q^2 / 3) exp(-q), q = sqrt(5) |r| / l. Reproduced to 1e-14
        (both rbf) and 1e-8 (Matérn).

    Raises
    ------
    LimitsError
        If `kernel` is unknown or `length_scale` is not positive, or so small that the Fourier
        sum would have more than 20,000 terms.

    References
    ----------
    Marion et al. (2025), Section 4.2 and Appendix D (smooth weights); Rasmussen and Williams,
    *Gaussian Processes for Machine Learning* (2006), Section 4.2 (spectra).

    Examples
    --------
    >>> path = SmoothPath(4, length_scale=0.1)
    >>> sample = path.sample(depth=8, n_paths=16, seed=0)
    >>> bool(torch.allclose(sample.layer_weights[2], sample.weights_at(2 / 8)))
    True
    """

    length_scale: float = 0.1
    kernel: Kernel = "rbf"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.length_scale, "length_scale", 0.1)
        check_choice(self.kernel, "kernel", Kernel)
        self.features(torch.zeros(1, dtype=torch.float64, device="cpu"))

    @property
    def family(self) -> Family:
        """Row of the theorem table."""
        return "smooth"

    @property
    def index(self) -> float:
        """Index gamma = 1."""
        return 1.0

    @property
    def label(self) -> str:
        """Name of the law."""
        return f"smooth-{self.kernel}-{float(self.length_scale)!r}"

    def features(self, times: Tensor) -> Tensor:
        """Return the basis functions at `times`, shape ``(time, feature)``, float64.

        Features F and their inner products give the covariance: F(s) . F(t) = k(s - t).
        """
        return fourier_features(self.kernel, self.length_scale, times)

    def source(self, *, depth: int, seed: int, role: str) -> "SmoothSource":
        """Return the Fourier coefficients behind a draw, the same ones at every depth."""
        return SmoothSource(self, self.stream(seed=seed, role=role, depth=None), depth)

    def weights_at(self, sample: WeightSample, time: float | Tensor) -> Tensor:
        """Return V(t) of the draws in `sample`; see `WeightSample.weights_at`."""
        times = checked_times(time)
        source = self.source(depth=sample.depth, seed=sample.seed, role=sample.role)
        chunks = [
            source.open(sample.first_path + first, count).at(times.reshape(-1)) * source.scale
            for first, count in sample.chunks()
        ]
        weights = torch.cat(chunks).transpose(0, 1).mT.to(sample.device, sample.dtype)
        return weights if times.ndim else weights[0]


@dataclass(frozen=True)
class SmoothSource:
    """Coefficients of the Fourier sums, one per entry and feature."""

    path: SmoothPath
    stream: Stream
    depth: int

    @property
    def reading(self) -> Literal["sum", "point"]:
        """Shallower networks sample the weights at their nodes."""
        return "point"

    @property
    def name(self) -> str:
        """Identify the draw; a smooth draw is one function, whatever the depth."""
        return self.stream.label

    @property
    def slab_layers(self) -> int:
        """Nodes evaluated at once."""
        return min(self.depth, _SLAB_LAYERS)

    @property
    def scale(self) -> float:
        """Turn unit variance into weights: 1 / sqrt(width)."""
        return 1 / math.sqrt(self.path.width)

    @property
    def bytes_per_path(self) -> int:
        """Coefficients and one slab of weights, in float64."""
        return 8 * (self.n_features + self.slab_layers) * self.path.width**2

    @property
    def n_features(self) -> int:
        """Terms of the Fourier sum."""
        return self.path.features(torch.zeros(1, dtype=torch.float64, device="cpu")).shape[1]

    def open(self, first_path: int, n_paths: int, device: torch.device = _CPU) -> "_FourierReader":
        """Return a reader of consecutive paths, on the CPU whatever the device."""
        return _FourierReader(self, first_path, n_paths)


@dataclass(frozen=True)
class _FourierReader:
    """Evaluates the Fourier sums of consecutive paths; keeps their coefficients."""

    source: SmoothSource
    first_path: int
    n_paths: int

    @cached_property
    def coefficients(self) -> Tensor:
        """Standard normals, shape ``(path, feature, width * width)``, float64, in pairs."""
        entries, n_features = self.source.path.width**2, self.source.n_features
        drawn = self.source.stream.normals(
            self.first_path, self.n_paths, entries, n_layers=n_features
        )
        # Filled up to pairs of numbers: products round otherwise where a path's coefficients begin
        # between multiples of sixteen bytes, as those of other paths would then make them.
        paired = drawn.transpose(0, 1).to(torch.float64)
        return torch.nn.functional.pad(paired, (0, entries % 2)).contiguous()

    def at(self, times: Tensor) -> LayerMatrices:
        """Return d^(1/2) V(t)^T, shape ``(path, time, width, width)``, float64."""
        width = self.source.path.width
        features = self.source.path.features(times)
        # One product a path, of two at least, which take the same road through the library: the
        # bits of a path must not depend on its company.
        chosen = self.coefficients
        pair = chosen.expand(2, -1, -1) if len(chosen) == 1 else chosen
        values = torch.bmm(features.expand(len(pair), -1, -1), pair)[: len(chosen)]
        return values[..., : width**2].unflatten(2, (width, width))

    def slab(self, part: int) -> LayerMatrices:
        """Return the weights at consecutive nodes k / L."""
        start = part * self.source.slab_layers
        stop = min(start + self.source.slab_layers, self.source.depth)
        nodes = torch.arange(start, stop, dtype=torch.float64, device="cpu")
        return self.at(nodes / self.source.depth)
