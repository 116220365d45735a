"""Forward passes on CUDA: which launches a pass consists of.

States are rescaled between launches, where a program sees all of a state.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from limits.kernels.cuda import signed
from limits.kernels.dense.readings import DrawnMatrices, LayerRule, Rung
from limits.kernels.dense.tiles import advance_inner_tiles, advance_tiles
from limits.kernels.philox import KINDS
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES

__all__ = ["advance_on_device"]

Rescaled = Callable[[Tensor], tuple[Tensor, Tensor]]

_ROWS = 8
"""Rows of a tile."""

_COLUMNS = 8
"""Columns that share what a program draws, as many as registers hold."""

_LAYERS = 4096
"""Layers of a launch at most: between launches the user may interrupt."""


def advance_on_device(
    values: Tensor, exponents: Tensor, matrices: DrawnMatrices, rule: LayerRule,
    rungs: Sequence[Rung], *, rescaled: Rescaled,
) -> None:  # fmt: skip
    """Advance networks of several depths through one draw, where the values are.

    Parameters
    ----------
    values, exponents, matrices, rule, rungs
        As in `limits.kernels.dense.advance_some`, all paths. With inner weights, of one depth.
    rescaled : callable
        Returns (2^-e h, e) of states ``(path, input, width)``.
    """
    starts = [sum(rung.kept for rung in rungs[:n]) for n in range(len(rungs))]
    h = torch.stack([values[start] for start in starts], dim=1)
    powers = torch.stack([exponents[start] for start in starts], dim=1)
    launch = _Launch(values, h, matrices, rule, rungs, starts)
    for begin, end in _segments(matrices.depth, rungs):
        for at in range(begin, end, launch.layers):
            launch(at, min(end, at + launch.layers))
        for n, (rung, start) in enumerate(zip(rungs, starts, strict=True)):
            ratio = matrices.depth // rung.depth
            first, last = begin // ratio + 1, end // ratio
            slots = slice(start + -(-first // rung.stride), start + last // rung.stride + 1)
            exponents[slots] = powers[:, n]
            if not _is_due(rung, end, ratio):
                continue
            h[:, n], more = rescaled(h[:, n])
            powers[:, n] += more
            if last % rung.stride == 0:
                values[start + last // rung.stride] = h[:, n]
                exponents[start + last // rung.stride] = powers[:, n]
            launch.refresh(n, last)


class _Launch:
    """The kernel of a pass, with its arguments."""

    def __init__(
        self, values: Tensor, h: Tensor, matrices: DrawnMatrices, rule: LayerRule,
        rungs: Sequence[Rung], starts: list[int],
    ) -> None:  # fmt: skip
        self._paths, n_rungs, inputs, width = h.shape
        columns = n_rungs * inputs
        self._h, self._values, self._matrices = h, values, matrices
        self._inner = matrices.inner is not None
        self._rung = rungs[0]
        self._code = ACTIVATION_CODES.index(rule.activation)
        self._whole = width % 4 == 0
        blocks = width // 4 if self._whole else width
        self._q = min(triton.next_power_of_2(blocks), 64)
        c = min(triton.next_power_of_2(columns), _COLUMNS)
        self._grid = self._paths, triton.cdiv(blocks, self._q), triton.cdiv(columns, c)
        device = values.device

        def per_column(numbers: Sequence[int]) -> Tensor:
            made = torch.tensor(numbers, dtype=torch.int32, device=device)
            return made.repeat_interleave(inputs)

        self._ratios = [matrices.depth // rung.depth for rung in rungs]
        self._fields = torch.empty((2, *h.shape), dtype=h.dtype, device=device)
        self._sums = torch.zeros_like(h)
        self._reading = (
            per_column(self._ratios),
            per_column([rung.stride for rung in rungs]),
            per_column(starts),
            torch.cat([rung.factor for rung in rungs]).to(h),
        )
        self._sizes = self._paths, columns, inputs, width
        self._tile = c, _ROWS, self._q, KINDS.index(matrices.kind), self._whole
        self._rule = rule
        if not self._inner:
            for n in range(n_rungs):
                self.refresh(n, 0)

    @property
    def layers(self) -> int:
        """Drawn layers that one launch may go through."""
        whole = self._ratios[0] if self._inner else 1
        return whole if self._grid[1] > 1 else max(1, _LAYERS // whole) * whole

    def refresh(self, n: int, done: int) -> None:
        """Activate the states of the n-th depth after so many layers."""
        if not self._inner:
            self._fields[done % 2, :, n] = _activated(self._h[:, n], self._code)

    def __call__(self, begin: int, end: int) -> None:
        """Go through drawn layers."""
        m = self._matrices
        outer = [signed(word) for word in m.outer]
        with torch.cuda.device(self._values.device if self._values.is_cuda else -1):
            if m.inner is None:
                kernel: Any = advance_tiles
                kernel[self._grid](
                    self._h, self._fields, self._sums, self._values, *self._reading,
                    begin, end, m.first_path, *outer, m.scale, *self._sizes, *self._tile,
                    max(self._ratios) > 1, self._rule.reflects, self._code,
                    enable_fp_fusion=False,
                )  # fmt: skip
                return
            ratio, inner = self._ratios[0], [signed(word) for word in m.inner]
            phases = [(True, True)] if self._grid[1] == 1 else [(True, False), (False, True)]
            kernel = advance_inner_tiles
            for first, second in phases:
                kernel[self._grid](
                    self._h, self._fields, self._values, *self._reading[1:],
                    begin // ratio, end // ratio, m.first_path, *outer, *inner, m.scale,
                    *self._sizes, ratio, self._rung.inner_scale, self._rule.bias, *self._tile,
                    self._code, first, second, enable_fp_fusion=False,
                )  # fmt: skip


def _activated(h: Tensor, code: int) -> Tensor:
    match ACTIVATION_CODES[code]:
        case "identity":
            return h
        case "relu":
            return torch.relu(h)
        case "tanh":
            return torch.tanh(h)
        case "gelu":
            return h * (1 + torch.erf(h * math.sqrt(0.5))) / 2


def _is_due(rung: Rung, layer: int, ratio: int) -> bool:
    return bool(rung.period) and layer % (ratio * rung.period) == 0


def _segments(depth: int, rungs: Sequence[Rung]) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of drawn layers between which no state has to be rescaled."""
    begin = 0
    while begin < depth:
        end = depth
        for rung in rungs:
            every = depth // rung.depth * rung.period
            if every:
                end = min(end, (begin // every + 1) * every)
        yield begin, end
        begin = end
