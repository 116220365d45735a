"""Many networks of one shape that are trained in step, one matrix product a layer for all.

The gradients are those of the adjoint recursion; a layer is updated as soon as its gradient is
there, while both are in the cache, and no gradient of the whole stack is ever held.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.activations import Activation

__all__ = ["Adam", "Ensemble", "padded_width"]

_LANES = 16
_LARGEST_WASTE = 1.25
# Entries of a group of layers that are updated together: 256 KiB in float32.
_CACHED_ENTRIES = 2**16


@dataclass(frozen=True)
class Adam:
    """The constants of Adam.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1.
    """

    first: float = 0.9
    second: float = 0.999
    epsilon: float = 1e-8

    def correction(self, step: int) -> tuple[float, float]:
        """Return the factors of step size and epsilon that undo the bias of step 1, 2, ..."""
        root = math.sqrt(1 - self.second**step)
        return root / (1 - self.first**step), root


@dataclass
class _Moments:
    """A parameter with its two moments, configurations first."""

    value: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, value: Tensor) -> "_Moments":
        return cls(value, torch.zeros_like(value), torch.zeros_like(value))

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.value, self.mean, self.square

    def keep(self, chosen: Tensor, axis: int) -> None:
        for name in ("value", "mean", "square"):
            setattr(self, name, getattr(self, name).index_select(axis, chosen))


def padded_width(width: int, activation: Activation) -> int:
    """Return the width with rows of zeros that make products fast; exact where s(0) = 0.

    Examples
    --------
    >>> from limits.activations import as_activation
    >>> padded_width(30, as_activation("relu")), padded_width(40, as_activation("relu"))
    (32, 40)
    """
    wide = -(-width // _LANES) * _LANES
    zero = torch.zeros(1, dtype=torch.float32, device="cpu")
    exact = float(activation.value(zero)) == 0
    return wide if exact and (wide / width) ** 2 <= _LARGEST_WASTE else width


class Ensemble:
    """res-1 networks of one depth and width, each with its residual scale, and their optimiser.

    Inside, a layer holds alpha V_k^T, so that a layer is one fused product; Adam's step size and
    epsilon are rescaled so that V_k moves as it would by itself.

    Parameters
    ----------
    weights : Tensor
        V, shape ``(configuration, layer, width, width)``.
    embedding, readout : Tensor
        A ``(configuration, width, features)`` and B ``(configuration, classes, width)``.
    scales : Tensor
        The alpha_L of every configuration, positive, shape ``(configuration,)``.
    activation : Activation
        The s of h + alpha V s(h).
    segment : int
        States of so many layers are held at once; the others are computed a second time.
    trained : tuple of bool
        Whether A and whether B are trained.
    adam : Adam
        Constants of the optimiser.
    """

    def __init__(
        self,
        weights: Tensor,
        embedding: Tensor,
        readout: Tensor,
        scales: Tensor,
        *,
        activation: Activation,
        segment: int,
        trained: tuple[bool, bool],
        adam: Adam,
    ) -> None:
        self.width, self.depth = weights.shape[-1], weights.shape[1]
        self.activation, self.segment, self.trained, self.adam = activation, segment, trained, adam
        self._relu = activation.name == "relu"
        self.steps = 0
        self.scales = scales.to(weights.dtype).view(-1, 1, 1)
        missing = padded_width(self.width, activation) - self.width
        pad = torch.nn.functional.pad
        scaled = weights.mT * self.scales.unsqueeze(-1)
        layers = pad(scaled, (0, missing, 0, missing)).transpose(0, 1).contiguous()
        self._layers = _Moments.of(layers)
        self._unbound = layers.unbind()
        self._embedding = _Moments.of(pad(embedding.mT, (0, missing)).contiguous())
        self._readout = _Moments.of(pad(readout.mT, (0, 0, 0, missing)).contiguous())
        self._work = torch.empty(0, dtype=weights.dtype, device="cpu")

    def __len__(self) -> int:
        return len(self.scales)

    @property
    def weights(self) -> Tensor:
        """The V of all configurations, ``(configuration, layer, width, width)``."""
        layers = self._layers.value[..., : self.width, : self.width].transpose(0, 1)
        return layers.mT / self.scales.unsqueeze(-1)

    @property
    def embedding(self) -> Tensor:
        """The A, ``(configuration, width, features)``."""
        return self._embedding.value[..., : self.width].mT

    @property
    def readout(self) -> Tensor:
        """The B, ``(configuration, classes, width)``."""
        return self._readout.value[:, : self.width].mT

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the configurations only, given by their positions."""
        self.scales = self.scales.index_select(0, chosen)
        self._layers.keep(chosen, 1)
        self._unbound = self._layers.value.unbind()
        self._embedding.keep(chosen, 0)
        self._readout.keep(chosen, 0)

    def logits(self, inputs: Tensor) -> Tensor:
        """Return B h_L, shape ``(configuration, input, classes)``, and keep no states."""
        h = torch.matmul(inputs, self._embedding.value)
        field = torch.empty_like(h)
        for layer in self._unbound:
            relu = self._relu
            field = torch.clamp_min(h, 0, out=field) if relu else self.activation.value(h)
            h.baddbmm_(field, layer)
        return torch.bmm(h, self._readout.value)

    def losses(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Return each configuration's mean cross-entropy and remember what its gradient needs.

        Parameters
        ----------
        inputs : Tensor
            Shape ``(configuration, input, features)``, or ``(1, input, features)`` if all
            configurations see the same.
        classes : Tensor
            Shape ``(configuration, input)`` or ``(1, input)``.
        """
        self._inputs = inputs
        self._allocate(inputs.shape[1])
        torch.matmul(inputs, self._embedding.value, out=self._h)
        for checkpoint, start in zip(self._checkpoints, self._starts, strict=True):
            checkpoint.copy_(self._h)
            self._run(start)
        logits = torch.bmm(self._h, self._readout.value)
        log_shares = torch.log_softmax(logits, dim=-1)
        index = classes.expand(len(self), -1).unsqueeze(-1)
        chosen = log_shares.gather(-1, index)
        self._slope = log_shares.exp_()
        self._slope.scatter_add_(-1, index, torch.full_like(chosen, -1.0))
        self._slope.div_(inputs.shape[1])
        return -chosen.mean(dim=(1, 2))

    def descend(self, rates: Tensor) -> None:
        """Take one step of Adam on the losses that were computed last.

        Parameters
        ----------
        rates : Tensor
            Learning rate of every configuration, shape ``(configuration,)``.
        """
        self.steps += 1
        rates = rates.to(self.scales.dtype).view(-1, 1, 1)
        p = torch.bmm(self._slope, self._readout.value.mT)
        if self.trained[1]:
            self._move(self._readout, torch.bmm(self._h.mT, self._slope), rates, 1.0)
        for number in range(len(self._starts) - 1, -1, -1):
            start = self._starts[number]
            if number < len(self._starts) - 1:
                self._h.copy_(self._checkpoints[number])
                self._run(start)
            stop = min(start + self.segment, self.depth)
            for end in range(stop, start, -self._group):
                first = max(end - self._group, start)
                for layer in range(end - 1, first - 1, -1):
                    self._pull(layer, layer - start, p, self._gradients[layer - first])
                group = _Moments(*(each[first:end] for each in self._layers.all()))
                self._move(group, self._gradients[: end - first], rates, self.scales)
        if self.trained[0]:
            self._move(self._embedding, torch.matmul(self._inputs.mT, p), rates, 1.0)

    def _allocate(self, n_inputs: int) -> None:
        """Cut all buffers from one piece of memory that is kept from step to step."""
        wide = self._layers.value.shape[-1]
        self._starts = range(0, self.depth, self.segment)
        counts = (min(self.segment, self.depth), len(self._starts), 1, 1)
        shape = (sum(counts), len(self), n_inputs, wide)
        if self._work.numel() < math.prod(shape):
            self._work = torch.empty(math.prod(shape), dtype=self._layers.value.dtype, device="cpu")
        pieces = self._work[: math.prod(shape)].view(shape).split(counts)
        self._kept, self._checkpoints = pieces[0].unbind(), pieces[1].unbind()
        self._h, self._pulled = pieces[2][0], pieces[3][0]
        self._group = max(1, min(self.segment, _CACHED_ENTRIES // (len(self) * wide**2)))
        self._gradients = self._work.new_empty(self._group, len(self), wide, wide)

    def _run(self, start: int) -> None:
        """Push the states through a segment, keeping of every layer what its gradient needs."""
        for kept, layer in zip(self._kept, self._unbound[start:], strict=False):
            if self._relu:
                field = torch.clamp_min(self._h, 0, out=kept)
            else:
                field = self.activation.value(kept.copy_(self._h))
            self._h.baddbmm_(field, layer)

    def _pull(self, layer: int, place: int, p: Tensor, gradient: Tensor) -> None:
        """Turn p_{k+1} into p_k in place and fill in the layer's gradient."""
        kept = self._kept[place]
        field = kept if self._relu else self.activation.value(kept)
        torch.bmm(field.mT, p, out=gradient)
        pulled = torch.bmm(p, self._unbound[layer].mT, out=self._pulled)
        if self._relu:
            torch.ops.aten.threshold_backward.grad_input(pulled, field, 0, grad_input=pulled)
        else:
            pulled.mul_(self.activation.derivative(kept))
        p.add_(pulled)

    def _move(
        self, parameter: _Moments, gradient: Tensor, rates: Tensor, scale: Tensor | float
    ) -> None:
        """Take Adam's step for a parameter stored times `scale`; overwrites the gradient."""
        size, root = self.adam.correction(self.steps)
        value, mean, square = parameter.all()
        mean.lerp_(gradient, 1 - self.adam.first)
        square.mul_(self.adam.second).addcmul_(gradient, gradient, value=1 - self.adam.second)
        spread = torch.sqrt(square, out=gradient).add_(root * self.adam.epsilon / scale)
        value.addcmul_(torch.div(mean, spread, out=spread), rates * scale * -size)
