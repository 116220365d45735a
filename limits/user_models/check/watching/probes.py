"""The numbers of one model: what its residual streams do, at one depth and one draw of weights."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from limits.exceptions import BranchError
from limits.user_models.branches.calls import Call
from limits.user_models.branches.compilation import uncompiled
from limits.user_models.check.watching.backward import backward_pass
from limits.user_models.check.watching.evaluation import in_evaluation, without_dropout
from limits.user_models.check.watching.observer import Observer, Role, norm_of

__all__ = ["FrozenMeasurement", "Measurement", "Probe"]

# Of the first state: doubled by a stream that carries its size, undone by one that is normalised.
_START = 2.0
_CARRIED = 0.5


@dataclass(frozen=True)
class Measurement:
    """One stream of one model at one moment; norms are Euclidean over the whole batch.

    Parameters
    ----------
    change, stream_change : float
        |sum_k f_k| / |h_0|, what the branches add up to, and |h_L - h_0| / |h_0|: the same where
        nothing but branches acts on the stream. Over several stages: root of the sum of squares.
        In a stream that is normalised, |h_0| is the size it is normalised to.
    log_norm : float
        log(|h_L| / |h_0|), summed over stages.
    gradient_change, gradient_log_norm : float
        The same for gradients p_k of a random linear loss, from the output to the input:
        |sum_k (p_k - p_(k+1))| / |p_L| and log(|p_0| / |p_L|). NaN if not asked for.
    update_size : float
        Root mean square of |f_k| / |h_k|.
    stream, contribution, gradient : tuple of float
        |h_k| / |h_0|, |f_k| / |h_k| and |p_k| / |p_L| by layer.
    """

    change: float
    stream_change: float
    log_norm: float
    gradient_change: float
    gradient_log_norm: float
    update_size: float
    stream: tuple[float, ...]
    contribution: tuple[float, ...]
    gradient: tuple[float, ...]


@dataclass(frozen=True)
class FrozenMeasurement:
    """One stream whose branches all answer to its first state.

    Parameters
    ----------
    frozen_sum : float
        |sum of unit updates|.
    frozen_size : float
        Root mean square of |f_k| / |h_0|.
    frozen_log_norm : float
        log(|h_L| / |h_0|): 0 if only branches act on the stream.
    frozen_contribution : tuple of float
        |f_k| / |h_0| by layer.
    """

    frozen_sum: float
    frozen_size: float
    frozen_log_norm: float
    frozen_contribution: tuple[float, ...]


@dataclass(frozen=True)
class Probe:
    """How the models of one depth are measured.

    Parameters
    ----------
    call : Call
        Their inputs.
    roles : mapping
        Their residual sums.
    n_additions : int
        All additions of a forward pass, residual or not.
    levels : tuple of set of int
        Streams that are frozen together: one that lies within a branch of another is not.
    moving : bool
        Whether entries of a stream change places between sums.
    evaluated : bool
        Whether models are measured in evaluation mode.
    normalised : set of int
        Stages that undo a change of their size.
    generator_seed : int
        Of the loss that gradients are taken of.
    """

    call: Call
    roles: Mapping[int, Role]
    n_additions: int
    levels: tuple[frozenset[int], ...] = (frozenset({0}),)
    moving: bool = False
    evaluated: bool = False
    normalised: frozenset[int] = frozenset()
    generator_seed: int = 0

    @property
    def counts(self) -> dict[int, int]:
        """Number of residual sums L of every stream."""
        streams = sorted({role.stream for role in self.roles.values()})
        return {
            stream: sum(role.stream == stream for role in self.roles.values()) for stream in streams
        }

    def groups(self, stream: int) -> tuple[int, ...]:
        """Return the group of every sum of a stream, in order."""
        return tuple(role.group for role in self.roles.values() if role.stream == stream)

    def stages(self, stream: int) -> dict[int, tuple[int, int]]:
        """Return the first and the last block of every stage of a stream."""
        ends: dict[int, tuple[int, int]] = {}
        for role in self.roles.values():
            if role.stream == stream:
                first, last = ends.get(role.stage, (role.block, role.block))
                ends[role.stage] = min(first, role.block), max(last, role.block)
        return ends

    def read(
        self, model: nn.Module, *, scale: float = 1.0, gradients: bool = True
    ) -> dict[int, Measurement]:
        """Return the numbers of one forward pass, and one backward pass if asked for, by stream."""
        observer = self._observed(model, gradients=gradients, scale=scale)
        if gradients and not observer.reached:
            # As where the last layer begins at zero: the streams may have gradients all the same.
            observer = self._observed(model, gradients=True, scale=scale, of_states=True)
        return {
            stream: self._measured(observer, stream, gradients=gradients) for stream in self.counts
        }

    def frozen(self, model: nn.Module) -> dict[int, FrozenMeasurement]:
        """Return the numbers of streams that stay at their first states, by stream."""
        found = {}
        for level in self.levels:
            observer = self._observed(model, frozen=level)
            for stream in sorted(level):
                sums = [_norm(observer.stages[stage].total) for stage in self.stages(stream)]
                norms = zip(
                    observer.update_norms[stream], observer.stream_norms[stream], strict=True
                )
                shares = [_ratio(_number(update), _number(norm)) for update, norm in norms]
                found[stream] = FrozenMeasurement(
                    math.hypot(*sums),
                    _root_mean_square(shares),
                    self._log_norm(observer, stream),
                    tuple(shares),
                )
        return found

    def told_normalised(self, model: nn.Module) -> "Probe":
        """Return the probe that knows which stages undo a change of their size.

        A stage whose first state is doubled, and to which branches add nothing, ends in a doubled
        state, unless something normalises it on its way. The logarithm to base 2 of what is left
        is 1 or 0; the border is half way.
        """
        carried: dict[int, list[float]] = {}
        for start in (1.0, _START):
            for level in self.levels:
                observer = self._observed(model, frozen=level, start=start)
                for stream in level:
                    for stage, (first, _) in self.stages(stream).items():
                        began = _number(observer.stream_norms[stream][first])
                        grown = _log(_number(observer.final_norms[stage]), began)
                        carried.setdefault(stage, []).append(grown)
        gains = {stage: (b - a) / math.log(_START) for stage, (a, b) in carried.items()}
        normalised = frozenset(stage for stage, gain in gains.items() if gain < _CARRIED)
        return replace(self, normalised=normalised)

    def features(self, model: nn.Module) -> dict[int, Tensor]:
        """Return the state after the last residual sum of every stream."""
        states = self._observed(model).last
        return {stream: state.detach().clone() for stream, state in states.items()}

    def _observed(
        self,
        model: nn.Module,
        *,
        gradients: bool = False,
        scale: float = 1.0,
        start: float = 1.0,
        frozen: frozenset[int] = frozenset(),
        of_states: bool = False,
    ) -> Observer:
        observer = Observer(self.roles, frozen, scale, start, gradients, self.moving)
        context: AbstractContextManager[Any] = nullcontext() if gradients else torch.no_grad()
        call = self.call.mapped(_differentiable if gradients else torch.clone)
        modes = in_evaluation(model) if self.evaluated else without_dropout(model)
        with context, modes, uncompiled(), observer:
            output = model(*call.args, **call.kwargs)
        if observer.n_additions != self.n_additions:
            raise BranchError(
                f"{type(model).__name__} made {self.n_additions} additions in one forward pass and "
                f"{observer.n_additions} in another one. Make its forward pass the same every "
                "time, for example by switching off stochastic depth."
            )
        if gradients:
            observer.reached = backward_pass(
                model, output, observer.last, seed=self.generator_seed, of_states=of_states
            )
        return observer

    def _measured(self, observer: Observer, stream: int, *, gradients: bool) -> Measurement:
        norms = [_number(norm) for norm in observer.stream_norms[stream]]
        updates = [_number(norm) for norm in observer.update_norms[stream]]
        ends = self.stages(stream)
        stages = [observer.stages[stage] for stage in ends]
        units = [
            norms[min(first + 1, last)] if stage in self.normalised else norms[first]
            for stage, (first, last) in ends.items()
        ]
        moved = [math.inf if stage.moved is None else _number(stage.moved) for stage in stages]
        states = [*norms, _number(observer.final_norms[max(ends)])]
        shares = [_ratio(update, norm) for update, norm in zip(updates, norms, strict=True)]
        backward = self._backward(observer, stream) if gradients else (math.nan, math.nan, ())
        return Measurement(
            change=math.hypot(*map(_ratio, [_norm(stage.total) for stage in stages], units)),
            stream_change=math.hypot(*map(_ratio, moved, units)),
            log_norm=self._log_norm(observer, stream),
            gradient_change=backward[0],
            gradient_log_norm=backward[1],
            update_size=_root_mean_square(shares),
            stream=tuple(_ratio(norm, states[0]) for norm in states),
            contribution=tuple(shares),
            gradient=backward[2],
        )

    def _log_norm(self, observer: Observer, stream: int) -> float:
        norms = observer.stream_norms[stream]
        logs = []
        for stage, (first, last) in self.stages(stream).items():
            begins = min(first + 1, last) if stage in self.normalised else first
            logs.append(_log(_number(observer.final_norms[stage]), _number(norms[begins])))
        return sum(logs)

    def _backward(self, observer: Observer, stream: int) -> tuple[float, float, tuple[float, ...]]:
        count = self.counts[stream]
        norms = {b: _number(norm) for b, norm in observer.gradient_norms[stream].items()}
        if count not in norms:
            return math.nan, math.nan, ()
        changes, logs = [], []
        for stage, (first, last) in self.stages(stream).items():
            total = observer.stages[stage].gradient_total
            end = norms.get(last + 1, math.nan)
            changes.append(_ratio(_norm(total), end) if total is not None else math.nan)
            logs.append(_log(norms.get(first, math.nan), end))
        gradient = [norms.get(k, math.nan) for k in range(count + 1)]
        return (
            math.sqrt(sum(change**2 for change in changes)),
            sum(logs),
            tuple(_ratio(norm, gradient[-1]) for norm in gradient),
        )


def _differentiable(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.clone()
    # A copy of the leaf, so that models may begin with an operation in place.
    return tensor.detach().requires_grad_(True).clone()


def _norm(tensor: Tensor) -> float:
    return _number(norm_of(tensor.detach()))


def _number(norm: Tensor) -> float:
    return math.inf if math.isnan(float(norm)) else float(norm)


def _ratio(value: float, unit: float) -> float:
    if not math.isfinite(value) or not math.isfinite(unit):
        return math.inf
    return value / unit if unit > 0 else math.nan


def _root_mean_square(values: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in values) / len(values))


def _log(value: float, unit: float) -> float:
    ratio = _ratio(value, unit)
    return math.log(ratio) if ratio > 0 else -math.inf if ratio == 0 else math.nan
