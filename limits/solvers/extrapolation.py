"""Our own solver of smooth ODEs: a rule of order two at more and more steps, extrapolated."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import Keep, State, States
from limits.equations import DepthLimit, Driver
from limits.equations.ode import DriftField, VectorField
from limits.exceptions import SolverError
from limits.modes import keeps_dtypes
from limits.parallel import map_chunks
from limits.paths import WeightSample
from limits.scalars import plain_numbers
from limits.solvers.preparation import (
    check_resolved,
    check_tolerances,
    constant,
    prepare,
    reported,
)
from limits.trajectory import Trajectory, join_paths

__all__ = ["MidpointExtrapolation"]

_FEWEST, _MOST = 16, 2**17
"""Steps on [0, 1]."""


@plain_numbers
@dataclass(frozen=True)
class MidpointExtrapolation:
    """Gragg's midpoint rule with 2^j times as many steps, extrapolated until two answers agree.

    With steps tau and nodes t_k = k tau, y_1 = y_0 + tau f(0, y_0), y_{k+1} = y_{k-1} + 2 tau
    f(t_k, y_k), and S_k = (y_{k-1} + 2 y_k + y_{k+1}) / 4 at even k: the error of S has an
    expansion in tau^2, so T_{j,m} = T_{j,m-1} + (T_{j,m-1} - T_{j-1,m-1}) / (4^m - 1), T_{j,0} = S,
    gains two orders in every column. A state is accepted when its entries of T_{j,j} and
    T_{j-1,j-1} differ by at most atol + rtol max|T_{j,j}|, every path and input by itself: none
    depends on those it is solved with. (T_{j,j-1} would do where there is an expansion; where a
    kink leaves none, its distance says nothing.) Steps are chosen before states are known, so
    weights are evaluated for many times together, and once for all inputs.

    Parameters
    ----------
    rtol, atol : float
        Of the whole solution, not of a step.

    References
    ----------
    Gragg, "On extrapolation algorithms for ordinary initial value problems", SIAM J. Numer. Anal.
    2 (1965); Hairer, Norsett, Wanner, *Solving Ordinary Differential Equations I*, Section II.9.

    Examples
    --------
    >>> import torch, limits
    >>> path, net = limits.SmoothPath(4), limits.ResNet("tanh", beta=1.0)
    >>> sample = path.sample(depth=8, n_paths=2, seed=0)
    >>> limit, h0 = limits.depth_limit(net, path), torch.ones(1, 4, dtype=torch.float64)
    >>> exact = MidpointExtrapolation().solve(limit, h0, sample).terminal
    >>> known = limits.TorchDiffEq(method="dopri8", rtol=1e-10, atol=1e-12)
    >>> bool((exact - known.solve(limit, h0, sample).terminal).abs().max() < 1e-8)
    True
    """

    rtol: float = 1e-10
    atol: float = 1e-12

    def __post_init__(self) -> None:
        check_tolerances(self.rtol, self.atol)

    @keeps_dtypes
    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Solve an ODE limit on the weights of a draw; arguments as in `EulerMaruyama.solve`.

        Raises
        ------
        SolverError
            If the limit is no ODE with smooth weights, if single precision cannot resolve the
            tolerance, or if 2^17 steps do not reach it.
        NonFiniteStateError
            If the solution overflows.
        """
        states, driver = prepare(limit, h0, sample, None, keep)
        if limit.kind == "identity":
            return constant(states, driver, keep)
        if limit.kind != "ode" or limit.reflected or not isinstance(driver, WeightSample):
            raise SolverError(
                "MidpointExtrapolation solves ODE limits without reflection, this one is of kind "
                f"{limit.kind!r}. Use EulerMaruyama."
            )
        check_resolved(self.rtol, driver.dtype, ulps=64)

        def solve_part(first: int, count: int) -> Trajectory:
            part = driver.part(first, count)
            return self._solve_part(limit, states[first : first + count], part, keep)

        out = join_paths(map_chunks(solve_part, driver.shares(), threads=not h0.requires_grad))
        return reported(out, "the extrapolated midpoint rule")

    def _solve_part(
        self, limit: DepthLimit, h0: State, part: WeightSample, keep: Keep
    ) -> Trajectory:
        field = limit.as_torchdiffeq(part)
        nodes = part.depth if keep == "all" else 1
        steps = 2 * nodes
        while steps < _FEWEST:
            steps *= 2
        row = [_rule(field, h0, steps, nodes)]
        accepted, done = row[0], torch.zeros(h0.shape[:2], dtype=torch.bool, device=h0.device)
        while not bool(done.all()):
            steps *= 2
            if steps > max(_MOST, 16 * nodes):
                raise SolverError(
                    # How many of a part are not solved would depend on the number of threads.
                    f"{steps // 2} steps do not solve every state to rtol={self.rtol:g} and "
                    f"atol={self.atol:g}. Loosen the tolerances, or use smoother weights."
                )
            before, row = row[-1], _extrapolated(row, _rule(field, h0, steps, nodes))
            last = row[-1]
            allowed = self.atol + self.rtol * last.abs().amax(dim=-1)
            close = ((last - before).abs().amax(dim=-1) <= allowed).all(dim=0)
            accepted = torch.where((close & ~done)[..., None], last, accepted)
            # What overflowed stays so with more steps, and is reported.
            lost = ~torch.isfinite(last).all(dim=-1).all(dim=0)
            accepted = torch.where(lost[..., None], last, accepted)
            done = done | close | lost
        values = torch.cat((h0[None], accepted))
        return Trajectory.of(part, values, evaluations=field.evaluations)


def _rule(field: VectorField | DriftField, h0: State, steps: int, nodes: int) -> States:
    """Return smoothed states at the nodes after the first, ``(node, path, input, width)``."""
    tau, every = 1 / steps, steps // nodes
    times = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    before, now, smoothed = h0, h0, list[State]()
    for k, f in enumerate(field.at_times(times)):
        after = before + 2 * tau * f(now) if k else h0 + tau * f(h0)
        if k and k % every == 0:
            smoothed.append((before + 2 * now + after) / 4)
        before, now = now, after
    return torch.stack(smoothed)


def _extrapolated(row: list[States], first: States) -> list[States]:
    """Return the next row T_{j,0} ... T_{j,j} of the table from the row before."""
    following = [first]
    for m, known in enumerate(row, start=1):
        following.append(following[-1] + (following[-1] - known) / (4**m - 1))
    return following
