"""Distances between a network and its limit: path by path, and in law."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from limits._typing import State
from limits.checks import check_choice, check_finite, check_power, check_real, is_number
from limits.company import beside_copies
from limits.estimates import Estimate
from limits.exceptions import CouplingError, LimitsError, NonFiniteStateError, ShapeError
from limits.modes import keeps_dtypes
from limits.scalars import plain_numbers
from limits.trajectory import Trajectory

__all__ = [
    "Functional",
    "alone",
    "check_errors",
    "check_functional",
    "check_functional_is_finite",
    "functional_values",
    "path_errors",
    "path_errors_of_part",
    "strong_error",
    "weak_differences",
    "weak_error",
]

Functional = Callable[[Tensor], Tensor]
ErrorTime = Literal["terminal", "uniform"]
_TIME_TOLERANCE = 1e-9
_SMALL = 1e-100


@plain_numbers
def strong_error(
    a: Trajectory, b: Trajectory, *, p: int = 2, time: ErrorTime = "terminal"
) -> Estimate:
    """Estimate the strong error (E|a - b|^p)^(1/p) of two trajectories on the same paths.

    ``terminal``: at t = 1. ``uniform``: the largest distance over the times both have.

    Parameters
    ----------
    a, b : Trajectory
        From networks or solvers that read the same draw, at any depth.
    p : {1, 2}
        The norm. For p = 2 the value is the root mean square.
    time : {"terminal", "uniform"}
        Needs ``keep="all"`` for ``"uniform"``.

    Returns
    -------
    Estimate
        Inputs are averaged within a path; the standard error counts paths.

    Raises
    ------
    CouplingError
        If the trajectories come from different draws. Solve the limit on the sample the
        network read, or compare laws with `weak_error`.
    ShapeError, NonFiniteStateError
        If the trajectories have different shapes, or overflowed.

    Examples
    --------
    >>> import limits
    >>> sample = limits.BrownianPath(4).sample(depth=64, n_paths=32, seed=0)
    >>> h0, net = torch.ones(1, 4, dtype=torch.float64), limits.ResNet("identity")
    >>> strong_error(net(h0, sample.at_depth(8)), net(h0, sample)).n
    32
    """
    errors = path_errors(a, b, p=p, time=time)
    return Estimate.of_power_mean(errors.detach().cpu().numpy(), p)


@plain_numbers
def path_errors(
    a: Trajectory, b: Trajectory, *, p: int = 2, time: ErrorTime = "terminal"
) -> Tensor:
    """Return the error of every path, (mean over inputs |a - b|^p)^(1/p), shape ``(path,)``."""
    check_power(p)
    check_choice(time, "time", ErrorTime)
    found = path_errors_of_part(a, b, p=p, time=time)
    check_errors(found)
    return found


def path_errors_of_part(a: Trajectory, b: Trajectory, *, p: int, time: ErrorTime) -> Tensor:
    """Return `path_errors`, NaN or infinite where states are: nothing depends on other paths."""
    _check_comparable(a, b)
    if time == "terminal":
        distance = _distance(a.terminal, b.terminal)
    else:
        distance = _distance(*_at_common_times(a, b)).amax(dim=0)
    unit = _unit(distance.detach().amax(dim=1, keepdim=True))
    return (distance / unit).pow(p).mean(dim=1).pow(1 / p) * unit[:, 0]


def check_errors(errors: Tensor) -> None:
    """Raise if the error of a path, the last axis, is no number."""
    finite = torch.isfinite(errors).reshape(-1, errors.shape[-1]).all(dim=0)
    if not bool(finite.all()):
        raise NonFiniteStateError(
            f"{int((~finite).sum())} of {len(finite)} paths have NaN or infinite distances, so "
            "their mean is no estimate. Compare out.log_norm instead, or use the critical exponent."
        )


@plain_numbers
def weak_error(a: Trajectory, b: Trajectory | float, *, functional: Functional) -> Estimate:
    """Estimate the weak error |E phi(a) - E phi(b)| at t = 1.

    Parameters
    ----------
    a : Trajectory
        The network.
    b : Trajectory or float
        The limit, or the exact value of E phi. Where both share a draw the difference is taken
        path by path, which shrinks its standard error.
    functional : callable
        phi, from ``(path, input, width)`` to ``(path, input)``.

    Returns
    -------
    Estimate
        Inputs are averaged within a path.

    Raises
    ------
    ShapeError
        If `functional` returns another shape.

    Examples
    --------
    >>> import math, limits
    >>> sample = limits.BrownianPath(8).sample(depth=16, n_paths=4000, seed=0)
    >>> out = limits.ResNet("identity")(torch.eye(1, 8, dtype=torch.float64), sample)
    >>> error = weak_error(out, math.e, functional=lambda h: h.square().sum(-1))
    >>> abs(error.value - (math.e - (1 + 1 / 16) ** 16)) < 4 * error.standard_error
    True
    """
    _check_weak(a, b, functional)
    if not isinstance(b, Trajectory) or _paired(a, b):
        values = weak_differences(a, b, functional=functional).detach()
        return Estimate(abs(float(values.mean())), _standard_error(values), len(values))
    first, second = (_apply(functional, each).detach() for each in (a, b))
    spread = (_standard_error(first) ** 2 + _standard_error(second) ** 2) ** 0.5
    return Estimate(abs(float(first.mean() - second.mean())), spread, min(len(first), len(second)))


def weak_differences(
    a: Trajectory, b: Trajectory | float, *, functional: Functional, finite: bool = True
) -> Tensor:
    """Return phi(a) - phi(b) of every path, inputs averaged, shape ``(path,)``.

    A study asks of all its paths together whether they are finite, not of every part.
    """
    first = functional_values(functional, a.terminal, finite=finite)
    if not isinstance(b, Trajectory):
        return first - b
    return first - functional_values(functional, b.terminal, finite=finite)


@keeps_dtypes
def functional_values(functional: Functional, states: State, *, finite: bool = True) -> Tensor:
    """Return phi of every path, inputs averaged, shape ``(path,)`` in float64.

    Raises
    ------
    ShapeError
        If `functional` does not return ``(path, input)``.
    NonFiniteStateError
        If a value is NaN or infinite, and all have to be `finite`.
    """
    # A functional may act in place, and states may be views of what is kept.
    values = functional(states.clone())
    wanted = states.shape[:2]
    if not isinstance(values, Tensor) or values.shape != wanted:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ShapeError(
            f"functional must map (path, input, width) to (path, input) = {tuple(wanted)}, found "
            f"{found}. Reduce the last axis only, for example lambda h: h.norm(dim=-1)."
        )
    check_real(values, "functional")
    if finite:
        check_functional_is_finite(values)
    return values.double().mean(dim=1)


def check_functional_is_finite(values: Tensor) -> None:
    """Raise if a value of a functional, or a difference of two, is no number."""
    check_finite(values, "functional", "Use a functional that is finite on these states.")


def alone(functional: Functional) -> Functional:
    """Return a functional whose value of a path does not depend on how many are beside it.

    See `limits.company`.
    """
    return lambda states: beside_copies(functional, states)


def check_functional(functional: object) -> None:
    """Raise unless `functional` can be called."""
    if not callable(functional):
        raise LimitsError(
            f"functional must be callable, found {functional!r}. Use for example "
            "functional=lambda h: h.norm(dim=-1)."
        )


def _check_weak(a: object, b: object, functional: object) -> None:
    if not isinstance(a, Trajectory) or not (is_number(b) or isinstance(b, Trajectory)):
        raise ShapeError(
            f"weak_error compares a trajectory with a trajectory or a finite number, found "
            f"{type(a).__name__} and {b if isinstance(b, float) else type(b).__name__}. Pass what "
            "a network or a solver returned."
        )
    check_functional(functional)


def _paired(a: Trajectory, b: Trajectory) -> bool:
    return a.tag == b.tag and a.terminal.shape == b.terminal.shape


def _apply(functional: Functional, trajectory: Trajectory) -> Tensor:
    return functional_values(functional, trajectory.terminal)


def _standard_error(values: Tensor) -> float:
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def _check_comparable(a: Trajectory, b: Trajectory) -> None:
    for each in (a, b):
        if not isinstance(each, Trajectory):
            raise ShapeError(
                f"strong_error compares trajectories, found {type(each).__name__}. Pass what a "
                "network or a solver returned."
            )
    if a.tag != b.tag:
        raise CouplingError(
            "strong_error needs two trajectories driven by the same weight path; these come from "
            f"draws #{a.tag} and #{b.tag}. Solve the limit on the sample you passed to the "
            "network, or use weak_error."
        )
    if a.terminal.shape != b.terminal.shape:
        raise ShapeError(
            f"the trajectories have terminal states of shapes {tuple(a.terminal.shape)} and "
            f"{tuple(b.terminal.shape)}, (path, input, width). Use the same inputs and n_paths."
        )


def _distance(a: Tensor, b: Tensor) -> Tensor:
    difference = a.double() - b.double()
    unit = _unit(difference.detach().abs().amax(dim=-1, keepdim=True))
    return torch.linalg.vector_norm(difference / unit, dim=-1) * unit[..., 0]


def _unit(largest: Tensor) -> Tensor:
    """Return what to count in, so that no power overflows or vanishes: one, if it can be."""
    extreme = ((largest > 0) & (largest < _SMALL)) | (largest > 1 / _SMALL)
    return torch.where(extreme & torch.isfinite(largest), largest, torch.ones_like(largest))


def _at_common_times(a: Trajectory, b: Trajectory) -> tuple[Tensor, Tensor]:
    gaps = (a.times[:, None] - b.times[None, :]).abs()
    rows, columns = torch.nonzero(gaps < _TIME_TOLERANCE, as_tuple=True)
    needed = min(a.depth or 0, b.depth or 0) + 1
    if len(rows) < max(needed, 3):
        raise ShapeError(
            f"the uniform error needs the states along the way; these trajectories share "
            f'{len(rows)} times. Call the network and the solver with keep="all", on depths '
            "that divide one another."
        )
    return a.values[rows], b.values[columns]
