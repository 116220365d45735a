"""Trainings of limits whose averages over neurons are known in closed form, without a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limits.mean_field.wide.picard import Picard
from limits.mean_field.wide.span import LimitDescent, Span
from limits.parallel import Ticker

__all__ = ["Law", "SecondMoments", "follow"]


class Law(Protocol):
    """The law of the neurons at the nodes, in coordinates in which <h, h'> / D is c . c'.

    A neuron reads p = u . h and q = v . b; `h` and `b` have shape ``(node, input, feature)``.
    """

    def push(self, h: Tensor) -> Tensor:
        """Return dh/ds = E[v s(u . h)]."""
        ...

    def pull(self, h: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map from b to db/ds = -E[u s'(u . h) (v . b)]."""
        ...

    def descend(self, h: Tensor, b: Tensor) -> None:
        """Move every neuron by one step of gradient descent, u and v from old values."""
        ...


def follow(law: Law, span: Span, depth: Picard, steps: int, ticker: Ticker) -> LimitDescent:
    """Train `law`, which is moved, by gradient descent; `ticker` counts `steps` + 1 passes."""
    h = span.start.expand(depth.nodes, -1, -1)
    b = torch.zeros_like(h)
    kept: list[tuple[Tensor, Tensor]] = []
    for step in range(steps + 1):
        h = depth.forward(law.push, h)
        # The solution of the last step, with its new end, is nearer than a constant.
        b = depth.backward(law.pull(h), b - b[-1:] + span.slope(h[-1]))
        kept.append((h, b))
        if step < steps:
            law.descend(h, b)
        ticker()
    states, cotangents = (torch.stack(each) for each in zip(*kept, strict=True))
    outputs = states[:, -1] @ span.readout
    losses = (outputs - span.targets).square().mean(dim=(-1, -2))
    return LimitDescent(
        outputs, torch.zeros_like(outputs), losses, depth.times, states, cotangents
    )  # fmt: skip


@dataclass
class SecondMoments:
    """Neurons of a linear network: they stay Gaussian, and their second moments suffice.

    Parameters
    ----------
    moments : Tensor
        E[(u, v) (u, v)^T], shape ``(node, 2 feature, 2 feature)``.
    rates : tuple of float
        Of u and v.
    """

    moments: Tensor
    rates: tuple[float, float]

    @classmethod
    def initial(
        cls, nodes: int, like: Tensor, *, scales: tuple[float, float], rates: tuple[float, float]
    ) -> "SecondMoments":
        """Return the moments of independent normals, for states like `like`."""
        features = like.shape[-1]
        variances = [scales[0] ** 2] * features + [scales[1] ** 2] * features
        return cls(torch.diag(like.new_tensor(variances)).expand(nodes, -1, -1), rates)

    @property
    def _cross(self) -> Tensor:
        features = self.moments.shape[-1] // 2
        return self.moments[:, :features, features:]

    def push(self, h: Tensor) -> Tensor:
        """Return E[v u^T] h."""
        return h @ self._cross

    def pull(self, h: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the map to -E[u v^T] b, which is the same for all states."""
        return lambda b: -(b @ self._cross.mT)

    def descend(self, h: Tensor, b: Tensor) -> None:
        """Apply to the moments the linear map that gradient descent applies to (u, v)."""
        outer = h.mT @ b / h.shape[1]
        none = torch.zeros_like(outer)
        u, v = self.rates
        change = torch.cat(
            (torch.cat((none, u * outer), -1), torch.cat((v * outer.mT, none), -1)), dim=-2
        )
        step = torch.eye(change.shape[-1], dtype=change.dtype, device=change.device) - change
        self.moments = step @ self.moments @ step.mT
