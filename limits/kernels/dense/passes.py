"""Forward, backward and tangent passes through weights that are drawn and forgotten.

What a pass is given and what it leaves are tensors of axes (time, path, input, width), with the
powers of two that states were divided by. A call works on some of the paths; nothing depends on
which.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limits.kernels.dense.readings import DrawnMatrices, LayerRule, Rung
from limits.kernels.philox import KINDS, Key
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES

__all__ = [
    "DensePasses",
    "advance_some",
    "pull_some",
    "push_some",
    "work_of",
]

_AT_ONCE = 2**26
"""Numbers drawn by one call, or what takes as long: a tenth of a second."""

_PRODUCTS_OF_A_NUMBER = 8
"""Products that take as long as drawing a number."""


@dataclass(frozen=True)
class DensePasses:
    """Passes of networks through matrices that are drawn, multiplied and forgotten.

    Parameters
    ----------
    matrices : DrawnMatrices
        The weights.
    """

    matrices: DrawnMatrices

    def work_of(self, rungs: Sequence[Rung]) -> int:
        """Return about how many numbers one path could draw in the time that its pass takes."""
        return work_of(self.matrices, rungs)

    def advance(
        self, values: Tensor, exponents: Tensor, rule: LayerRule, rungs: Sequence[Rung],
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Advance networks of several depths, as `advance_some` does."""
        what = self.matrices, rule, rungs
        advance_some(values, exponents, *what, first, count, reach=reach, between=between)

    def pull(
        self, values: Tensor, exponents: Tensor, states: Tensor, rule: LayerRule, rung: Rung,
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Take cotangents back, as `pull_some` does."""
        what = states, self.matrices, rule, rung
        pull_some(values, exponents, *what, first, count, reach=reach, between=between)

    def push(
        self, values: Tensor, exponents: Tensor, rule: LayerRule, rungs: tuple[Rung, Rung],
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Advance states and tangents together, as `push_some` does."""
        what = self.matrices, rule, rungs
        push_some(values, exponents, *what, first, count, reach=reach, between=between)


def work_of(matrices: DrawnMatrices, rungs: Sequence[Rung]) -> int:
    """Return about how many numbers one path could draw in the time that its pass takes."""
    columns = sum(len(rung.factor) for rung in rungs)
    each = 1 + (columns + len(rungs)) // _PRODUCTS_OF_A_NUMBER
    # A layer costs something even where its matrix is small.
    entries = matrices.width**2 + 32
    return entries * matrices.depth * each * (1 if matrices.inner is None else 2)


def advance_some(
    values: Tensor, exponents: Tensor, matrices: DrawnMatrices, rule: LayerRule,
    rungs: Sequence[Rung], first: int, count: int, *, reach: int,
    between: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Advance networks of several depths through one draw, for some of the paths.

    Parameters
    ----------
    values, exponents : Tensor
        ``(kept, path, input, width)`` and ``(kept, path, input)`` in int32: what is kept of the
        first depth, then of the second. The first state of each stands there.
    matrices, rule
        The weights, and what a layer does with them.
    rungs : sequence of Rung
        Deepest first.
    first, count : int
        The paths.
    reach : int
        Largest exponent by which states are divided at once.
    between : callable, optional
        Called before every compiled call, none of which takes long.
    """
    from limits.kernels.dense.forward import advance_paths

    shape = (len(rungs), *values.shape[2:])
    h, powers = np.empty(shape, _kind(values)), np.empty(shape[:2], np.int32)
    sums = len(rungs), 1 if matrices.inner is None else 2
    totals = _sums(values, sums, matrices, rungs)
    arrays = values.numpy(), exponents.numpy(), h, powers, totals
    what = _drawing(matrices), _form(matrices, rule), _steps(matrices, rungs, values, reach)
    for paths, layers in _pieces(work_of(matrices, rungs), matrices.depth, first, count):
        between()
        advance_paths(*arrays, paths, layers, *what)


def pull_some(
    values: Tensor, exponents: Tensor, states: Tensor, matrices: DrawnMatrices, rule: LayerRule,
    rung: Rung, first: int, count: int, *, reach: int, between: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Take cotangents back through a network, for some of the paths.

    Parameters
    ----------
    values, exponents : Tensor
        As in `advance_some`; the last cotangents stand there.
    states : Tensor
        All states of the network, ``(time, path, input, width)``.
    matrices, rule, rung, first, count, reach, between
        As in `advance_some`, of one depth.
    """
    from limits.kernels.dense.gradients import pull_paths

    p, powers = np.empty(values.shape[2:], _kind(values)), np.empty(values.shape[2], np.int32)
    totals = _sums(values, (1 if matrices.inner is None else 2,), matrices, [rung])
    arrays = values.numpy(), exponents.numpy(), states.numpy(), p, powers, totals
    what = _drawing(matrices), _form(matrices, rule), _steps(matrices, [rung], values, reach)
    pieces = _pieces(2 * work_of(matrices, [rung]), rung.depth, first, count)
    for paths, layers in reversed(list(pieces)):
        between()
        pull_paths(*arrays, paths, layers, *what)


def push_some(
    values: Tensor, exponents: Tensor, matrices: DrawnMatrices, rule: LayerRule,
    rungs: tuple[Rung, Rung], first: int, count: int, *, reach: int,
    between: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Advance states and tangents of a network, for some of the paths.

    Parameters
    ----------
    values, exponents, matrices, rule, first, count, reach, between
        As in `advance_some`: states first, tangents behind them.
    rungs : tuple of Rung
        Of states and of tangents, which differ in their period.
    """
    from limits.kernels.dense.gradients import push_paths

    shape = (2, *values.shape[2:])
    h, powers = np.empty(shape, _kind(values)), np.empty(shape[:2], np.int32)
    totals = _sums(values, (1 if matrices.inner is None else 2,), matrices, rungs)
    arrays = values.numpy(), exponents.numpy(), h, powers, totals
    what = _drawing(matrices), _form(matrices, rule), _steps(matrices, rungs, values, reach)
    for paths, layers in _pieces(2 * work_of(matrices, rungs), rungs[0].depth, first, count):
        between()
        push_paths(*arrays, paths, layers, *what)


def _kind(values: Tensor) -> Any:
    return np.float64 if values.dtype == torch.float64 else np.float32


def _sums(
    values: Tensor, sums: tuple[int, ...], matrices: DrawnMatrices, rungs: Sequence[Rung]
) -> np.ndarray:
    """Return memory for sums of matrices, none where all networks read the drawn layers."""
    size = 0 if all(rung.depth == matrices.depth for rung in rungs) else matrices.width**2
    return np.empty((*sums, size), _kind(values))


def _words(key: Key) -> tuple[np.uint64, np.uint64, np.uint64]:
    return np.uint64(key.k0), np.uint64(key.k1), np.uint64(key.k2)


def _drawing(matrices: DrawnMatrices) -> Any:
    from limits.kernels.dense.steps import Drawing

    outer = _words(matrices.outer)
    inner = outer if matrices.inner is None else _words(matrices.inner)
    kind, scale = KINDS.index(matrices.kind), np.float32(matrices.scale)
    return Drawing(outer, inner, kind, scale, matrices.first_path)


def _form(matrices: DrawnMatrices, rule: LayerRule) -> Any:
    from limits.kernels.dense.steps import LayerForm

    code = ACTIVATION_CODES.index(rule.activation)
    return LayerForm(code, matrices.inner is not None, rule.reflects, float(rule.bias))


def _steps(matrices: DrawnMatrices, rungs: Sequence[Rung], values: Tensor, reach: int) -> Any:
    from limits.kernels.dense.steps import Steps

    kind = _kind(values)
    depths = [rung.depth for rung in rungs]
    parents = [_parent(depths, n, matrices.depth) for n in range(len(depths))]
    ratios = [matrices.depth // depth for depth in depths]
    received = [ratios[parent] if parent >= 0 else 1 for parent in parents]
    offsets = np.cumsum([0, *(rung.kept for rung in rungs)])[:-1]
    return Steps(
        ratio=np.array(ratios),
        parent=np.array(parents),
        received=np.array(received),
        stride=np.array([rung.stride for rung in rungs]),
        offset=offsets,
        period=np.array([rung.period for rung in rungs]),
        factor=np.stack([rung.factor.numpy() for rung in rungs]).astype(kind),
        inner_scale=np.array([rung.inner_scale for rung in rungs], kind),
        reach=reach,
    )


def _parent(depths: Sequence[int], place: int, drawn: int) -> int:
    """Return the coarsest finer depth whose sums a depth can add up, -1 if there is none."""
    finer = [n for n in range(place) if drawn > depths[n] > depths[place]]
    return max((n for n in finer if depths[n] % depths[place] == 0), default=-1)


def _pieces(
    work: int, depth: int, first: int, count: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield (paths, layers) of calls: several paths whole, or some layers of one path."""
    many = _AT_ONCE // work
    if many:
        for path in range(first, first + count, many):
            yield (path, min(path + many, first + count)), (0, depth)
        return
    some = max(1, _AT_ONCE * depth // work)
    for path in range(first, first + count):
        for layer in range(0, depth, some):
            yield (path, path + 1), (layer, min(layer + some, depth))
