"""Gradient descent on mean-field networks: all repetitions in step, neurons moved in place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.activations import ACTIVATIONS, Activation
from limits.checks import check_count
from limits.exceptions import LimitsError, NonFiniteStateError, ShapeError
from limits.mean_field.scaling import Rule
from limits.mean_field.weights import MeanFieldWeights
from limits.scalars import plain_numbers

__all__ = ["Descender", "MeanFieldDescent", "Response", "check_losses", "checked_steps"]


@plain_numbers
@dataclass(frozen=True)
class MeanFieldDescent:
    """What gradient descent did, to a finite network or to its limit.

    Parameters
    ----------
    losses : Tensor
        Mean square error over inputs and outputs before step 0, 1, ..., shape ``(step, path)``.
        What is differentiated is half of it, times the number of outputs where there are
        embeddings.
    steps : tuple of int
        The steps whose outputs were kept.
    outputs : Tensor
        Shape ``(kept, path, input, outputs)``.
    weights : MeanFieldWeights
        The neurons after the last step.
    tracked : Tensor
        (u, v) of the first neuron of some layers at every step, shape
        ``(step, layer, path, 2, width)``.
    """

    losses: Tensor
    steps: tuple[int, ...]
    outputs: Tensor
    weights: MeanFieldWeights
    tracked: Tensor

    def at(self, step: int) -> Tensor:
        """Return the outputs after `step` steps, shape ``(path, input, outputs)``."""
        if step not in self.steps:
            raise LimitsError(
                f"the outputs after step {step} were not kept, only those after {self.steps}. "
                f"Pass keep=(..., {step}) to descend."
            )
        return self.outputs[self.steps.index(step)]


class Response:
    """s and s' of the pre-activations p = u.h / D, at the cost of one evaluation where possible."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation
        self._tanh = activation is ACTIVATIONS["tanh"]

    def remember(self, h: Tensor, u: Tensor, out: Tensor | None = None) -> Tensor:
        """Return what `value` and `pull` need, in `out` if given; tanh(p) itself for tanh.

        Without `out` autograd can follow.
        """
        # tanh p = 2 sigmoid(2 p) - 1 to 4e-16, in a third of the time of torch's tanh.
        scale = (2 if self._tanh else 1) / h.shape[-1]
        if out is None:
            p = torch.bmm(h, u) * scale
            return torch.sigmoid(p) * 2 - 1 if self._tanh else p
        torch.baddbmm(out, h, u, beta=0, alpha=scale, out=out)
        return out.sigmoid_().mul_(2).sub_(1) if self._tanh else out

    def value(self, remembered: Tensor) -> Tensor:
        """Return s(p)."""
        return remembered if self._tanh else self.activation.value(remembered)

    def pull(self, q: Tensor, remembered: Tensor) -> Tensor:
        """Multiply q = v.b by s'(p) in place."""
        if self._tanh:
            return torch.ops.aten.tanh_backward.grad_input(q, remembered, grad_input=q)
        return q.mul_(self.activation.derivative(remembered))


class Descender:
    """Full-batch gradient descent on networks side by side; `weights` are overwritten.

    Parameters
    ----------
    weights : MeanFieldWeights
        The neurons.
    h0, targets : Tensor
        Shapes ``(path, input, width)`` and ``(path, input, outputs)``.
    activation : Activation
        The s.
    rule : Rule
        Constants of forward pass and update.
    """

    def __init__(
        self,
        weights: MeanFieldWeights,
        h0: Tensor,
        targets: Tensor,
        *,
        activation: Activation,
        rule: Rule,
    ) -> None:
        self.weights, self.targets, self.rule = weights, targets, rule
        self._response = Response(activation)
        self._factor = rule.scale / (weights.depth * weights.hidden_width)
        self._u, self._v = weights.u.unbind(), weights.v.unbind()
        n_paths, n_inputs, width = h0.shape
        self._h = list(h0.new_empty(weights.depth + 1, n_paths, n_inputs, width).unbind())
        self._h[0].copy_(h0)
        shape = (n_paths, n_inputs, weights.hidden_width)
        self._kept = h0.new_empty(weights.depth, *shape).unbind()
        self._q = h0.new_empty(shape)

    def forward(self) -> Tensor:
        """Return the outputs of the present weights, shape ``(path, input, outputs)``."""
        for layer, kept in enumerate(self._kept):
            h = self._h[layer]
            field = self._response.value(self._response.remember(h, self._u[layer], kept))
            v = self._v[layer].mT
            torch.baddbmm(h, field, v, alpha=self._factor, out=self._h[layer + 1])
        h, readout = self._h[-1], self.weights.readout
        return h.clone() if readout is None else torch.bmm(h, readout) / h.shape[-1]

    def step(self, outputs: Tensor) -> None:
        """Take one step; `outputs` are those of the present weights."""
        b, width = self.slope(outputs), self.weights.width
        for layer in range(self.weights.depth - 1, -1, -1):
            u, v, kept = self._u[layer], self._v[layer], self._kept[layer]
            q = self._response.pull(torch.bmm(b, v, out=self._q), kept)
            below = torch.baddbmm(b, q, u.mT, alpha=self._factor / width)
            v.baddbmm_(b.mT, self._response.value(kept), alpha=-self.rule.rate_v)
            u.baddbmm_(self._h[layer].mT, q, alpha=-self.rule.rate_u / width)
            b = below

    def slope(self, outputs: Tensor) -> Tensor:
        """Return b at the last layer, dLoss/dh^L.

        The loss is |y - target|^2 / (2 N D), or / (2 N) with embeddings: y = W_U^T h / D brings
        the other D.
        """
        error = outputs - self.targets
        readout = self.weights.readout
        b = error if readout is None else torch.bmm(error, readout.mT)
        return b / (error.shape[1] * self.weights.width)

    def run(self, steps: int, *, keep: tuple[int, ...], track: Sequence[int]) -> MeanFieldDescent:
        """Take `steps` steps and return what was asked for on the way."""
        losses, kept, tracked = [], [], []
        layers = list(track)
        for step in range(steps + 1):
            outputs = self.forward()
            losses.append((outputs - self.targets).square().mean(dim=(1, 2)))
            if step in keep:
                kept.append(outputs)
            pair = (self.weights.u[layers, :, :, 0], self.weights.v[layers, :, :, 0])
            tracked.append(torch.stack(pair, dim=2))
            if step < steps:
                self.step(outputs)
        return MeanFieldDescent(
            torch.stack(losses), keep, torch.stack(kept), self.weights, torch.stack(tracked)
        )


def checked_steps(steps: int, keep: Sequence[int] | None) -> tuple[int, ...]:
    """Return the steps to keep in increasing order; the last one where none are named."""
    check_count(steps, "steps", least=0)
    wanted = (steps,) if keep is None else tuple(sorted(set(keep)))
    if not wanted or wanted[0] < 0 or wanted[-1] > steps:
        raise ShapeError(
            f"keep must name steps between 0 and steps={steps}, found {keep!r}. Use for example "
            f"keep=(0, {steps})."
        )
    return wanted


def check_losses(losses: Tensor, remedy: str = "Lower learning_rate.") -> None:
    """Raise if descent diverged to infinity or NaN, in any of the columns."""
    bad = ~torch.isfinite(losses)
    if bad.any():
        first = int(bad.any(dim=1).nonzero()[0])
        raise NonFiniteStateError(
            f"the loss overflowed at step {first} in {int(bad[-1].sum())} of {losses.shape[1]} "
            f"repetitions. {remedy}"
        )
