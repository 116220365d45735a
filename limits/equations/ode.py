"""ODE limits as plain callables (t, h)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits.exceptions import SolverError
from limits.networks.resnet import ResNet
from limits.parallel import check_wanted
from limits.paths import DenseIncrement, Increment, WeightSample
from limits.paths.sources import SmoothReader

__all__ = ["DriftField", "VectorField"]


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

    def __call__(self, t: float | Tensor, h: Tensor) -> Tensor:
        """Return c V_t g(h, W_t) for states of shape ``(path, input, width)``."""
        check_wanted()
        self.evaluations += 1
        inner = None if self._inner is None else self._weights(self._inner, t)
        values = self._weights(self._outer, t).mv(self._block.field(h, inner))
        return values * self.net.coefficient

    def _weights(self, reader: SmoothReader, t: float | Tensor) -> Increment:
        time = torch.as_tensor(t, dtype=torch.float64, device="cpu").reshape(1).cpu()
        matrices = reader.at(time)[:, 0].to(self.sample.device, self.sample.dtype)
        return DenseIncrement(matrices, self.sample.source.scale)


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

    def __call__(self, t: float | Tensor, h: Tensor) -> Tensor:
        """Return the drift for states of shape ``(path, input, width)``."""
        check_wanted()
        self.evaluations += 1
        pulled = self._block.pulled(h, self._block.field(h, None), None)
        return pulled * (-(self.net.coefficient**2) / (2 * self.width))


def _reader(sample: WeightSample) -> SmoothReader:
    reader = sample.source.open(sample.first_path, sample.n_paths)
    if not isinstance(reader, SmoothReader):
        raise SolverError(
            f"{sample.path.label} weights have no value between layers, so there is no vector "
            "field to evaluate. Use EulerMaruyama, or a SmoothPath."
        )
    return reader
