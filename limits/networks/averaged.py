"""Blocks whose inner weights have averaged out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import State
from limits.activations import ACTIVATIONS, Activation
from limits.gaussian import density, distribution, trapezoid
from limits.networks.blocks import check_inner
from limits.paths import Increment
from limits.scalars import plain_numbers

__all__ = ["AveragedInner"]

_REACH, _NODES = 9.0, 721


@plain_numbers
@dataclass(frozen=True)
class AveragedInner:
    """gbar(h) = E s(W h + b) = m(|h| / sqrt(d)) (1, ..., 1), m(r) = E s(r Z + b), Z normal.

    What a res-2 or res-3 block becomes when its Gaussian inner weights, of variance 1 / d,
    average out along the path (H > 1/2). For relu without bias gbar(h) = |h| / sqrt(2 pi d).

    Parameters
    ----------
    activation : Activation
        The s.
    bias : float
        The b.
    """

    activation: Activation
    bias: float = 0.0

    has_inner = False

    def __post_init__(self) -> None:
        check_inner(self.activation, self.bias)

    @property
    def homogeneous(self) -> bool:
        """Whether the activation is positively homogeneous and there is no bias."""
        return self.activation.homogeneous and self.bias == 0

    def field(self, h: State, inner: Increment | None) -> State:
        """Return gbar(h)."""
        radius = torch.linalg.vector_norm(h, dim=-1, keepdim=True) / math.sqrt(h.shape[-1])
        return self._mean(radius).expand_as(h)

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return Dgbar(h) q."""
        unit, slope = self._gradient(h)
        return (slope * (unit * q).sum(dim=-1, keepdim=True)).expand_as(h)

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return Dgbar(h)^T p."""
        unit, slope = self._gradient(h)
        return unit * slope * p.sum(dim=-1, keepdim=True)

    def _mean(self, radius: Tensor) -> Tensor:
        if self._is_relu:
            ratio = self.bias / radius.clamp_min(torch.finfo(radius.dtype).tiny)
            return radius * density(ratio) + self.bias * distribution(ratio)
        nodes, weights = trapezoid(_REACH, _NODES, radius.dtype, radius.device)
        values = self.activation.value(radius * nodes + self.bias)
        return (values * weights).sum(dim=-1, keepdim=True)

    def _gradient(self, h: State) -> tuple[Tensor, Tensor]:
        """Return unit vectors h / |h| and the derivative of m with respect to |h|."""
        norm = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
        tiny = torch.finfo(h.dtype).tiny
        unit = h / norm.clamp_min(tiny)
        root = math.sqrt(h.shape[-1])
        if self._is_relu:
            return unit, density(self.bias * root / norm.clamp_min(tiny)) / root
        nodes, weights = trapezoid(_REACH, _NODES, h.dtype, h.device)
        slopes = self.activation.derivative(norm / root * nodes + self.bias) * nodes
        return unit, (slopes * weights).sum(dim=-1, keepdim=True) / root

    @property
    def _is_relu(self) -> bool:
        return self.activation is ACTIVATIONS["relu"]
