"""ODE limits as plain callables (t, h)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from limits._typing import State
from limits.checks import check_real
from limits.exceptions import SolverError
from limits.modes import keeps_dtypes
from limits.networks.resnet import ResNet
from limits.parallel import check_wanted
from limits.paths import DenseIncrement, WeightSample
from limits.paths.sources import SmoothReader

__all__ = ["DriftField", "VectorField"]

_ENTRIES = 2**20


@dataclass(eq=False)
class VectorField:
    """The neural ODE's right-hand side c V_t g(h, W_t), for ``torchdiffeq.odeint``.

    Parameters
    ----------
    net : ResNet
        Gives the block g and the coefficient c.
    sample : WeightSample
        Smooth weights.

    Attributes
    ----------
    evaluations : int
        How often the field was evaluated.
    """

    net: ResNet
    sample: WeightSample

    def __post_init__(self) -> None:
        self.evaluations = 0
        self._block = self.net.vector_field
        self._outer = _reader(self.sample)
        self._inner = _reader(self.sample.inner) if self._block.has_inner else None

    @keeps_dtypes
    def __call__(self, t: float | Tensor, h: Tensor) -> Tensor:
        """Return c V_t g(h, W_t) for states of shape ``(path, input, width)``."""
        check_real(h, "h")
        time = torch.as_tensor(t, dtype=torch.float64, device="cpu").reshape(1).cpu()
        return next(self.at_times(time))(h)

    def at_times(self, times: Tensor) -> Iterator[Callable[[State], State]]:
        """Yield the field h -> c V_t g(h, W_t) of each of many times.

        Weights of many times are one product of matrices, which costs a fraction of as many
        products with vectors.

        Parameters
        ----------
        times : Tensor
            One-dimensional, float64, on the CPU.
        """
        for some in times.split(self._together):
            outer = self._weights(self._outer, some)
            inner = None if self._inner is None else self._weights(self._inner, some)
            for t in range(len(some)):
                check_wanted()
                self.evaluations += 1
                yield self._at(outer, inner, t)

    @cached_property
    def _together(self) -> int:
        """How many times' weights fit a cache."""
        return max(1, _ENTRIES // (self.sample.n_paths * self.sample.width**2))

    def _weights(self, reader: SmoothReader, times: Tensor) -> Tensor:
        return reader.at(times).to(self.sample.device, self.sample.dtype)

    def _at(self, outer: Tensor, inner: Tensor | None, t: int) -> Callable[[State], State]:
        scale = self.sample.source.scale
        inside = None if inner is None else DenseIncrement(inner[:, t], scale)
        outside = DenseIncrement(outer[:, t], scale)

        def field(h: State) -> State:
            return outside.mv(self._block.field(h, inside)) * self.net.coefficient

        return field


@dataclass(eq=False)
class DriftField:
    """-(c^2 / (2 width)) Dg(h)^T g(h): what antipersistent weights leave of a res-1 network.

    Parameters
    ----------
    net : ResNet
        Gives the block g and the coefficient c.
    width : int
        Size d of the hidden state.

    Attributes
    ----------
    evaluations : int
        How often the field was evaluated.
    """

    net: ResNet
    width: int

    def __post_init__(self) -> None:
        self.evaluations = 0
        self._block = self.net.vector_field

    @keeps_dtypes
    def __call__(self, t: float | Tensor, h: Tensor) -> Tensor:
        """Return the drift for states of shape ``(path, input, width)``."""
        check_real(h, "h")
        check_wanted()
        self.evaluations += 1
        pulled = self._block.pulled(h, self._block.field(h, None), None)
        return pulled * (-(self.net.coefficient**2) / (2 * self.width))

    def at_times(self, times: Tensor) -> Iterator[Callable[[State], State]]:
        """Yield the drift, which does not depend on time, as often as there are times."""
        return (partial(self, t) for t in times)


def _reader(sample: WeightSample) -> SmoothReader:
    reader = sample.source.open(sample.first_path, sample.n_paths)
    if not isinstance(reader, SmoothReader):
        raise SolverError(
            f"{sample.path.label} weights have no value between layers, so there is no vector "
            "field to evaluate. Use EulerMaruyama, or a SmoothPath."
        )
    return reader
