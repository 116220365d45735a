"""Forward, backward and tangent passes through matrices that answer, and remember or forget.

What a pass is given and what it leaves are tensors of axes (time, path, input, width), with the
powers of two that states were divided by. A call works on some of the paths; nothing depends on
which.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limits.kernels.dense import LayerRule, Rung
from limits.kernels.philox import Key
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES

__all__ = ["Matter", "Tolerance", "ask_back", "ask_forth", "ask_with_tangents"]

_AT_ONCE = 2**26
"""Numbers drawn by one call, or what takes as long: a tenth of a second."""

_WINDOWS = 2**15
"""Normals that a call holds for the questions ahead: they stay in the second cache."""

_WINDOW = 2**12
"""Normals held for one of them."""


@dataclass(frozen=True)
class Tolerance:
    """When a vector counts as new.

    Parameters
    ----------
    rank : float
        A vector of which less than this share is new adds no direction.
    enough : float
        If at least this share is new, one projection is enough.
    """

    rank: float
    enough: float


@dataclass(frozen=True)
class Matter:
    """What the matrices of one role were asked and answered, and where their normals come from.

    Parameters
    ----------
    right, left : Tensor
        Directions asked and answers, ``(row, path, layer, 2, width)``; there must be room for
        what a pass may add.
    counts : Tensor
        Questions, right rows and left rows, ``(layer, path, 3)`` in int32, of all paths drawn.
    remembers : bool
        Whether answers outlast their layer. If not there is one path, and as many layers as one
        layer of the network consists of.
    key : Key
        The stream. Question q of a layer takes the normals from entry q w on, where w is the
        width rounded up to a multiple of four.
    scale : float
        Standard deviation of the entries.
    """

    right: Tensor
    left: Tensor
    counts: Tensor
    remembers: bool
    key: Key
    scale: float

    @classmethod
    def forgetful(
        cls, key: Key, scale: float, *, rows: int, layers: int, width: int, like: Tensor
    ) -> "Matter":
        """Return memory for one layer of a network on one path, with room for so many rows."""
        right, left = (like.new_empty(rows, 1, layers, 2, width) for _ in range(2))
        counts = torch.zeros(layers, 1, 3, dtype=torch.int32, device=like.device)
        return cls(right, left, counts, False, key, scale)


def ask_forth(
    values: Tensor, exponents: Tensor, outer: Matter, inner: Matter | None, rule: LayerRule,
    rung: Rung, paths: tuple[int, int, int], *, drawn_depth: int, reach: int, tolerance: Tolerance,
    between: Callable[[], None],
) -> None:  # fmt: skip
    """Advance the states of some of the paths.

    Parameters
    ----------
    values, exponents : Tensor
        ``(kept, path, input, width)`` and ``(kept, path, input)`` in int32. The first states
        stand there.
    outer, inner : Matter
        The matrices; `inner` is None for blocks without inner weights.
    rule : LayerRule
        What a layer does with them.
    rung : Rung
        How the network reads them.
    paths : tuple of int
        First path and number of paths, counted from those of `values`, and the number of the path
        with which `values` begin, in the stream and in what is known.
    drawn_depth : int
        Layers of matrices.
    reach : int
        Largest exponent by which states are divided at once.
    tolerance : Tolerance
        When a vector counts as new.
    between : callable
        Called before every compiled call, none of which takes long.
    """
    from limits.kernels.lazy.walks import walk_forth

    inputs = values.shape[2]
    h, powers = _arrays(values, (1, inputs))
    desk = _desk(values, outer, inner, 2 * inputs, paths[2], drawn_depth, tolerance)
    what = (
        _known(outer),
        _known(inner or outer),
        _form(inner, rule),
        _steps([rung], values, drawn_depth, reach),
        desk,
    )
    for few, layers in _pieces(values, outer, rung, drawn_depth, paths, 2):
        between()
        walk_forth(values.numpy(), exponents.numpy(), h, powers, _room(values), few, layers, *what)


def ask_back(
    values: Tensor, exponents: Tensor, states: Tensor, outer: Matter, inner: Matter | None,
    rule: LayerRule, rung: Rung, paths: tuple[int, int, int], *, drawn_depth: int, reach: int,
    tolerance: Tolerance, between: Callable[[], None],
) -> None:  # fmt: skip
    """Take cotangents back through a network, for some of the paths.

    Parameters
    ----------
    values, exponents : Tensor
        As in `ask_forth`; the last cotangents stand there.
    states : Tensor
        All states of the network, ``(time, path, input, width)``.
    outer, inner, rule, rung, paths, drawn_depth, reach, tolerance,
    between
        As in `ask_forth`.
    """
    from limits.kernels.lazy.walks import walk_back

    inputs = values.shape[2]
    p, powers = _arrays(values, (inputs,))
    desk = _desk(values, outer, inner, 3 * inputs, paths[2], drawn_depth, tolerance)
    what = (
        _known(outer),
        _known(inner or outer),
        _form(inner, rule),
        _steps([rung], values, drawn_depth, reach),
        desk,
    )
    for few, layers in reversed(list(_pieces(values, outer, rung, drawn_depth, paths, 3))):
        between()
        walk_back(
            values.numpy(), exponents.numpy(), states.numpy(), p, powers, _room(values), few,
            layers, *what,
        )  # fmt: skip


def ask_with_tangents(
    values: Tensor, exponents: Tensor, outer: Matter, inner: Matter | None, rule: LayerRule,
    rungs: tuple[Rung, Rung], paths: tuple[int, int, int], *, drawn_depth: int, reach: int,
    tolerance: Tolerance, between: Callable[[], None],
) -> None:  # fmt: skip
    """Advance states and tangents of a network, for some of the paths.

    Parameters
    ----------
    values, exponents
        As in `ask_forth`: states first, tangents behind them.
    rungs : tuple of Rung
        Of states and of tangents, which differ in their period.
    outer, inner, rule, paths, drawn_depth, reach, tolerance,
    between
        As in `ask_forth`.
    """
    from limits.kernels.lazy.walks import walk_with_tangents

    inputs = values.shape[2]
    h, powers = _arrays(values, (2, inputs))
    desk = _desk(values, outer, inner, 4 * inputs, paths[2], drawn_depth, tolerance)
    what = (
        _known(outer),
        _known(inner or outer),
        _form(inner, rule),
        _steps(list(rungs), values, drawn_depth, reach),
        desk,
    )
    for few, layers in _pieces(values, outer, rungs[0], drawn_depth, paths, 5):
        between()
        walk_with_tangents(
            values.numpy(), exponents.numpy(), h, powers, _room(values), few, layers, *what
        )


def _kind(values: Tensor) -> Any:
    return np.float64 if values.dtype == torch.float64 else np.float32


def _arrays(values: Tensor, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((*shape, values.shape[3]), _kind(values)), np.empty(shape, np.int32)


def _room(values: Tensor) -> np.ndarray:
    return np.empty((4, *values.shape[2:]), _kind(values))


def _known(matter: Matter) -> Any:
    from limits.kernels.lazy.questions import Known

    right, left = (each.numpy().reshape(-1) for each in (matter.right, matter.left))
    words = np.uint64(matter.key.k0), np.uint64(matter.key.k1), np.uint64(matter.key.k2)
    stride, scale = math.prod(matter.right.shape[1:]), right.dtype.type(matter.scale)
    counts = matter.counts.numpy()
    return Known(right, left, counts, stride, matter.remembers, words, scale)


def _desk(
    values: Tensor, outer: Matter, inner: Matter | None, slots: int, first_path: int, depth: int,
    tolerance: Tolerance,
) -> Any:  # fmt: skip
    from limits.kernels.lazy.questions import Desk

    width, kind = values.shape[3], _kind(values)
    padded = -(-width // 4) * 4
    numbers = max(padded, min(_WINDOW, _WINDOWS // slots))
    # Matrices without inner weights take the place of inner ones, and are not asked.
    rows = max(len(side) for each in (outer, inner or outer) for side in (each.right, each.left))
    return Desk(
        window=np.empty(slots * numbers, np.float32),
        held=np.empty((slots, 3), np.int64),
        work=np.empty(2 * (width + rows), kind),
        width=width,
        room=numbers,
        first_path=first_path,
        depth=depth,
        rank=kind(tolerance.rank),
        enough=kind(tolerance.enough),
    )


def _form(inner: Matter | None, rule: LayerRule) -> Any:
    from limits.kernels.dense.steps import LayerForm

    code = ACTIVATION_CODES.index(rule.activation)
    return LayerForm(code, inner is not None, rule.reflects, float(rule.bias))


def _steps(rungs: list[Rung], values: Tensor, drawn: int, reach: int) -> Any:
    from limits.kernels.dense.steps import Steps

    kind, alone = _kind(values), np.full(len(rungs), -1)
    return Steps(
        ratio=np.array([drawn // rung.depth for rung in rungs]),
        parent=alone,
        received=alone,
        stride=np.array([rung.stride for rung in rungs]),
        offset=np.cumsum([0, *(rung.kept for rung in rungs)])[:-1],
        period=np.array([rung.period for rung in rungs]),
        factor=np.stack([rung.factor.numpy() for rung in rungs]).astype(kind),
        inner_scale=np.array([rung.inner_scale for rung in rungs], kind),
        reach=reach,
    )


def _pieces(
    values: Tensor, outer: Matter, rung: Rung, drawn: int, paths: tuple[int, int, int],
    questions: int,
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:  # fmt: skip
    """Yield (paths, layers) of calls: several paths whole, or some layers of one path."""
    first, count, _ = paths
    _, _, inputs, width = values.shape
    rows = len(outer.right) + len(outer.left)
    work = questions * inputs * drawn * (width * (2 + rows // 2) + 32)
    many = _AT_ONCE // work
    if many:
        for path in range(first, first + count, many):
            yield (path, min(path + many, first + count)), (0, rung.depth)
        return
    some = max(1, _AT_ONCE * rung.depth // work)
    for path in range(first, first + count):
        for layer in range(0, rung.depth, some):
            yield (path, path + 1), (layer, min(layer + some, rung.depth))
