"""torchdiffeq on the smooth weights of the draw."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from limits._typing import Keep
from limits.checks import check_steps
from limits.equations import DepthLimit, Driver
from limits.equations.ode import DriftField, VectorField
from limits.exceptions import LimitsError, SolverError
from limits.modes import keeps_dtypes
from limits.parallel import map_chunks
from limits.paths import TrainedPath, WeightSample
from limits.scalars import plain_numbers
from limits.solvers.preparation import (
    check_resolved,
    check_tolerances,
    constant,
    prepare,
    reported,
)
from limits.trajectory import Trajectory, join_paths, layer_times

__all__ = ["TorchDiffEq"]

FixedStep = Literal["euler", "midpoint", "heun2", "heun3", "rk4"]
Adaptive = Literal["dopri5", "dopri8", "bosh3", "adaptive_heun", "fehlberg2"]

_TOGETHER = 16
"""Paths whose steps are chosen together, counted from the first of the draw."""


@plain_numbers
@dataclass(frozen=True)
class TorchDiffEq:
    """Solve an ODE limit by ``torchdiffeq.odeint``.

    Fixed-step methods take one step per layer of the sample (torchdiffeq takes a single step
    between two times unless the whole grid is handed over). Adaptive methods choose their steps
    for one input on the sixteen paths of a block of the draw, which are solved together whether
    they were asked for or not: the solution of an input on a path depends on nothing else that
    is solved beside it.

    Parameters
    ----------
    method : str
        Fixed step: ``euler``, ``midpoint``, ``heun2``, ``heun3``, ``rk4``. Adaptive:
        ``dopri5``, ``dopri8``, ``bosh3``, ``adaptive_heun``, ``fehlberg2``.
    rtol, atol : float
        Tolerances of adaptive methods, per step and relative to the states of the block.
    steps : int, optional
        Steps of fixed-step methods; the sample's depth when left out.

    Raises
    ------
    SolverError
        If the method is unknown or a tolerance is not positive.

    References
    ----------
    Chen, Rubanova, Bettencourt, Duvenaud, "Neural ordinary differential equations", NeurIPS
    2018 (torchdiffeq); Hairer, Norsett, Wanner, *Solving ODEs I* (1993), Section II.5.

    Examples
    --------
    >>> import torch, limits
    >>> path, net = limits.SmoothPath(4), limits.ResNet("tanh")
    >>> sample = path.sample(depth=512, n_paths=16, seed=0)
    >>> h0 = torch.ones(1, 4, dtype=torch.float64)
    >>> limit = limits.depth_limit(net, path)
    >>> exact = TorchDiffEq(method="dopri8", rtol=1e-9, atol=1e-11).solve(limit, h0, sample)
    >>> limits.strong_error(net(h0, sample), exact).value < 0.01
    True
    """

    method: FixedStep | Adaptive = "dopri5"
    rtol: float = 1e-8
    atol: float = 1e-10
    steps: int | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps)
        known = get_args(FixedStep) + get_args(Adaptive)
        if self.method not in known:
            raise SolverError(
                f"unknown torchdiffeq method {self.method!r}. Use one of {', '.join(known)}."
            )
        check_tolerances(self.rtol, self.atol)

    @keeps_dtypes
    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Solve an ODE limit on the weights of a draw; arguments as in `EulerMaruyama.solve`.

        Raises
        ------
        SolverError
            If the limit is no ODE, or torchdiffeq gave up.
        NonFiniteStateError
            If the solution overflows.
        """
        states, driver = prepare(limit, h0, sample, self.steps, keep)
        if limit.kind == "identity":
            return constant(states, driver, keep)
        if limit.kind != "ode" or not isinstance(driver, WeightSample):
            raise SolverError(
                f"TorchDiffEq solves ODE limits, this one is of kind {limit.kind!r}. Use "
                "EulerMaruyama or TorchSDE for an SDE, EulerMaruyama for every other kind."
            )
        fixed = self.method in get_args(FixedStep)
        if not fixed:
            check_resolved(self.rtol, driver.dtype, ulps=4)
        ranges = driver.chunks() if fixed else _blocks(driver)

        def solve_part(first: int, count: int) -> Trajectory:
            part, chosen = driver.part(first, count), states[first : first + count]
            if fixed:
                return self._solve_part(limit, chosen, part, keep)
            return self._solve_alone(limit, chosen, part, keep)

        out = join_paths(map_chunks(solve_part, ranges, threads=not h0.requires_grad))
        return reported(out, f"torchdiffeq {self.method}")

    def _solve_alone(
        self, limit: DepthLimit, states: Tensor, part: WeightSample, keep: Keep
    ) -> Trajectory:
        """Solve every input, from every state it starts at, on the whole block of the paths."""
        block, offset = _whole_block(part)
        together = slice(offset, offset + len(states))
        solved, evaluations = [], 0
        for start in states.unbind(1):
            # Zeros of two signs are equal, and not alike.
            alike = (start == start[:1]) & (start.signbit() == start[:1].signbit())
            if bool(alike.all()):
                groups = [(start[0], together)]
            else:
                groups = [(h, slice(offset + i, offset + i + 1)) for i, h in enumerate(start)]
            pieces = []
            for h, wanted in groups:
                begun = h.expand(block.n_paths, 1, -1)
                found = self._solve_part(limit, begun, block, keep)
                pieces.append(found.values[:, wanted])
                evaluations += found.stats["evaluations"]
            solved.append(torch.cat(pieces, dim=1))
        return Trajectory.of(part, torch.cat(solved, dim=2), evaluations=evaluations)

    def _solve_part(
        self, limit: DepthLimit, states: Tensor, driver: WeightSample, keep: Keep
    ) -> Trajectory:
        vector_field = limit.as_torchdiffeq(driver)
        fixed = self.method in get_args(FixedStep)
        n_states = driver.depth + 1 if keep == "all" or fixed else 2
        times = layer_times(driver.depth, n_states).to(driver.device)
        try:
            values = self._integrate(vector_field, states, times)
        except (AssertionError, RuntimeError) as error:
            if isinstance(error, LimitsError):
                raise
            raise SolverError(
                f"torchdiffeq {self.method} gave up on the {len(states)} paths from number "
                f"{driver.first_path} after {vector_field.evaluations} evaluations at "
                f"rtol={self.rtol:g}: {error}. Loosen the tolerances, use float64, or a "
                "fixed-step method."
            ) from error
        if keep == "terminal":
            values = torch.stack((values[0], values[-1]))
        return Trajectory.of(driver, values, evaluations=vector_field.evaluations)

    def _integrate(
        self, vector_field: VectorField | DriftField, states: Tensor, times: Tensor
    ) -> Tensor:
        """Return the states at `times`, shape ``(time, path, input, width)``."""
        # It makes tensors when it is imported, which later gradients pass through.
        with torch.inference_mode(False):
            import torchdiffeq

        if self.method in get_args(FixedStep):
            return cast(
                "Tensor", torchdiffeq.odeint(vector_field, states, times, method=self.method)
            )
        # Adaptive methods step past the times asked for and interpolate at low order, unless
        # they are told to land on them, which is reliable for one time a call.
        values = [states]
        for span in pairwise(times):
            part: object = torchdiffeq.odeint(
                vector_field,
                values[-1],
                torch.stack(span),
                method=self.method,
                rtol=self.rtol,
                atol=self.atol,
                options={"step_t": span[1].reshape(1)},
            )
            values.append(cast("Tensor", part)[-1])
        return torch.stack(values)


def _blocks(driver: WeightSample) -> list[tuple[int, int]]:
    """Split the paths where blocks of the draw begin."""
    ends = [
        min(end - driver.first_path, driver.n_paths)
        for end in range(
            driver.first_path - driver.first_path % _TOGETHER + _TOGETHER,
            driver.first_path + driver.n_paths + _TOGETHER,
            _TOGETHER,
        )
    ]
    return [(first, end - first) for first, end in zip([0, *ends], ends, strict=False)]


def _whole_block(part: WeightSample) -> tuple[WeightSample, int]:
    """Return all paths of a part's block of the draw, and where the part begins in it."""
    if isinstance(part.path, TrainedPath):
        return part, 0
    offset = part.first_path % _TOGETHER
    return replace(part, first_path=part.first_path - offset, n_paths=_TOGETHER), offset
