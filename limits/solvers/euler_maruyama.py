"""Our own batched Euler-Maruyama scheme."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limits._typing import Keep, State
from limits.checks import check_steps
from limits.equations import DepthLimit, Driver, NoiseSample
from limits.equations.foreign import ForeignSDE
from limits.equations.ode import DriftField
from limits.networks.fused import Fused
from limits.networks.log_scale import restored
from limits.networks.propagate import Stepper, advance
from limits.parallel import map_chunks
from limits.paths import WeightSample
from limits.scalars import plain_numbers
from limits.solvers.foreign import solve_foreign
from limits.solvers.law_form import ranges_on_noise, steps_on_noise
from limits.solvers.preparation import constant, prepare, reported
from limits.trajectory import Trajectory, join_paths

if TYPE_CHECKING:
    from torchsde import BaseBrownian

__all__ = ["EulerMaruyama"]


@plain_numbers
@dataclass(frozen=True)
class EulerMaruyama:
    """Euler's scheme on the grid of the draw, H_{k+1} = H_k + c dX_k g(H_k).

    Batched over paths and inputs; for an ODE limit it is the explicit Euler scheme, for a Young
    equation the naive one of order 2 H - 1, for a limit in law
    H_{k+1} = H_k + (c / sqrt(width)) R(H_k) dB_k. Where the limit is reflected (post-relu) every
    step is projected onto the orthant, H -> max(H, 0) entry by entry. At the critical exponent
    this *is* the network of depth `steps`.

    Parameters
    ----------
    steps : int, optional
        Number of steps, a divisor of the drawn depth; the sample's depth when left out.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations* (1992),
    Section 10.2: strong order 1/2; Slominski, "Euler's approximations of solutions of SDEs with
    reflecting boundary", Stochastic Process. Appl. 94 (2001), for the projected scheme.

    Examples
    --------
    >>> import torch, limits
    >>> path, net = limits.BrownianPath(8), limits.ResNet("tanh")
    >>> sample = path.sample(depth=64, n_paths=16, seed=0)
    >>> h0 = torch.ones(1, 8, dtype=torch.float64)
    >>> solution = EulerMaruyama().solve(limits.depth_limit(net, path), h0, sample)
    >>> bool(torch.allclose(solution.terminal, net(h0, sample).terminal))
    True
    """

    steps: int | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def solve(
        self,
        limit: DepthLimit | ForeignSDE,
        h0: Tensor,
        sample: "Driver | BaseBrownian",
        *,
        keep: Keep = "terminal",
    ) -> Trajectory:
        """Solve a limit on the draw that drives it.

        Parameters
        ----------
        limit : DepthLimit or ForeignSDE
            From `depth_limit`, or from `from_torchsde`.
        h0 : Tensor
            ``(input, width)`` or ``(path, input, width)``.
        sample : WeightSample or NoiseSample
            The draw: weights for a path form, ``limit.sample(...)`` for a law form.
        keep : {"terminal", "all"}
            Keep the first and last state, or all.

        Raises
        ------
        NoLimitError
            If the network explodes.
        CouplingError, ShapeError, DTypeError, DepthMismatchError
            If the arguments do not fit together.
        NonFiniteStateError
            If the solution overflows.
        """
        if isinstance(limit, ForeignSDE):
            return solve_foreign(limit, h0, sample, steps=self.steps, keep=keep)
        states, driver = prepare(limit, h0, sample, self.steps, keep)
        if limit.kind == "identity":
            return constant(states, driver, keep)

        def solve_chunk(first: int, count: int) -> Trajectory:
            chosen = states[first : first + count]
            if isinstance(driver, NoiseSample):
                return steps_on_noise(limit, chosen, driver, first, keep)
            if limit.theorem.driver == "nothing":
                return _on_drift(limit, chosen, driver, keep)
            return _on_weights(limit, chosen, driver, first, keep)

        compiled = isinstance(driver, NoiseSample)
        ranges = ranges_on_noise(limit, states, driver) if compiled else driver.shares()
        out = join_paths(map_chunks(solve_chunk, ranges, threads=not h0.requires_grad))
        return reported(out, f"the Euler scheme with {driver.depth} steps")


def _on_weights(
    limit: DepthLimit, states: State, driver: WeightSample, first: int, keep: Keep
) -> Trajectory:
    coefficient = limit.net.coefficient
    stepper = Stepper(limit.block, coefficient, states, abs(coefficient))
    if fused := Fused.of(driver.part(first, len(states)), [stepper]):
        return Trajectory.of(driver, restored(*fused.advance_one(stepper, keep=keep)))
    layers = driver.layers(first_path=first, n_paths=len(states), inner=stepper.block.has_inner)
    values, _ = advance(stepper, layers, keep=keep).states()
    return Trajectory.of(driver, values)


def _on_drift(limit: DepthLimit, states: State, driver: Driver, keep: Keep) -> Trajectory:
    drift = DriftField(limit.net, limit.path.width)
    h, kept = states, [states]
    for step in range(driver.depth):
        h = h + drift(step / driver.depth, h) / driver.depth
        if keep == "all":
            kept.append(h)
    return Trajectory.of(driver, torch.stack(kept if keep == "all" else [states, h]))
