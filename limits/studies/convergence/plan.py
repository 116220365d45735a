"""What a convergence study is asked, checked, and what theory says of it beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from limits._typing import State
from limits.checks import check_choice, check_power, is_count
from limits.closed_forms import linear_nested_strong_error, linear_strong_error
from limits.equations import DepthLimit
from limits.errors.metrics import Functional, check_functional
from limits.exceptions import LimitsError, ShapeError
from limits.networks.blocks import block_label
from limits.networks.resnet import ResNet
from limits.solvers import ClosedForm
from limits.studies.convergence.reference import Deep, Resolved
from limits.studies.convergence.result import ErrorKind

__all__ = ["Plan", "check_error", "checked_depths", "exact_errors", "expected_order", "net_label"]


@dataclass(frozen=True)
class Plan:
    """Everything a chunk needs to know."""

    limit: DepthLimit
    depths: tuple[int, ...]
    reference: Resolved
    error: ErrorKind
    functional: Functional | None
    p: int

    @property
    def ladder(self) -> tuple[int, ...]:
        """All depths that advance together, the reference's own included."""
        return tuple(self.networks)

    @property
    def networks(self) -> dict[int, ResNet]:
        """The network that advances at each depth of the ladder."""
        networks = dict.fromkeys(self.depths, self.limit.net)
        if isinstance(self.reference, Deep):
            networks[self.reference.depth] = self.reference.net
        return networks


def net_label(net: ResNet) -> str:
    """Return a short description of a network for legends and provenance."""
    activation = net.activation if isinstance(net.activation, str) else "custom activation"
    beta = "" if net.beta is None else f", beta={net.beta}"
    coefficient = "" if net.coefficient == 1 else f", c={net.coefficient:g}"
    return f"{block_label(net.block)} {activation}{beta}{coefficient}"


def expected_order(plan: Plan) -> float | None:
    """Return the order that theory gives the error, None where it gives none."""
    if plan.limit.kind == "identity":
        beta = plan.limit.net.exponent(plan.limit.path)
        smallest = torch.as_tensor(beta, dtype=torch.float64, device="cpu").min()
        return float(smallest) - plan.limit.path.critical_beta
    # Reflection leaves a bias of the size of the strong error.
    weak = plan.error == "weak" and not plan.limit.reflected
    return 1.0 if weak else plan.limit.order


def exact_errors(plan: Plan, states: State) -> NDArray[np.float64] | None:
    """Return the exact error of linear res-1 networks on independent increments."""
    limit = plan.limit
    linear = limit.net.activation == "identity" and limit.net.block == "res-1"
    if not (linear and limit.kind == "sde" and plan.error == "strong" and plan.p == 2):
        return None
    depths = np.asarray(plan.depths)
    c = limit.net.coefficient
    try:
        if isinstance(plan.reference, Deep):
            errors = linear_nested_strong_error(depths, plan.reference.depth, coefficient=c)
        elif isinstance(plan.reference, ClosedForm):
            errors = linear_strong_error(depths, coefficient=c)
        else:
            return None
    except LimitsError:  # beyond what a float can hold, unlike the errors of some paths
        return None
    return errors * float(states.double().square().sum(dim=-1).mean().sqrt())


def checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """Return the ladder of depths if an order can be fitted on it."""
    ladder = tuple(depths) if isinstance(depths, Sequence) else (depths,)
    valid = all(map(is_count, ladder))
    if not valid or len(ladder) < 3 or list(ladder) != sorted(set(ladder)):
        raise ShapeError(
            f"depths must be at least three increasing positive integers, found {ladder}. Use for "
            "example (8, 16, 32, 64, 128)."
        )
    return ladder


def check_error(plan: Plan) -> None:
    """Raise unless error, functional and norm fit together."""
    check_choice(plan.error, "error", ErrorKind)
    if plan.functional is not None:
        check_functional(plan.functional)
    if (plan.functional is None) == (plan.error == "weak"):
        raise LimitsError(
            f"error={plan.error!r} with functional={plan.functional!r}: a weak error needs a "
            'functional, and only a weak error takes one. Use for example error="weak", '
            "functional=lambda h: h.norm(dim=-1)."
        )
    check_power(plan.p)
