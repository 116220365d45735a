"""The one forward loop, the one backward loop and the one tangent loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from limits._typing import Exponents, Keep, State, States
from limits.networks.blocks import Block, gated, settled
from limits.networks.log_scale import logs_of, rescaled, rescaling_period, restored
from limits.parallel import map_chunks
from limits.paths import Increment, Layer, WeightSample, ladder_answers

__all__ = [
    "Kept",
    "Recorder",
    "Stepper",
    "advance",
    "advance_chunks",
    "march",
    "pull_back",
    "pull_chunks",
    "push_chunks",
    "push_forward",
]

Factor = float | Tensor
"""c L^(gamma - beta): a number, or shape ``(input, 1)``."""

Kept = tuple[Tensor, Tensor]
"""States and the powers of two they were divided by: ``(time, path, input, width)`` and
``(time, path, input)``."""


Start = Callable[[State], "Stepper"]


@dataclass
class Recorder:
    """Collects the states that are kept, with their power-of-two exponents."""

    keep: Keep
    values: list[Tensor] = field(default_factory=list)
    exponents: list[Tensor] = field(default_factory=list)

    def record(self, h: State, exponents: Tensor, *, endpoint: bool = False) -> None:
        """Keep a state, if all are kept or it is an endpoint."""
        if self.keep == "all" or endpoint:
            self.values.append(h)
            self.exponents.append(exponents)

    def kept(self) -> Kept:
        """Return the kept states and their exponents, stacked over time."""
        return torch.stack(self.values), torch.stack(self.exponents)

    def states(self) -> tuple[States, Tensor]:
        """Return the kept states in their true size, and their log norms."""
        values, exponents = self.kept()
        return restored(values, exponents), logs_of(values, exponents)


@dataclass
class Stepper:
    """A batch of states of one depth that advances a layer at a time.

    Parameters
    ----------
    block : Block
        The vector field.
    factor : float or Tensor
        c L^(gamma - beta).
    h : Tensor
        States, shape ``(path, input, width)``.
    growth : float
        Bound on the order-one residual scale, for the rescaling period.
    correction : float or Tensor, optional
        Factor of the second-order term Dg(h)^T g(h) of a corrected network.
    """

    block: Block
    factor: Factor
    h: State
    growth: float
    correction: Factor | None = None

    def __post_init__(self) -> None:
        self.h, self.exponents = _started(self.h, rescale=self.block.homogeneous)
        self._steps = 0

    @cached_property
    def period(self) -> int:
        """After how many layers states are rescaled, 0 for never."""
        homogeneous = self.block.homogeneous
        return rescaling_period(self.growth, self.h.dtype) if homogeneous else 0

    def step(self, layer: Layer) -> None:
        """Apply h + c L^(gamma - beta) dX_k g(h), and the correction if there is one."""
        g = self.block.field(self.h, layer.inner)
        self._advance(g, layer.increment.mv(g), layer.inner)

    def question(self) -> tuple[State, Exponents]:
        """Return g(h), about which the next layer's increment is asked, and its exponents."""
        return self.block.field(self.h, None), self.exponents

    def apply(self, product: State) -> None:
        """Advance by a layer whose answer to `question` is known."""
        g = product if self.correction is None else self.block.field(self.h, None)
        self._advance(g, product, None)

    def _advance(self, g: State, product: State, inner: Increment | None) -> None:
        h = _axpy(self.h, self.factor, product)
        if self.correction is not None:
            h = _axpy(h, self.correction, self.block.pulled(self.h, g, inner))
        self.h = settled(self.block, h)
        self._steps += 1
        if self.period and self._steps % self.period == 0:
            self.h, more = rescaled(self.h)
            self.exponents = self.exponents + more

    def state(self) -> State:
        """Return the state in its true size."""
        return restored(self.h, self.exponents)


def advance(stepper: Stepper, layers: Iterable[Layer], *, keep: Keep) -> Recorder:
    """Advance through all layers and return what was kept, first and last state included."""
    recorder = Recorder(keep)
    recorder.record(stepper.h, stepper.exponents, endpoint=True)
    for layer in layers:
        stepper.step(layer)
        recorder.record(stepper.h, stepper.exponents)
    if keep == "terminal":
        recorder.record(stepper.h, stepper.exponents, endpoint=True)
    return recorder


def march(
    steppers: Mapping[int, Stepper], sample: WeightSample, *, inner: bool
) -> Iterator[tuple[int, int]]:
    """Advance networks of several depths through one draw; yield (depth, layer) after each step.

    A lazy draw that remembers nothing is asked for all depths at once, which blocks with inner
    weights cannot wait for: their questions are known at the end of a layer's interval only.
    """
    if sample.serves_once and not inner:
        n_inputs = next(iter(steppers.values())).h.shape[1]
        questions = {depth: stepper.question for depth, stepper in steppers.items()}
        answers = ladder_answers(
            sample, tuple(steppers), lambda depth: questions[depth](), n_inputs=n_inputs
        )
        for answer in answers:
            steppers[answer.depth].apply(answer.product)
            yield answer.depth, answer.index
    else:
        for layer in sample.coupled(tuple(steppers), inner=inner):
            steppers[layer.depth].step(layer)
            yield layer.depth, layer.index


def pull_back(
    stepper: Stepper, layers: Iterable[Layer], states: States, cotangent: State, *, keep: Keep
) -> Recorder:
    """Return p_k = (I + factor Dg(h_k)^T dX_k^T) D_k p_{k+1}, in the order of time.

    D_k is the derivative of what acts after the addition, the identity for most blocks. `layers`
    come last first; only the directions of `states` matter for homogeneous blocks.
    """
    p, exponents = _started(cotangent)
    recorder = Recorder(keep)
    recorder.record(p, exponents, endpoint=True)
    period = rescaling_period(stepper.growth, p.dtype)
    for count, layer in enumerate(layers, start=1):
        p = gated(stepper.block, states[layer.index + 1], p)
        pulled = stepper.block.pulled(states[layer.index], layer.increment.rmv(p), layer.inner)
        p = _axpy(p, stepper.factor, pulled)
        if count % period == 0:
            p, more = rescaled(p)
            exponents = exponents + more
        recorder.record(p, exponents)
    if keep == "terminal":
        recorder.record(p, exponents, endpoint=True)
    recorder.values.reverse()
    recorder.exponents.reverse()
    return recorder


def push_forward(
    stepper: Stepper, q: State, layers: Iterable[Layer], *, keep: Keep
) -> tuple[Recorder, Recorder]:
    """Advance states and tangents q_{k+1} = D_k (I + factor dX_k Dg(h_k)) q_k together."""
    states, tangents = Recorder(keep), Recorder(keep)
    q, exponents = _started(q)
    period = rescaling_period(stepper.growth, q.dtype)
    states.record(stepper.h, stepper.exponents, endpoint=True)
    tangents.record(q, exponents, endpoint=True)
    for count, layer in enumerate(layers, start=1):
        pushed = layer.increment.mv(stepper.block.pushed(stepper.h, q, layer.inner))
        q = _axpy(q, stepper.factor, pushed)
        stepper.step(layer)
        q = gated(stepper.block, stepper.h, q)
        if count % period == 0:
            q, more = rescaled(q)
            exponents = exponents + more
        states.record(stepper.h, stepper.exponents)
        tangents.record(q, exponents)
    if keep == "terminal":
        states.record(stepper.h, stepper.exponents, endpoint=True)
        tangents.record(q, exponents, endpoint=True)
    return states, tangents


def advance_chunks(
    start: Start, states: State, sample: WeightSample, *, keep: Keep, threads: bool
) -> Kept:
    """Advance all paths, some at a time, from the first states on; `start` makes steppers."""

    def some(first: int, count: int) -> Kept:
        stepper = start(states[first : first + count])
        layers = sample.layers(first_path=first, n_paths=count, inner=stepper.block.has_inner)
        return advance(stepper, layers, keep=keep).kept()

    return _joined(map_chunks(some, sample.shares(), threads=threads))


def pull_chunks(
    start: Start, states: Tensor, p: State, sample: WeightSample, *, keep: Keep,
    lost: Tensor | None = None,
) -> Kept:  # fmt: skip
    """Take cotangents back on all paths.

    Where only the first states are given, the others are computed, and so are those that are lost.
    """

    def some(first: int, count: int) -> Kept:
        chosen = slice(first, first + count)
        stepper = start(states[0, chosen])
        inner = stepper.block.has_inner
        whole = len(states) == sample.depth + 1
        again = None if lost is None else lost[chosen]
        own = states[:, chosen]
        if again is not None or not whole:
            forward = sample.layers(first_path=first, n_paths=count, inner=inner)
            own, _ = advance(stepper, forward, keep="all").kept()
        if again is not None:
            own = torch.where(again, own, states[:, chosen])
        layers = sample.layers(first_path=first, n_paths=count, inner=inner, backwards=True)
        return pull_back(stepper, layers, own, p[chosen], keep=keep).kept()

    return _joined(map_chunks(some, sample.shares()))


def push_chunks(
    start: Start, states: State, q: State, sample: WeightSample, *, keep: Keep
) -> list[Kept]:
    """Advance states and tangents of all paths, some at a time."""

    def some(first: int, count: int) -> list[Kept]:
        chosen = slice(first, first + count)
        stepper = start(states[chosen])
        layers = sample.layers(first_path=first, n_paths=count, inner=stepper.block.has_inner)
        recorders = push_forward(stepper, q[chosen], layers, keep=keep)
        return [each.kept() for each in recorders]

    parts = map_chunks(some, sample.shares())
    return [_joined(list(each)) for each in zip(*parts, strict=True)]


def _joined(parts: list[Kept]) -> Kept:
    if len(parts) == 1:
        return parts[0]
    values, exponents = zip(*parts, strict=True)
    return torch.cat(values, dim=1), torch.cat(exponents, dim=1)


def _axpy(h: State, factor: Factor, update: State) -> State:
    if isinstance(factor, Tensor):
        return h + factor * update
    return torch.add(h, update, alpha=factor)


def _started(h: State, *, rescale: bool = True) -> tuple[State, Tensor]:
    """Return states near one and their exponents, so that huge inputs have room to grow."""
    if rescale:
        return rescaled(h)
    return h, torch.zeros(h.shape[:-1], dtype=torch.int32, device=h.device)
