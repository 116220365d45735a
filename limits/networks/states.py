"""What a network or a solver accepts as a batch of states, and what it says otherwise."""

from typing import Protocol

import torch
from torch import Tensor

from limits._typing import State
from limits.checks import can_be_read, check_finite, check_real
from limits.exceptions import CouplingError, DTypeError, ShapeError
from limits.paths import WeightSample
from limits.trajectory import Trajectory

__all__ = [
    "Paths",
    "as_states",
    "check_same_draw",
    "check_sample",
]


class Paths(Protocol):
    """What states must fit: a batch of paths of some width, in some precision."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def n_paths(self) -> int: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102


def as_states(h0: Tensor, sample: Paths, *, name: str = "h0") -> State:
    """Return `h0` as ``(path, input, width)``, expanded over paths where they share it.

    Raises
    ------
    ShapeError
        If `h0` is neither ``(input, width)`` nor ``(path, input, width)`` of the sample.
    DTypeError
        If dtype or device differ from the sample's.
    NonFiniteStateError
        If an entry is NaN or infinite.
    """
    if not isinstance(h0, Tensor):
        raise ShapeError(
            f"{name} must be a torch.Tensor of shape (input, {sample.width}), found "
            f"{type(h0).__name__}. Use torch.as_tensor({name}, dtype={sample.dtype})."
        )
    check_real(h0, name)
    shared = h0.ndim == 2 and h0.shape[1] == sample.width
    own = h0.ndim == 3 and (h0.shape[0], h0.shape[2]) == (sample.n_paths, sample.width)
    if not (shared or own) or h0.shape[-2] == 0:
        raise ShapeError(
            f"{name} must have shape (input, {sample.width}) or ({sample.n_paths}, input, "
            f"{sample.width}) to meet {sample.n_paths} paths of width {sample.width}, found "
            f"{tuple(h0.shape)}. Use {name}[None] for a single input, or a path of that width."
        )
    if h0.dtype != sample.dtype or h0.device.type != sample.device.type:
        other = f", or sample the path with dtype={h0.dtype}" if can_be_read(h0.dtype) else ""
        raise DTypeError(
            f"{name} is {h0.dtype} on {h0.device.type}, the weights are {sample.dtype} on "
            f"{sample.device.type}. Use {name}.to(sample.device, sample.dtype){other}."
        )
    check_finite(h0, name)
    # Torch adds up rows in an order that depends on how, and how many, lie in memory.
    lined = h0.contiguous()
    return lined.expand(sample.n_paths, -1, -1) if shared else lined


def check_sample(sample: object) -> None:
    """Raise unless `sample` is a draw of a weight path."""
    if not isinstance(sample, WeightSample):
        raise ShapeError(
            f"weights must come as a WeightSample, found {type(sample).__name__}. Draw one with "
            "path.sample(depth=64, n_paths=16, seed=0)."
        )


def check_same_draw(out: Trajectory, sample: WeightSample) -> None:
    """Raise `CouplingError` unless the trajectory was computed on this draw and depth."""
    if not isinstance(out, Trajectory):
        raise ShapeError(
            f"backward needs what the network returned, found {type(out).__name__}. Use "
            "out = net(h0, sample) first."
        )
    if out.values.dtype != sample.dtype:
        raise DTypeError(
            f"the trajectory is {out.values.dtype}, the weights are {sample.dtype}. Pass the "
            "sample that the network read."
        )
    if out.tag != sample.tag or out.depth != sample.depth or out.values.shape[1] != sample.n_paths:
        raise CouplingError(
            f"the trajectory comes from draw #{out.tag} at depth {out.depth} with "
            f"{out.values.shape[1]} paths, the sample is draw #{sample.tag} at depth "
            f"{sample.depth} with {sample.n_paths} paths. Pass the sample that the network read."
        )
