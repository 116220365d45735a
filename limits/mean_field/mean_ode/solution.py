"""A solved Mean ODE: outputs with a stated error, losses, states, and any particle's way."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits.checks import checked_times
from limits.exceptions import LimitsError, ShapeError
from limits.mean_field.descent import Response
from limits.mean_field.mean_ode.collocation import Collocation
from limits.mean_field.mean_ode.equation import MeanODE
from limits.mean_field.scaling import Rule
from limits.modes import keeps_dtypes
from limits.scalars import plain_numbers

__all__ = ["MeanODESolution"]


@plain_numbers
@dataclass(frozen=True)
class MeanODESolution:
    """The limit's training.

    Parameters
    ----------
    limit : MeanODE
        What was solved.
    losses : Tensor
        Mean square error over inputs and outputs before step 0, 1, ..., shape ``(step,)``.
        What is differentiated is half of it, times the number of outputs where there are
        embeddings.
    steps : tuple of int
        The steps whose outputs were kept.
    replicates : Tensor
        Outputs of independently scrambled sets, ``(kept, replicate, input, outputs)``.
    depth_errors : Tensor
        RMS difference that twice the nodes make, ``(kept,)``.
    tolerance : float
        What the sweeps left.
    scheme : Collocation
        The nodes s_j.
    h0 : Tensor
        h(0), ``(input, width)``.
    fields, pulls : Tensor
        dh/ds and -db/ds at the nodes before every step, ``(step, node, input, width)``; empty
        unless states were asked for.
    targets : Tensor
        ``(input, outputs)``.
    rule : Rule
        Constants of the descent.
    """

    limit: MeanODE
    losses: Tensor
    steps: tuple[int, ...]
    replicates: Tensor
    depth_errors: Tensor
    tolerance: float
    scheme: Collocation
    h0: Tensor
    targets: Tensor
    fields: Tensor
    pulls: Tensor
    rule: Rule

    @property
    def outputs(self) -> Tensor:
        """Means over the replicates, shape ``(kept, input, outputs)``."""
        return self.replicates.mean(dim=1)

    @property
    def standard_errors(self) -> Tensor:
        """RMS over inputs and outputs of the standard error of a mean, ``(kept,)``."""
        variance = self.replicates.var(dim=1).mean(dim=(1, 2))
        return (variance / self.replicates.shape[1]).sqrt()

    @property
    def errors(self) -> Tensor:
        """Stated RMS error of the outputs, ``(kept,)``.

        Two standard errors of the particles, what twice the nodes change, and what the sweeps
        left.
        """
        return 2 * self.standard_errors + self.depth_errors + self.tolerance

    def at(self, step: int) -> Tensor:
        """Return the outputs after `step` steps, shape ``(input, outputs)``."""
        return self.outputs[self._kept(step)]

    def error_at(self, step: int) -> float:
        """Return the stated RMS error of `at(step)`."""
        return float(self.errors[self._kept(step)])

    @keeps_dtypes
    def states(self, step: int, times: Tensor) -> Tensor:
        """Return h(s) before a step, shape ``(time, input, width)``."""
        self._check_states(step, times)
        ahead = self.scheme.integrals(times).to(self.h0)
        return self.h0 + torch.einsum("tj,jnd->tnd", ahead, self.fields[step])

    @keeps_dtypes
    def gradients(self, step: int, times: Tensor) -> Tensor:
        """Return b(s) = dLoss/dh(s) before a step, shape ``(time, input, width)``."""
        self._check_states(step, times)
        behind = (self.scheme.weights - self.scheme.integrals(times)).to(self.h0)
        terminal = self.states(step, torch.ones(1, dtype=torch.float64, device="cpu"))[0]
        end = self.limit.slope(self.limit.read(terminal), self.targets)
        return end + torch.einsum("tj,jnd->tnd", behind, self.pulls[step])

    @keeps_dtypes
    def transport(self, u: Tensor, v: Tensor, times: Tensor) -> Tensor:
        """Follow chosen particles through the training.

        Parameters
        ----------
        u, v : Tensor
            Where they start, ``(particle, width)``.
        times : Tensor
            The s of every particle, ``(particle,)``.

        Returns
        -------
        Tensor
            (u, v) at every step, shape ``(step, particle, 2, width)``.
        """
        response = Response(self.limit.scaling.activation)
        u, v = u.unsqueeze(-1).clone(), v.unsqueeze(-1).clone()
        way = [torch.stack([u, v], dim=1).squeeze(-1)]
        for step in range(len(self.losses) - 1):
            h, b = self.states(step, times), self.gradients(step, times)
            kept = response.remember(h, u)
            q = response.pull(torch.bmm(b, v), kept)
            v = v - self.rule.rate_v * torch.bmm(b.mT, response.value(kept))
            u = u - self.rule.rate_u / h.shape[-1] * torch.bmm(h.mT, q)
            way.append(torch.stack([u, v], dim=1).squeeze(-1))
        return torch.stack(way)

    def _kept(self, step: int) -> int:
        if step not in self.steps:
            raise LimitsError(
                f"the outputs after step {step} were not kept, only those after {self.steps}. "
                f"Pass keep=(..., {step}) to solve."
            )
        return self.steps.index(step)

    def _check_states(self, step: int, times: Tensor) -> None:
        if not len(self.fields):
            raise ShapeError("the states were not kept. Pass keep_states=True to solve.")
        if not 0 <= step < len(self.fields):
            raise LimitsError(
                f"there are states before steps 0 to {len(self.fields) - 1}, found step={step}. "
                "Count from 0."
            )
        checked_times(times, "a solution")
