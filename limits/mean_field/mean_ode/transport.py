"""One family of particles at the nodes of s, moved step by step by the Mean ODE's own descent."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.exceptions import SolverError
from limits.mean_field.anderson import Anderson
from limits.mean_field.descent import Response
from limits.mean_field.mean_ode.collocation import Collocation
from limits.mean_field.mean_ode.equation import MeanODE
from limits.mean_field.scaling import Rule

__all__ = ["Cloud", "Transport"]

# Neurons times inputs that pass through the cache together: 640 KiB in float64.
_TOGETHER = 80_000
_MOST_SWEEPS = 100
_MEMORY = 6


@dataclass
class _Piece:
    """Some of a node's particles with the memory that they need; the first axis is the set."""

    u: Tensor
    v: Tensor
    kept: Tensor
    q: Tensor

    @classmethod
    def of(cls, u: Tensor, v: Tensor, n_inputs: int) -> "_Piece":
        """Copy particles, which several nodes may share, and give them memory."""
        shape = (2, len(u), n_inputs, u.shape[2])
        own = (each.clone(memory_format=torch.contiguous_format) for each in (u, v))
        return cls(*own, *u.new_empty(shape).unbind())


class Cloud:
    """The particles of all nodes, cut into pieces that fit the cache.

    Parameters
    ----------
    nodes : list of pair of Tensor
        u and v of every node, shape ``(set, width, particle)``.
    n_inputs : int
        Inputs that they will answer.
    """

    def __init__(self, nodes: list[tuple[Tensor, Tensor]], n_inputs: int) -> None:
        sets, _, self.particles = nodes[0][0].shape
        size = max(1, _TOGETHER // (n_inputs * sets))
        self.nodes = [
            [
                _Piece.of(*pair, n_inputs)
                for pair in zip(u.split(size, dim=2), v.split(size, dim=2), strict=True)
            ]
            for u, v in nodes
        ]


class Transport:
    """States, gradients and particles, step by step.

    h_i = h(0) + sum_j A_ij F_j and b_i = b(1) + sum_j (w_j - A_ij) G_j at the nodes, with F and
    G means over the particles; both are solved by sweeps through the nodes from a guess that
    extrapolates the steps before.

    Parameters
    ----------
    limit : MeanODE
        What is solved.
    scheme : Collocation
        The nodes.
    h0, targets : Tensor
        Shapes ``(input, width)`` and ``(input, outputs)``.
    cloud : Cloud
        Particles at the nodes; moved in place.
    rule : Rule
        Constants of forward pass and update.
    tolerance : float
        Sweeps end when what is left of them is smaller: in units of the states for h, relative
        to b(1) for b.
    """

    def __init__(
        self,
        limit: MeanODE,
        scheme: Collocation,
        h0: Tensor,
        targets: Tensor,
        cloud: Cloud,
        *,
        rule: Rule,
        tolerance: float,
    ) -> None:
        self.limit, self.cloud, self.rule, self.tolerance = limit, cloud, rule, tolerance
        self.h0, self.targets = h0, targets
        self._response = Response(limit.scaling.activation)
        matrix, weights = scheme.matrix.to(h0), scheme.weights.to(h0)
        self._ahead, self._behind, self._weights = matrix, weights - matrix, weights
        sets = len(cloud.nodes[0][0].u)
        self.field = h0.new_zeros(len(weights), sets, *h0.shape)
        self.pull = torch.zeros_like(self.field)
        self._before: tuple[Tensor, Tensor] | None = None

    def forward(self) -> Tensor:
        """Solve for h and return h(1), shape ``(set, input, width)``."""
        start = self.h0.expand_as(self.field[0])
        self._sweep(self.field, self._ahead, start, self._push, self.tolerance, backwards=False)
        return start + torch.einsum("j,jsnd->snd", self._weights, self.field)

    def backward(self, terminal: Tensor) -> None:
        """Solve for b, given h(1); call after `forward`."""
        end = self.limit.slope(self.limit.read(terminal), self.targets)
        scale = float(end.abs().max())
        if scale > 0:
            size = self.tolerance * scale
            self._sweep(self.pull, self._behind, end, self._pull, size, backwards=True)

    def descend(self, terminal: Tensor) -> None:
        """Move every particle; call after `backward`."""
        states, gradients = self.states(), self.gradients(terminal)
        for node, pieces in enumerate(self.cloud.nodes):
            h, b = states[node], gradients[node]
            for piece in pieces:
                field = self._response.value(piece.kept)
                piece.v.baddbmm_(b.mT, field, alpha=-self.rule.rate_v)
                piece.u.baddbmm_(h.mT, piece.q, alpha=-self.rule.rate_u / h.shape[-1])
        self._extrapolate()

    def states(self) -> Tensor:
        """Return h at the nodes, ``(node, set, input, width)``."""
        return self.h0 + torch.einsum("ij,jsnd->isnd", self._ahead, self.field)

    def gradients(self, terminal: Tensor) -> Tensor:
        """Return b at the nodes, ``(node, set, input, width)``."""
        end = self.limit.slope(self.limit.read(terminal), self.targets)
        return end + torch.einsum("ij,jsnd->isnd", self._behind, self.pull)

    def _push(self, node: int, h: Tensor) -> Tensor:
        total = torch.zeros_like(h)
        for piece in self.cloud.nodes[node]:
            field = self._response.value(self._response.remember(h, piece.u, piece.kept))
            total.baddbmm_(field, piece.v.mT)
        return total.mul_(self.rule.scale / self.cloud.particles)

    def _pull(self, node: int, b: Tensor) -> Tensor:
        total = torch.zeros_like(b)
        for piece in self.cloud.nodes[node]:
            torch.bmm(b, piece.v, out=piece.q)
            total.baddbmm_(self._response.pull(piece.q, piece.kept), piece.u.mT)
        return total.mul_(self.rule.scale / (self.cloud.particles * b.shape[-1]))

    def _sweep(
        self,
        values: Tensor,
        matrix: Tensor,
        start: Tensor,
        ask: Callable[[int, Tensor], Tensor],
        tolerance: float,
        *,
        backwards: bool,
    ) -> None:
        """Sweep through the nodes until `values` are what is asked at the states they make."""
        order = range(len(values) - 1, -1, -1) if backwards else range(len(values))
        mixing = Anderson(_MEMORY)
        change = last = float("inf")
        for _ in range(_MOST_SWEEPS):
            before = values.clone()
            for node in order:
                state = start + torch.einsum("j,jsnd->snd", matrix[node], values)
                values[node] = ask(node, state)
            change = float(torch.einsum("j,jsnd->jsnd", self._weights, values - before).abs().max())
            # What a geometric series leaves after its last term.
            ratio = min(change / last, 0.9) if last < float("inf") else 0.9
            if change * ratio / (1 - ratio) <= tolerance or not change < float("inf"):
                return
            # Given the particles, sets and inputs do not know of each other.
            # At one node flattening copies nothing, and the mixing remembers what it is given.
            pair = before, values.clone()
            mixed = mixing(*(each.movedim(0, 2).flatten(0, 1).flatten(1) for each in pair))
            values.copy_(mixed.view(*values.shape[1:3], len(values), -1).movedim(2, 0))
            last = change
        raise SolverError(
            f"the sweeps through {len(values)} nodes still change by {change:.1e} after "
            f"{_MOST_SWEEPS}, where {tolerance:.1e} was asked for. Lower learning_rate, or raise "
            "nodes or tolerance."
        )

    def _extrapolate(self) -> None:
        """Guess the next F and G on the line through the last two."""
        now = (self.field.clone(), self.pull.clone())
        if self._before is not None:
            self.field.mul_(2).sub_(self._before[0])
            self.pull.mul_(2).sub_(self._before[1])
        self._before = now
