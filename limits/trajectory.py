"""What every network and every solver returns, tagged with the draw that drove it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Drawn", "Trajectory", "join_paths", "layer_times", "norms_of"]


class Drawn(Protocol):
    """A draw with a name, read at some depth."""

    @property
    def tag(self) -> str:
        """Names the draw; the same at every depth it is read at."""
        ...

    @property
    def depth(self) -> int:
        """Number of layers or steps."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Hidden states along layer time, for a batch of weight paths and inputs.

    Parameters
    ----------
    times : Tensor
        Layer times t = k / L in [0, 1], shape ``(time,)``, float64.
    values : Tensor
        Hidden states, shape ``(time, path, input, width)``.
    tag : str
        Names the draw of the weights. Two trajectories may be compared path by path only if
        their tags agree.
    log_norms : Tensor
        Natural logarithm of the norm of each state, shape ``(time, path, input)``; finite even
        where `values` overflowed, when the block is positively homogeneous; those of gradients and
        tangents always, as they are linear.
    stats : Mapping
        What was done to get here: layers, steps, function evaluations.

    Examples
    --------
    >>> import limits
    >>> sample = limits.BrownianPath(3).sample(depth=8, n_paths=16, seed=0)
    >>> out = limits.ResNet("tanh")(torch.ones(2, 3, dtype=torch.float64), sample)
    >>> out.values.shape, out.terminal.shape, out.log_norm.shape
    (torch.Size([2, 16, 2, 3]), torch.Size([16, 2, 3]), torch.Size([16, 2]))
    """

    times: Tensor
    values: Tensor
    tag: str
    log_norms: Tensor
    stats: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, draw: Drawn, values: Tensor, *, log_norms: Tensor | None = None, **stats: int
    ) -> "Trajectory":
        """Return states that were computed on a draw, evenly spaced in layer time.

        Parameters
        ----------
        draw : Drawn
            The weights or the noise, at the depth it was read at.
        values : Tensor
            All depth + 1 states, those of every n-th layer, or the first and the last, shape
            ``(time, path, input, width)``.
        log_norms : Tensor, optional
            Where they are known better than from `values`, shape ``(time, path, input)``.
        stats : int
            What was done beyond one step a layer.
        """
        return cls(
            times=layer_times(draw.depth, len(values)),
            values=values,
            tag=draw.tag,
            log_norms=norms_of(values) if log_norms is None else log_norms,
            stats={"depth": draw.depth, **stats},
        )

    @property
    def terminal(self) -> Tensor:
        """State at t = 1, shape ``(path, input, width)``."""
        return self.values[-1]

    @property
    def log_norm(self) -> Tensor:
        """log|h| at t = 1, shape ``(path, input)``, finite where `terminal` overflows."""
        return self.log_norms[-1]

    @property
    def depth(self) -> int | None:
        """Number of layers or steps behind the trajectory, where that is meaningful."""
        return self.stats.get("depth")

    @property
    def keeps_all(self) -> bool:
        """Whether every layer's state was kept, not only the first and the last."""
        return self.depth is not None and len(self.times) == self.depth + 1


def join_paths(parts: list[Trajectory]) -> Trajectory:
    """Glue trajectories of consecutive chunks of paths into one."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Trajectory(
        times=first.times,
        values=torch.cat([part.values for part in parts], dim=1),
        tag=first.tag,
        log_norms=torch.cat([part.log_norms for part in parts], dim=1),
        stats=first.stats,
    )


def norms_of(values: Tensor) -> Tensor:
    """Return log|h| over the last axis, -inf for a zero state and without overflow."""
    largest = values.abs().amax(dim=-1, keepdim=True)
    unit = torch.where((largest > 0) & torch.isfinite(largest), largest, torch.ones_like(largest))
    return torch.log(torch.linalg.vector_norm(values / unit, dim=-1)) + torch.log(unit[..., 0])


def layer_times(depth: int, n_states: int) -> Tensor:
    """Return the layer times k / L of evenly spaced states, both ends among them, float64."""
    every = depth // (n_states - 1)
    return torch.arange(0, depth + 1, every, dtype=torch.float64, device="cpu") / depth
