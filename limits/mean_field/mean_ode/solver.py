"""Solve the Mean ODE with quasi-Monte Carlo particles at Gauss nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from limits._typing import Progress
from limits.checks import check_count, check_positive, check_progress
from limits.exceptions import SolverError
from limits.mean_field.descent import check_losses, checked_steps
from limits.mean_field.mean_ode.collocation import Collocation, gauss_collocation
from limits.mean_field.mean_ode.equation import MeanODE
from limits.mean_field.mean_ode.sobol import scrambled_particles
from limits.mean_field.mean_ode.solution import MeanODESolution
from limits.mean_field.mean_ode.transport import Cloud, Transport
from limits.mean_field.scaling import Rule
from limits.parallel import Ticker, map_chunks
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["ParticleTransport"]

# Particles of a node that advance together: fewer leave more time to the interpreter.
_TOGETHER = 2**14
# Depth errors hardly depend on the particles, so few are enough to see them.
_WITNESSES = 1024


@plain_numbers
@dataclass(frozen=True)
class ParticleTransport:
    """Particles at Gauss-Legendre nodes of s, moved by the limit's own gradient descent.

    Depth: collocation, whose error falls exponentially in the number of nodes, because states
    are smooth in s. Law: at every node a scrambled Sobol set of its own, mirrored in v, which
    makes step 0 exact. Everything is repeated with fresh scrambles: the mean is the answer and
    the spread its error. The error of the depth scheme is what twice the nodes change when the
    same few particles stand at all of them, which leaves no noise in the difference.

    Parameters
    ----------
    particles : int
        Particles M of a node: twice a power of two.
    nodes : int
        Nodes in s.
    replicates : int
        Independent repetitions, at least two.
    tolerance : float
        To which the collocation equations are solved, in units of the outputs.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), Section 2.
    Owen, "Scrambled net variance for integrals of smooth functions", Ann. Statist. 25 (1997).

    Examples
    --------
    >>> import limits
    >>> x = torch.eye(4, dtype=torch.float64)
    >>> solver = ParticleTransport(particles=256, nodes=4, replicates=4)
    >>> solution = solver.solve(limits.MeanODE(4), x, -x, steps=5, seed=0, keep=(0, 5))
    >>> bool(solution.error_at(0) < 1e-4 < solution.error_at(5) < 0.1)
    True
    """

    particles: int = 4096
    nodes: int = 6
    replicates: int = 8
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("particles", "nodes", "replicates"):
            check_count(getattr(self, name), name)
        check_positive(self.tolerance, "tolerance", 1e-6)
        half = self.particles // 2
        if self.particles != 2 * half or half < 1 or half & (half - 1):
            raise SolverError(
                f"particles must be twice a power of two, found {self.particles}. A Sobol set is "
                "balanced at powers of two only, and v is mirrored; use for example 4096."
            )
        if self.replicates < 2:
            raise SolverError(
                f"replicates must be at least 2, found {self.replicates}: their spread is the "
                "error estimate. Use for example 8."
            )

    @torch.no_grad()
    def solve(
        self,
        limit: MeanODE,
        x: Tensor,
        targets: Tensor,
        *,
        steps: int,
        seed: int,
        learning_rate: float = 1.0,
        keep: Sequence[int] | None = None,
        keep_states: bool = False,
        progress: Progress | None = None,
    ) -> MeanODESolution:
        """Follow `steps` steps of full-batch gradient descent of the limit.

        Parameters
        ----------
        limit : MeanODE
            The equation.
        x, targets : Tensor
            Inputs ``(input, features)`` and targets ``(input, outputs)``.
        steps : int
            Number k of steps.
        seed : int
            Of the scrambles.
        learning_rate : float
            eta.
        keep : sequence of int, optional
            Steps whose outputs are returned; the last one when left out.
        keep_states : bool
            Whether h and b of all steps are kept, which `states` and `transport` need.
        progress : callable, optional
            Called as progress(done, total, label).

        Raises
        ------
        ShapeError, DTypeError
            If the data do not fit the limit, or each other.
        NonFiniteStateError
            If the data hold NaN or infinite entries, or the loss overflows: lower the rate.
        SolverError
            If the collocation equations are not solved to the tolerance.
        """
        wanted = checked_steps(steps, keep)
        check_progress(progress)
        h0 = limit.start(x)
        limit.check_targets(targets, x)
        targets = targets.detach().clone()
        task = _Task(limit, h0, targets, limit.scaling.rule(learning_rate), steps)
        stream = Stream(seed, f"mean-ode/D={limit.embedding_dim}")
        size = max(1, min(self.replicates, _TOGETHER // self.particles))
        groups = [(i, min(size, self.replicates - i)) for i in range(0, self.replicates, size)]
        ticker = Ticker(self.replicates * (steps + 1), "transport", progress)
        run = partial(self._group, task, stream, wanted, keep_states, ticker)
        parts = map_chunks(run, groups)
        # On one thread too: the sets are small.
        (depth_errors,) = map_chunks(
            lambda _, __: self._depth_errors(task, stream, wanted), [(0, 1)]
        )
        means = torch.stack([part.totals for part in parts]).sum(dim=0) / self.replicates
        losses = (means - targets).square().mean(dim=(1, 2))
        check_losses(losses.unsqueeze(1))
        fields, pulls = (
            torch.stack(each).sum(dim=0) / self.replicates
            for each in zip(*((part.fields, part.pulls) for part in parts), strict=True)
        )
        return MeanODESolution(
            limit=limit,
            losses=losses,
            steps=wanted,
            replicates=torch.cat([part.kept for part in parts], dim=1),
            depth_errors=depth_errors,
            tolerance=self.tolerance,
            scheme=gauss_collocation(self.nodes),
            h0=task.h0,
            targets=targets,
            fields=fields,
            pulls=pulls,
            rule=task.rule,
        )

    def _group(
        self,
        task: "_Task",
        stream: Stream,
        keep: tuple[int, ...],
        keep_states: bool,
        ticker: Ticker,
        first: int,
        count: int,
    ) -> "_Part":
        """Run some of the replicates; set number r * nodes + j is that of replicate r, node j."""
        nodes = []
        for node in range(self.nodes):
            sets = [self._set(task, stream, (first + i) * self.nodes + node) for i in range(count)]
            nodes.append(tuple(torch.stack(each) for each in zip(*sets, strict=True)))
        return task.run(
            gauss_collocation(self.nodes), nodes, keep, self.tolerance,
            keep_states=keep_states, ticker=ticker,
        )  # fmt: skip

    def _depth_errors(self, task: "_Task", stream: Stream, keep: tuple[int, ...]) -> Tensor:
        """Return the RMS differences between outputs on these nodes and on twice as many."""
        few = min(self.particles, _WITNESSES)
        u, v = self._set(task, stream.child("witnesses"), 0, few)
        found = []
        for count in (self.nodes, 2 * self.nodes):
            nodes = [(u.unsqueeze(0), v.unsqueeze(0))] * count
            scheme = gauss_collocation(count)
            found.append(task.run(scheme, nodes, keep, self.tolerance).kept[:, 0])
        return (found[0] - found[1]).square().mean(dim=(1, 2)).sqrt()

    def _set(
        self, task: "_Task", stream: Stream, number: int, particles: int | None = None
    ) -> tuple[Tensor, Tensor]:
        u, v = scrambled_particles(
            stream, number, width=task.limit.embedding_dim,
            particles=particles or self.particles, spreads=task.limit.scaling.spreads,
        )  # fmt: skip
        return u.to(task.h0), v.to(task.h0)


@dataclass(frozen=True)
class _Part:
    """What a group of replicates gave: sums over it, and the outputs of each."""

    totals: Tensor
    kept: Tensor
    fields: Tensor
    pulls: Tensor


@dataclass(frozen=True)
class _Task:
    limit: MeanODE
    h0: Tensor
    targets: Tensor
    rule: Rule
    steps: int

    def run(
        self,
        scheme: Collocation,
        nodes: list[tuple[Tensor, Tensor]],
        keep: tuple[int, ...],
        tolerance: float,
        *,
        keep_states: bool = False,
        ticker: Ticker | None = None,
    ) -> _Part:
        """Train the particles that stand at the nodes."""
        cloud = Cloud(nodes, len(self.h0))
        transport = Transport(
            self.limit, scheme, self.h0, self.targets, cloud, rule=self.rule, tolerance=tolerance
        )
        totals, kept, fields, pulls = [], [], [], []
        for step in range(self.steps + 1):
            terminal = transport.forward()
            outputs = self.limit.read(terminal)
            totals.append(outputs.sum(dim=0))
            if step in keep:
                kept.append(outputs)
            if step < self.steps or keep_states:
                transport.backward(terminal)
            if keep_states:
                fields.append(transport.field.sum(dim=1))
                pulls.append(transport.pull.sum(dim=1))
            if step < self.steps:
                transport.descend(terminal)
            if ticker is not None:
                ticker(outputs.shape[0])
        empty = self.h0.new_empty(0)
        return _Part(
            torch.stack(totals),
            torch.stack(kept),
            torch.stack(fields) if fields else empty,
            torch.stack(pulls) if pulls else empty,
        )
