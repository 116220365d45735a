"""Which passes take compiled loops, and how these are asked.

Blocks and activations that go by name, on independent layers whose numbers have an address, dense
or lazy. Everything else, and whatever autograd records, takes the plain loops of
`limits.networks.propagate`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from limits._typing import Keep, State, States
from limits.activations import ACTIVATIONS, Activation
from limits.kernels.dense import DensePasses, DrawnMatrices, LayerRule, Rung
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES, ActivationCode
from limits.networks.blocks import Block, Inner, Outer, PostRelu
from limits.networks.log_scale import LARGEST_EXPONENT, rescaled, rescaling_period
from limits.networks.propagate import Kept, Stepper
from limits.parallel import check_wanted, cores, map_chunks
from limits.paths import IndependentSource, LazyPasses, WeightSample

__all__ = ["Fused", "is_recorded"]

_SMALL, _LARGE = 2**18, 2**28
"""Numbers drawn in a millisecond, which threads are not worth, and in half a second."""


def is_recorded(*tensors: Tensor | float | None) -> bool:
    """Say whether autograd follows what is computed of tensors, backwards or forwards."""
    return any(
        (each.requires_grad and torch.is_grad_enabled()) or unpack_dual(each).tangent is not None
        for each in tensors
        if isinstance(each, Tensor)
    )


@dataclass(frozen=True)
class Fused:
    """Passes of one block through the matrices of one sample.

    Parameters
    ----------
    sample : WeightSample
        The weights.
    passes, rule
        What compiled loops know of weights and block.
    scale : float
        Turns numbers into increments of the drawn depth.
    """

    sample: WeightSample
    passes: DensePasses | LazyPasses
    rule: LayerRule
    scale: float

    @classmethod
    def of(
        cls, sample: WeightSample, steppers: Sequence[Stepper], *, gradients: bool = False
    ) -> "Fused | None":
        """Return the passes of networks that share a block, None where they need plain loops."""
        block = steppers[0].block
        if not _is_served(sample.device.type, gradients or (block.has_inner and len(steppers) > 1)):
            return None
        rule = _rule(block)
        plain = any(each.block != block or each.correction is not None for each in steppers)
        if rule is None or plain:
            return None
        if is_recorded(*(each.h for each in steppers), *(each.factor for each in steppers)):
            return None
        if sample.lazy is not None:
            lazy = LazyPasses.of(sample, inner=block.has_inner, alone=len(steppers) == 1)
            return lazy and cls(sample, lazy, rule, 1.0)
        source, inner = sample.source, sample.inner.source if block.has_inner else None
        if not isinstance(source, IndependentSource) or source.kind is None:
            return None
        matrices = DrawnMatrices(
            outer=source.stream.key,
            inner=inner.stream.key if isinstance(inner, IndependentSource) else None,
            kind=source.kind,
            scale=source.number_scale,
            width=sample.width,
            depth=source.depth,
            first_path=sample.first_path,
        )
        return cls(sample, DensePasses(matrices), rule, source.scale)

    def advance(
        self, steppers: Mapping[int, Stepper], strides: Mapping[int, int]
    ) -> dict[int, Kept]:
        """Advance networks of several depths, and return every stride-th state of each."""
        depths = sorted(steppers, reverse=True)
        rungs = [
            self._rung(steppers[depth], depth, strides[depth], steppers[depth].period)
            for depth in depths
        ]
        values, exponents, starts = self._memory(
            [rung.kept for rung in rungs], steppers[depths[0]].h
        )
        for depth, start in zip(depths, starts, strict=True):
            values[start], exponents[start] = steppers[depth].h, steppers[depth].exponents

        if self.sample.device.type == "cuda" and isinstance(self.passes, DensePasses):
            from limits.kernels.dense.cuda import advance_on_device

            advance_on_device(
                values, exponents, self.passes.matrices, self.rule, rungs, rescaled=rescaled
            )  # fmt: skip
            return _split(depths, starts, values, exponents)

        def some(first: int, count: int) -> None:
            self.passes.advance(
                values, exponents, self.rule, rungs, first, count, reach=self._reach,
                between=check_wanted,
            )  # fmt: skip

        map_chunks(some, self._ranges(self.passes.work_of(rungs)))
        return _split(depths, starts, values, exponents)

    def advance_one(self, stepper: Stepper, *, keep: Keep) -> Kept:
        """Advance a network of the sample's depth."""
        depth = self.sample.depth
        return self.advance({depth: stepper}, {depth: 1 if keep == "all" else depth})[depth]

    def pull_back(self, stepper: Stepper, states: Tensor, cotangent: State, *, keep: Keep) -> Kept:
        """Return the cotangents of one network, as `limits.networks.propagate.pull_back` does."""
        rung = self._single(stepper, keep, _period(stepper))
        values, exponents, _ = self._memory([rung.kept], stepper.h)
        values[-1], exponents[-1] = rescaled(cotangent)
        states = states.contiguous()

        def some(first: int, count: int) -> None:
            self.passes.pull(
                values, exponents, states, self.rule, rung, first, count, reach=self._reach,
                between=check_wanted,
            )  # fmt: skip

        map_chunks(some, self._ranges(2 * self.passes.work_of([rung])))
        return values, exponents

    def push_forward(self, stepper: Stepper, q: State, *, keep: Keep) -> tuple[Kept, Kept]:
        """Return states and tangents, as `limits.networks.propagate.push_forward` does."""
        rung = self._single(stepper, keep, stepper.period)
        rungs = rung, replace(rung, period=_period(stepper))
        values, exponents, (_, middle) = self._memory([rung.kept, rung.kept], stepper.h)
        values[0], exponents[0] = stepper.h, stepper.exponents
        values[middle], exponents[middle] = rescaled(q)

        def some(first: int, count: int) -> None:
            self.passes.push(
                values, exponents, self.rule, rungs, first, count, reach=self._reach,
                between=check_wanted,
            )  # fmt: skip

        map_chunks(some, self._ranges(2 * self.passes.work_of(rungs)))
        return (values[:middle], exponents[:middle]), (values[middle:], exponents[middle:])

    @property
    def _reach(self) -> int:
        return LARGEST_EXPONENT[self.sample.dtype]

    def _single(self, stepper: Stepper, keep: Keep, period: int) -> Rung:
        depth = self.sample.depth
        return self._rung(stepper, depth, 1 if keep == "all" else depth, period)

    def _rung(self, stepper: Stepper, depth: int, stride: int, period: int) -> Rung:
        factor = (
            torch.as_tensor(stepper.factor, dtype=torch.float64, device="cpu").detach().flatten()
        )
        return Rung(
            depth=depth,
            factor=self.scale * factor.expand(stepper.h.shape[1]),
            inner_scale=self.scale * depth**self.sample.path.index,
            period=period,
            stride=stride,
        )

    def _memory(self, kept: Sequence[int], like: State) -> tuple[States, Tensor, list[int]]:
        """Return memory for states and exponents, and where those of each network begin."""
        total = sum(kept)
        exponents = torch.empty((total, *like.shape[:2]), dtype=torch.int32, device=like.device)
        starts = [sum(kept[:place]) for place in range(len(kept))]
        return like.new_empty((total, *like.shape)), exponents, starts

    def _ranges(self, work: int) -> list[tuple[int, int]]:
        """Split the paths evenly among threads, so that no range takes long."""
        n_paths = self.sample.n_paths
        if n_paths * work < _SMALL:
            return [(0, n_paths)]
        threads = min(torch.get_num_threads(), cores())
        chunks = math.ceil(n_paths * work / _LARGE / threads) * threads
        size = math.ceil(n_paths / chunks)
        return [(first, min(size, n_paths - first)) for first in range(0, n_paths, size)]


def _split(
    depths: Sequence[int], starts: Sequence[int], values: Tensor, exponents: Tensor
) -> dict[int, Kept]:
    """Return what belongs to each depth."""
    ends = (*starts[1:], len(values))
    return {
        depth: (values[start:end], exponents[start:end])
        for depth, start, end in zip(depths, starts, ends, strict=True)
    }


def _is_served(device: str, special: bool) -> bool:
    """Say whether there are kernels: on CUDA of forward passes, of one depth with inner weights."""
    return device == "cpu" or (device == "cuda" and not special and find_spec("triton") is not None)


def _period(stepper: Stepper) -> int:
    """Return after how many layers what is linear in the last cotangent is rescaled."""
    return rescaling_period(stepper.growth, stepper.h.dtype)


def _rule(block: Block) -> LayerRule | None:
    match block:
        case PostRelu():
            return LayerRule("identity", reflects=True)
        case Outer(activation=activation):
            code = _code_of(activation)
            return LayerRule(code) if code else None
        case Inner(activation=activation, bias=bias):
            code = _code_of(activation)
            return LayerRule(code, bias=float(bias)) if code else None
        case _:
            return None


def _code_of(activation: Activation) -> ActivationCode | None:
    """Return the name by which compiled loops know an activation, None if they do not."""
    return next((code for code in ACTIVATION_CODES if ACTIVATIONS[code] is activation), None)
