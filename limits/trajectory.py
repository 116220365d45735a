"""What every network and every solver returns, tagged with the draw that drove it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Trajectory", "as_trajectory", "layer_times"]


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
        where `values` overflowed, when the block is positively homogeneous.
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


class Tagged(Protocol):
    """A draw with a name."""

    @property
    def tag(self) -> str: ...


def layer_times(depth: int, *, keep_all: bool) -> Tensor:
    """Return the layer times k / L that are kept, float64."""
    if keep_all:
        return torch.arange(depth + 1, dtype=torch.float64) / depth
    return torch.tensor([0.0, 1.0], dtype=torch.float64)


def as_trajectory(
    draw: Tagged,
    times: Tensor,
    values: Tensor,
    stats: dict[str, int],
) -> Trajectory:
    """Wrap a solution, tagged with the draw it was computed on."""
    return Trajectory(
        times=times, values=values, tag=draw.tag, log_norms=norms_of(values), stats=stats
    )
