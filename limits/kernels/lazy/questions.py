"""Questions to Gaussian matrices that are never formed, as loops of numba.

A matrix is known by the orthonormal directions it was asked about, right and left, and by what it
answered. A path's numbers are those it has alone.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from limits.kernels.cpu import fill_flat
from limits.kernels.jit import ONE, ZERO, inlined, lean, loop
from limits.kernels.lazy.vectors import (
    add_multiple,
    borrowed,
    inner_product,
    put_multiple,
    put_quotient,
)

__all__ = [
    "BACK",
    "FORTH",
    "LEFT",
    "NONE",
    "RIGHT",
    "Desk",
    "Known",
    "ask_all",
    "leave",
    "lent",
]

# Of a type of their own: a loop is compiled anew for every plain number it is called with.
NONE, RIGHT, LEFT = np.int64(0), np.int64(1), np.int64(2)
FORTH, BACK = np.int64(1), np.int64(-1)

_SMALLEST, _LARGEST = 1e-24, 1e24
"""Between these the sum of squares in single precision is as good as any."""


class Known(NamedTuple):
    """What the matrices of one role were asked and answered, and where their normals come from.

    `right` and `left` are flat, of axes (row, path, layer, 2, width): directions and answers;
    `stride` numbers lie between two rows. `counts` is ``(layer, path, 3)``: questions, right rows
    and left rows, for all paths of the draw. Where nothing is remembered there is one path, and as
    many layers as one layer of the network consists of.
    """

    right: Any
    left: Any
    counts: Any
    stride: int
    remembers: bool
    key: tuple[np.uint64, np.uint64, np.uint64]
    scale: Any


class Desk(NamedTuple):
    """Memory to work with, and what all questions have in common.

    Normals are drawn for one question to several layers at a time, because few of them take as
    long as many: `window` is flat, of axes (slot, number), a slot for each question of a pass, and
    `held` says of each slot from which layer on it holds how many, and for which number of the
    question. `work` begins with two vectors, a direction and an answer; coefficients follow.
    """

    window: Any
    held: Any
    work: Any
    width: int
    room: int
    first_path: int
    depth: int
    rank: Any
    enough: Any


@loop
def lent(known: Any, desk: Any) -> Any:
    """Return both without the owners of their arrays."""
    return Known(
        borrowed(known.right), borrowed(known.left), borrowed(known.counts), known.stride,
        known.remembers, known.key, known.scale,
    ), Desk(
        borrowed(desk.window), borrowed(desk.held), borrowed(desk.work), desk.width, desk.room,
        desk.first_path, desk.depth, desk.rank, desk.enough,
    )  # fmt: skip


@lean
def _norm(memory: Any, at: Any, width: Any) -> Any:
    """Return a Euclidean norm whose square neither overflows nor vanishes in single precision."""
    squares = inner_product(memory, at, memory, at, width)
    if _SMALLEST < squares < _LARGEST:
        return np.sqrt(squares)
    exact = 0.0
    for i in range(width):
        exact += np.float64(memory[at + i]) * np.float64(memory[at + i])
    return memory.dtype.type(math.sqrt(exact))


@lean
def _project(
    rows: Any, start: Any, stride: Any, count: Any, work: Any, width: Any, parts: Any
) -> None:
    """Take the parts along known directions out of the first vector of the workplace."""
    for k in range(count):
        work[parts + k] = inner_product(rows, start + k * stride, work, 0, width)
    for k in range(count):
        add_multiple(work, 0, -work[parts + k], rows, start + k * stride, width)


@inlined
def _split(u: Any, at: Any, rows: Any, start: Any, count: Any, work: Any, sizes: Any) -> Any:
    """Split a question into known directions and a new one, and return the latter's coefficient.

    The new direction is the first vector of the workplace, coefficients of the others stand behind
    the second. Where the first pass leaves little, rounding leaves parts along the known directions
    in it, and a second pass removes them: twice is enough (Daniel, Gragg, Kaufman, Stewart, 1976).
    Nothing is new where less than a tolerance is.
    """
    width, stride, rank, enough = sizes
    parts, zero = 2 * width, u.dtype.type(0)
    size = _norm(u, at, width)
    put_multiple(work, ZERO, u.dtype.type(1), u, at, width)
    left = size
    if count > 0:
        _project(rows, start, stride, count, work, width, parts)
        left = _norm(work, ZERO, width)
        if size * rank < left < size * enough:
            _project(rows, start, stride, count, work, width, parts + count)
            left = _norm(work, ZERO, width)
            for k in range(count):
                work[parts + k] += work[parts + count + k]
    if not math.isfinite(left):
        put_multiple(work, ZERO, zero, work, ZERO, width)
        return left
    if left <= size * rank:
        return zero
    put_quotient(work, ZERO, left, work, ZERO, width)
    return left


@loop
def _draw(
    window: Any, held: Any, counts: Any, question: Any, remembers: Any, key: Any, sizes: Any
) -> None:
    """Draw the normals of a question for a layer, and for layers ahead.

    These are taken along as far as they were asked as often as this one before the pass.
    """
    row, layer, slot, number, step = question
    padded, room, depth = sizes
    count, most = 1, room // padded
    while count < most and 0 <= layer + step * count < depth:
        if remembers and counts[layer + step * count, row, 0] != counts[layer, row, 0]:
            break
        count += 1
    first = layer if step > 0 else layer - count + 1
    fill_flat(
        window[slot * room : (slot + 1) * room], (count, ONE, padded), (padded, padded),
        (first, row, number * padded), key, ZERO, np.float32(1),
    )  # fmt: skip
    held[slot, 0], held[slot, 1], held[slot, 2] = first, count, number


@inlined
def _condition(rows: Any, start: Any, stride: Any, count: Any, work: Any, width: Any) -> None:
    """Turn the second vector of the workplace from fresh normals into the answer to the first.

    The rows are those of the other side.
    """
    gaps = 2 * width
    for k in range(count):
        row = start + k * stride
        work[gaps + k] = inner_product(rows, row + width, work, 0, width) - inner_product(
            rows, row, work, width, width
        )
    for k in range(count):
        add_multiple(work, width, work[gaps + k], rows, start + k * stride, width)


@inlined
def _tell(
    out: Any, to: Any, rows: Any, start: Any, stride: Any, count: Any, work: Any, width: Any
) -> None:
    """Add what the known directions answered."""
    for k in range(count):
        add_multiple(out, to, work[2 * width + k], rows, start + k * stride + width, width)


@inlined
def _answer(
    out: Any, to: Any, share: Any, own: Any, mine: Any, other: Any, start: Any, stride: Any,
    count: Any, window: Any, at: Any, scale: Any, work: Any, width: Any,
) -> None:  # fmt: skip
    """Add the answer to what is new, and keep it, unless it is not finite."""
    put_multiple(work, width, scale, window, at, width)
    _condition(other, start, stride, count, work, width)
    add_multiple(out, to, share, work, width, width)
    if math.isfinite(share):
        put_multiple(own, mine, out.dtype.type(1), work, ZERO, 2 * width)


@inlined
def _ask(
    out: Any, to: Any, u: Any, at: Any, own: Any, other: Any, counts: Any, side: Any, place: Any,
    question: Any, window: Any, held: Any, work: Any, remembers: Any, key: Any, scale: Any,
    split: Any, drawn: Any,
) -> None:  # fmt: skip
    """Add the answer to one question to `out`."""
    width, stride = split[0], split[1]
    row, layer, slot, number, _ = question
    layers = counts.shape[0]
    here, there = layer % layers, row if remembers else 0
    mine, others = counts[here, there, side], counts[here, there, 3 - side]
    share = _split(u, at, own, place, mine, work, split)
    _tell(out, to, own, place, stride, mine, work, width)
    if share == 0:
        return
    first, count, known = held[slot, 0], held[slot, 1], held[slot, 2]
    if not (first <= layer < first + count and known == number):
        _draw(window, held, counts, question, remembers, key, drawn)
    normals = slot * drawn[1] + (layer - held[slot, 0]) * drawn[0]
    _answer(
        out, to, share, own, place + mine * stride, other, place, stride, others, window, normals,
        scale, work, width,
    )  # fmt: skip
    if math.isfinite(share):
        counts[here, there, side] += 1


@lean
def ask_all(
    out: Any, to: Any, u: Any, at: Any, inputs: Any, known: Any, side: Any, path: Any, start: Any,
    stop: Any, slot: Any, asked: Any, step: Any, desk: Any,
) -> None:  # fmt: skip
    """Write the products of the sum of consecutive matrices with all inputs of a path.

    Parameters
    ----------
    out, to, u, at : ndarray and int
        Flat memory, and where ``(input, width)`` begins in it: products, and what is multiplied.
    inputs : int
        How many.
    known : Known
        The matrices.
    side : int
        `RIGHT`, or `LEFT` for products with the transpose.
    path : int
        Counted from the first.
    start, stop : int
        First and last but one, of the layers drawn.
    slot : int
        Where normals of the first question may be held.
    asked : int
        Questions to the same matrices before these in the same layer of the same pass.
    step : int
        `FORTH` if the pass goes from the first layer to the last, or `BACK`.
    desk : Desk
        Memory to work with.
    """
    width, layers, row = desk.width, known.counts.shape[0], desk.first_path + path
    own, other = (known.left, known.right) if side == LEFT else (known.right, known.left)
    counts, window, cache, work = known.counts, desk.window, desk.held, desk.work
    held_row = row if known.remembers else 0
    split = width, known.stride, desk.rank, desk.enough
    drawn = (width + 3) // 4 * 4, desk.room, desk.depth
    for i in range(inputs * width):
        out[to + i] = 0
    for turn in range(start, stop):
        layer = turn if step > 0 else start + stop - 1 - turn
        place = (held_row * layers + layer % layers) * 2 * width
        before = known.counts[layer % layers, held_row, 0] + asked
        for n in range(inputs):
            question = row, layer, slot + n, before + n, step
            here, there = to + n * width, at + n * width
            _ask(
                out, here, u, there, own, other, counts, side, place, question, window, cache,
                work, known.remembers, known.key, known.scale, split, drawn,
            )  # fmt: skip


@lean
def leave(known: Any, path: Any, start: Any, stop: Any, asked: Any, desk: Any) -> None:
    """Count what was asked of consecutive matrices, or forget it."""
    held = known.counts.shape[0]
    for layer in range(start, stop):
        if known.remembers:
            known.counts[layer, desk.first_path + path, 0] += asked
        else:
            for side in range(3):
                known.counts[layer % held, 0, side] = 0
