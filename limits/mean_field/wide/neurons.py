"""The law of the neurons (u, v) at every layer time: what a Mean ODE averages over."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from limits.activations import Activation
from limits.randomness import Stream

__all__ = ["Neurons", "Particles", "SecondMoments"]

_HALF_A_BIN = 2.0**-31
_SEEDS = 2**31


class Neurons(Protocol):
    """Expectations over the neurons at the nodes, in coordinates of the embeddings' span.

    A neuron reads p = u . h and q = v . b; `h` and `b` have shape ``(node, input, feature)``.
    """

    def push(self, h: Tensor) -> Tensor:
        """Return dh/ds = E[v s(u . h)]."""
        ...

    def pull(self, h: Tensor, b: Tensor) -> Tensor:
        """Return db/ds = -E[u s'(u . h) (v . b)]."""
        ...

    def descend(self, h: Tensor, b: Tensor, rates: tuple[float, float]) -> None:
        """Move every neuron by one step of gradient descent, u and v from old values."""
        ...


@dataclass
class Particles:
    """Neurons as sets of points, one for every node.

    Parameters
    ----------
    u, v : Tensor
        Shape ``(node, particle, feature)``.
    activation : Activation
        The s.
    """

    u: Tensor
    v: Tensor
    activation: Activation

    @classmethod
    def drawn(
        cls,
        nodes: int,
        particles: int,
        features: int,
        scales: tuple[float, float],
        activation: Activation,
        stream: Stream,
    ) -> "Particles":
        """Draw scrambled Sobol points, scrambled anew at every node and mirrored in v.

        One set for all nodes would leave its error in the integral over layer time; independent
        ones average out. With mirrored v the first forward pass is exact.
        """
        half = -(-particles // 2)
        points = torch.stack(
            [_normal_points(half, 2 * features, stream, node) for node in range(nodes)]
        )
        u, v = scales[0] * points[..., :features], scales[1] * points[..., features:]
        return cls(torch.cat((u, u), dim=1), torch.cat((v, -v), dim=1), activation)

    def push(self, h: Tensor) -> Tensor:
        """Return the mean of v s(u . h)."""
        values = self.activation.value(self.u @ h.mT)
        return values.mT @ self.v / self.u.shape[1]

    def pull(self, h: Tensor, b: Tensor) -> Tensor:
        """Return minus the mean of u s'(u . h) (v . b)."""
        slopes = self.activation.derivative(self.u @ h.mT)
        return -((slopes * (self.v @ b.mT)).mT @ self.u) / self.u.shape[1]

    def descend(self, h: Tensor, b: Tensor, rates: tuple[float, float]) -> None:
        """Move every particle."""
        p, q = self.u @ h.mT, self.v @ b.mT
        moved_u = (self.activation.derivative(p) * q) @ h * (rates[0] / h.shape[1])
        moved_v = self.activation.value(p) @ b * (rates[1] / h.shape[1])
        self.u, self.v = self.u - moved_u, self.v - moved_v


@dataclass
class SecondMoments:
    """Neurons of a linear network, exactly: they stay Gaussian, and their second moments suffice.

    Parameters
    ----------
    moments : Tensor
        E[(u, v) (u, v)^T], shape ``(node, 2 feature, 2 feature)``.
    """

    moments: Tensor

    @classmethod
    def initial(
        cls, nodes: int, features: int, scales: tuple[float, float], like: Tensor
    ) -> "SecondMoments":
        """Return the moments of independent normals."""
        variances = [scales[0] ** 2] * features + [scales[1] ** 2] * features
        return cls(torch.diag(like.new_tensor(variances)).expand(nodes, -1, -1))

    @property
    def _cross(self) -> Tensor:
        features = self.moments.shape[-1] // 2
        return self.moments[:, :features, features:]

    def push(self, h: Tensor) -> Tensor:
        """Return E[v u^T] h."""
        return h @ self._cross

    def pull(self, h: Tensor, b: Tensor) -> Tensor:
        """Return -E[u v^T] b."""
        return -(b @ self._cross.mT)

    def descend(self, h: Tensor, b: Tensor, rates: tuple[float, float]) -> None:
        """Apply to the moments the linear map that gradient descent applies to (u, v)."""
        outer = h.mT @ b / h.shape[1]
        none = torch.zeros_like(outer)
        change = torch.cat(
            (torch.cat((none, rates[0] * outer), -1), torch.cat((rates[1] * outer.mT, none), -1)),
            dim=-2,
        )
        step = torch.eye(change.shape[-1]).to(change) - change
        self.moments = step @ self.moments @ step.mT


def _normal_points(count: int, dimension: int, stream: Stream, node: int) -> Tensor:
    """Return scrambled Sobol points as standard normals, shape ``(count, dimension)``."""
    seed = int(torch.randint(_SEEDS, (), generator=stream.generator(node)))
    engine = SobolEngine(dimension, scramble=True, seed=seed)
    # The points are multiples of 2^-30, zero among them, whose normal would be infinite.
    uniform = engine.draw(count, dtype=torch.float64) + _HALF_A_BIN
    return math.sqrt(2) * torch.erfinv(2 * uniform - 1)
