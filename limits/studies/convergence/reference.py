"""What a study measures its networks against."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from limits._typing import Keep
from limits.activations import ACTIVATIONS
from limits.equations import DepthLimit, Driver
from limits.exceptions import CouplingError, DepthMismatchError, LimitsError
from limits.networks.blocks import block_label
from limits.networks.resnet import ResNet
from limits.paths import SmoothPath
from limits.solvers import ClosedForm, EulerMaruyama, MidpointExtrapolation, TorchDiffEq
from limits.solvers.closed_form import has_closed_form
from limits.trajectory import Trajectory

__all__ = ["Deep", "Reference", "Resolved", "Solver", "drawn_depth", "name_of", "resolve"]

FINER = 16
"""The default Euler reference has this many times the deepest network's layers."""


class Solver(Protocol):
    """Anything that solves a limit on a draw."""

    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Return the solution."""
        ...


@dataclass(frozen=True)
class Deep:
    """A much deeper network on the same paths; the corrected one for a Young limit."""

    depth: int
    net: ResNet


Reference = int | float | Solver
"""A depth (the network itself, that deep), an exact expectation (weak errors), or a solver."""
Resolved = Deep | float | Solver


def resolve(
    limit: DepthLimit, depths: Sequence[int], reference: Reference | None, error: str
) -> Resolved:
    """Return the reference, the best the library has when none is given.

    Raises
    ------
    CouplingError
        If only laws converge and a path-by-path error is asked for, or no exact value is given.
    DepthMismatchError
        If a reference depth is not a multiple of every depth.
    """
    exact = isinstance(reference, float)
    if error != "weak" and exact:
        raise LimitsError(
            f"reference={reference} is an expectation, which only a weak error can be measured "
            'against. Use error="weak", a depth (an integer), or a solver.'
        )
    own_network = isinstance(reference, int) and not isinstance(reference, bool)
    if limit.coupling == "law" and not exact and not (own_network and error == "weak"):
        raise CouplingError(
            f"{block_label(limit.net.block)} on {limit.path.label} weights converges in law only, "
            f"so a path-by-path {error} error does not go to zero. Use "
            'error="weak" with a functional and its exact expectation as reference=, a float.'
        )
    if reference is None:
        return _default(limit, depths)
    if isinstance(reference, int) and own_network:
        _check_deeper(reference, depths)
        return Deep(reference, limit.net)
    solver = hasattr(reference, "solve") and not isinstance(reference, type)
    if isinstance(reference, int) or not (exact or solver):
        raise LimitsError(
            f"reference must be a depth, a float (weak errors) or a solver, found {reference!r}. "
            "Leave it out for the best the library has."
        )
    return reference


def drawn_depth(depths: Sequence[int], reference: Resolved) -> int:
    """Return the depth at which the path has to be drawn."""
    return reference.depth if isinstance(reference, Deep) else math.lcm(*depths)


def name_of(limit: DepthLimit, reference: Resolved) -> str:
    """Return what the reference is, for legends and provenance."""
    if isinstance(reference, Deep):
        corrected = "corrected, " if reference.net.corrected and not limit.net.corrected else ""
        return f"same path, {corrected}L = {reference.depth}"
    if isinstance(reference, float):
        return f"exact value {reference:.6g}"
    if isinstance(reference, ClosedForm):
        return "closed form"
    if limit.kind == "identity":
        return "input"
    method = getattr(reference, "method", None)
    return f"{type(reference).__name__}({method})" if method else type(reference).__name__


def _default(limit: DepthLimit, depths: Sequence[int]) -> Resolved:
    if has_closed_form(limit):
        return ClosedForm()
    if limit.kind == "ode" and not limit.reflected:
        if _is_smooth(limit):
            return MidpointExtrapolation()
        return TorchDiffEq(method="dopri8", rtol=1e-10, atol=1e-12)
    if limit.kind == "identity":
        return EulerMaruyama()
    net = limit.net
    if limit.kind == "young":
        net = replace(net, block=limit.block, corrected=True)
    return Deep(FINER * math.lcm(*depths), net)


def _is_smooth(limit: DepthLimit) -> bool:
    smooth = [ACTIVATIONS[name] for name in ("identity", "tanh", "gelu")]
    activation = getattr(limit.net.vector_field, "activation", None)
    return isinstance(limit.path, SmoothPath) and any(activation is each for each in smooth)


def _check_deeper(reference: int, depths: Sequence[int]) -> None:
    wrong = [depth for depth in depths if reference % depth or reference <= depth]
    if wrong:
        raise DepthMismatchError(
            f"the reference depth {reference} must be a larger multiple of every depth; it is not "
            f"for {tuple(wrong)}. Use for example reference={FINER * math.lcm(*depths)}."
        )
