"""Euler-Maruyama for problems that users wrote for torchsde."""

import hashlib
import warnings
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from limits._typing import Keep
from limits.checks import can_be_read, check_choice, check_finite, check_real
from limits.equations.foreign import ForeignSDE, foreign_steps
from limits.equations.noise import NoiseSample
from limits.exceptions import (
    CouplingError,
    DTypeError,
    NonFiniteStateError,
    ShapeError,
    SolverError,
)
from limits.modes import keeps_dtypes
from limits.trajectory import Trajectory

if TYPE_CHECKING:
    from torchsde import BaseBrownian

__all__ = ["solve_foreign"]


class _Motion(NamedTuple):
    """A torchsde Brownian motion, read at a number of steps."""

    tag: str
    depth: int


@keeps_dtypes
def solve_foreign(
    equation: ForeignSDE,
    y0: Tensor,
    noise: object,
    *,
    steps: int | None,
    keep: Keep,
) -> Trajectory:
    """Return the Euler-Maruyama solution; inputs of a path share its noise.

    Raises
    ------
    CouplingError
        If `noise` is neither ``equation.sample(...)`` nor a torchsde Brownian motion.
    SolverError
        If the number of steps is missing for a torchsde Brownian motion.
    ShapeError, NonFiniteStateError
        If `y0` does not fit, or the solution overflows.
    """
    from torchsde import BaseBrownian

    check_choice(keep, "keep", Keep)
    if isinstance(noise, NoiseSample):
        noise = noise if steps is None else noise.at_depth(steps)
        draw, n_paths = noise, noise.n_paths
    elif isinstance(noise, BaseBrownian):
        if steps is None:
            raise SolverError(
                "a torchsde Brownian motion has no grid, so a number of steps is needed. Use "
                "EulerMaruyama(steps=1024)."
            )
        draw, n_paths = _Motion(_tag_of(noise, equation), steps), noise.shape[0]
    else:
        raise CouplingError(
            "a torchsde problem is driven by equation.sample(...) or a torchsde Brownian motion, "
            f"found {type(noise).__name__}."
        )
    states = _states(y0, n_paths)
    n_inputs = states.shape[1]
    y, kept = states.flatten(0, 1), [states]
    for t, dt, increment in foreign_steps(equation, noise, draw.depth):
        noise_each = increment.to(y).repeat_interleave(n_inputs, dim=0)
        y = y + equation.drift(t, y) * dt.to(y) + equation.diffusion(t, y, noise_each)
        if keep == "all":
            kept.append(y.unflatten(0, (n_paths, n_inputs)))
    if keep == "terminal":
        kept.append(y.unflatten(0, (n_paths, n_inputs)))
    bad = int((~torch.isfinite(y)).any(dim=-1).sum())
    if bad:
        raise NonFiniteStateError(
            f"the Euler scheme with {draw.depth} steps overflowed in {bad} of {len(y)} solutions. "
            "Use more steps."
        )
    return Trajectory.of(draw, torch.stack(kept))


def _tag_of(motion: "BaseBrownian", equation: ForeignSDE) -> str:
    """Name a Brownian motion by its total increment: objects have no name, and addresses recur."""
    with warnings.catch_warnings():
        # torchsde warns of times outside its interval, and answers as if nothing moved there.
        warnings.simplefilter("error", UserWarning)
        try:
            found = cast("Tensor", motion(equation.start, equation.stop))
        except UserWarning as warning:
            raise CouplingError(
                f"the equation runs from {equation.start:g} to {equation.stop:g}, and the Brownian "
                f"motion does not: {warning} Make one with t0={equation.start:g}, "
                f"t1={equation.stop:g}, or use equation.sample(...)."
            ) from None
    total = found.detach().double().cpu().contiguous()
    return f"torchsde-{hashlib.sha256(total.numpy().tobytes()).hexdigest()[:8]}"


def _states(y0: Tensor, n_paths: int) -> Tensor:
    if isinstance(y0, Tensor):
        check_real(y0, "y0")
    if isinstance(y0, Tensor) and y0.ndim == 2:
        y0 = y0.expand(n_paths, -1, -1)
    if not isinstance(y0, Tensor) or y0.ndim != 3 or len(y0) != n_paths:
        found = tuple(y0.shape) if isinstance(y0, Tensor) else type(y0).__name__
        raise ShapeError(
            f"y0 must have shape (input, width) or ({n_paths}, input, width), found {found}. Use "
            "y0[None] for a single state."
        )
    if y0.shape[1] == 0:
        raise ShapeError(f"y0 has no inputs, shape {tuple(y0.shape)}. Pass at least one.")
    check_finite(y0, "y0")
    if not can_be_read(y0.dtype):
        raise DTypeError(
            f"y0 is {y0.dtype}, in which the noise would lose its digits. Use y0.double(), or "
            "y0.float()."
        )
    return y0
