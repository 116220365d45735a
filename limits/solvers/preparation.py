"""What every solver checks before it starts, and the limits that need no solver."""

import torch
from torch import Tensor

from limits._typing import Keep, State
from limits.checks import check_beta_length, check_choice, is_number
from limits.equations import DepthLimit, Driver
from limits.equations.isotropic import isotropic_of
from limits.exceptions import (
    DepthMismatchError,
    LimitsError,
    NoLimitError,
    NonFiniteStateError,
    SolverError,
)
from limits.networks.states import as_states
from limits.scaling import check_representable
from limits.trajectory import Trajectory

__all__ = ["check_resolved", "check_tolerances", "constant", "prepare", "reported", "unpacked"]


def check_tolerances(rtol: object, atol: object) -> None:
    """Raise `SolverError` unless both are positive numbers."""
    if not all(is_number(each) and each > 0 for each in (rtol, atol)):
        raise SolverError(
            f"tolerances must be positive, found rtol={rtol!r}, atol={atol!r}. Use "
            "for example rtol=1e-8, atol=1e-10."
        )


def check_resolved(rtol: float, dtype: torch.dtype, *, ulps: int) -> None:
    """Raise `SolverError` if a tolerance is below so many units in the last place."""
    finest = ulps * torch.finfo(dtype).eps
    if rtol < finest:
        raise SolverError(
            f"rtol={rtol:g} is below what {dtype} can resolve ({finest:.1g}). Use "
            "a larger rtol, or sample the path with dtype=torch.float64."
        )


def prepare(
    limit: DepthLimit, h0: Tensor, driver: object, steps: int | None, keep: Keep
) -> tuple[State, Driver]:
    """Check everything and return the states and the driver at the solver's depth.

    Raises
    ------
    NoLimitError
        If the network explodes, or the limit needs a kernel that has no closed form.
    CouplingError, ShapeError, DTypeError
        If the driver or the states do not fit the limit.
    DepthMismatchError
        If `steps` does not divide the depth of the draw.
    """
    if not isinstance(limit, DepthLimit):
        raise LimitsError(
            f"a solver needs the limit, found {type(limit).__name__}. Use "
            "depth_limit(net, path) first."
        )
    check_choice(keep, "keep", Keep)
    limit.check_exists()
    driver = limit.check_driver(driver)
    states = limit.start(as_states(h0, driver))
    check_beta_length(limit.net.beta, states.shape[1])
    check_representable(limit.net.coefficient**2, driver.dtype)
    if limit.form == "law":
        _check_joint_law(states, limit)
    if steps is None:
        return states, driver
    if driver.drawn_depth % steps:
        raise DepthMismatchError(
            f"cannot take {steps} steps on a path drawn with {driver.drawn_depth}, because "
            f"{steps} does not divide {driver.drawn_depth}. Sample at a multiple of {steps}."
        )
    return states, driver.at_depth(steps)


def constant(states: State, driver: Driver, keep: Keep) -> Trajectory:
    """Return the solution of the identity limit: the input, at every time."""
    n_states = driver.depth + 1 if keep == "all" else 2
    # A copy: the solution does not change when its input does.
    return Trajectory.of(driver, states.repeat(n_states, 1, 1, 1))


def reported(out: Trajectory, scheme: str) -> Trajectory:
    """Return a solution, if it is finite.

    Raises
    ------
    NonFiniteStateError
        With the number of paths that overflowed.
    """
    # A state in between may be infinite where the last is not: h_0 e^X of a closed form.
    overflowed = (~torch.isfinite(out.values)).any(dim=-1).any(dim=-1).any(dim=0)
    if bool(overflowed.any()):
        raise NonFiniteStateError(
            f"{scheme} overflowed in {int(overflowed.sum())} of {len(overflowed)} paths. Use more "
            "steps, a smaller coefficient, or an activation of linear growth."
        )
    return out


def _check_joint_law(states: State, limit: DepthLimit) -> None:
    most = isotropic_of(limit.net, limit.path).most_inputs
    if most is not None and states.shape[1] > most:
        raise NoLimitError(
            f"the joint limit of {states.shape[1]} inputs has no closed form for "
            f"{limit.path.label} weights, only that of {most}. Solve one input at a time, or use "
            "BrownianPath."
        )


def unpacked(limit: DepthLimit, solution: Tensor, keep: Keep) -> Tensor:
    """Return a packed solution as states, all of them or the first and the last."""
    values = limit.unpack(solution)
    return values if keep == "all" else torch.stack((values[0], values[-1]))
