"""Questions to Gaussian matrices that are never formed, as loops of numba.

A matrix is known by the orthonormal directions it was asked about, right and left, and by what it
answered. A path's numbers are those it has alone.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from limits.kernels.cpu import fill_flat
from limits.kernels.jit import loop
from limits.kernels.lazy.vectors import add_multiple, inner_product, put_multiple, put_quotient

__all__ = ["Desk", "Known", "ask_all", "leave"]

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
def _norm(memory: Any, at: Any, width: Any) -> Any:
    """Return a Euclidean norm whose square neither overflows nor vanishes in single precision."""
    squares = inner_product(memory, at, memory, at, width)
    if _SMALLEST < squares < _LARGEST:
        return np.sqrt(squares)
    exact = 0.0
    for i in range(width):
        exact += np.float64(memory[at + i]) * np.float64(memory[at + i])
    return memory.dtype.type(math.sqrt(exact))


@loop
def _project(
    rows: Any, start: Any, stride: Any, count: Any, work: Any, width: Any, parts: Any
) -> None:
    """Take the parts along known directions out of the first vector of the workplace."""
    for k in range(count):
        work[parts + k] = inner_product(rows, start + k * stride, work, 0, width)
    for k in range(count):
        add_multiple(work, 0, -work[parts + k], rows, start + k * stride, width)


@loop
def _split(u: Any, at: Any, rows: Any, start: Any, stride: Any, count: Any, desk: Any) -> Any:
    """Split a question into known directions and a new one, and return the latter's coefficient.

    The new direction is the first vector of the workplace, coefficients of the others stand behind
    the second. Where the first pass leaves little, rounding leaves parts along the known directions
    in it, and a second pass removes them: twice is enough (Daniel, Gragg, Kaufman, Stewart, 1976).
    Nothing is new where less than a tolerance is.
    """
    width, work, parts, zero = desk.width, desk.work, 2 * desk.width, u.dtype.type(0)
    size = _norm(u, at, width)
    put_multiple(work, 0, u.dtype.type(1), u, at, width)
    left = size
    if count > 0:
        _project(rows, start, stride, count, work, width, parts)
        left = _norm(work, 0, width)
        if size * desk.rank < left < size * desk.enough:
            _project(rows, start, stride, count, work, width, parts + count)
            left = _norm(work, 0, width)
            for k in range(count):
                work[parts + k] += work[parts + count + k]
    if not math.isfinite(left):
        work[:width] = 0
        return left
    if left <= size * desk.rank:
        return zero
    put_quotient(work, 0, left, work, 0, width)
    return left


@loop
def _draw(known: Any, question: Any, desk: Any) -> Any:
    """Return where the normals of a question are held, and draw them if they are not.

    Layers ahead are taken along, as far as they were asked as often as this one before the pass.
    """
    path, layer, slot, number, step = question
    padded, held, row = (desk.width + 3) // 4 * 4, desk.held, desk.first_path + path
    first, count = held[slot, 0], held[slot, 1]
    if first <= layer < first + count and held[slot, 2] == number:
        return slot * desk.room + (layer - first) * padded
    count, most = 1, desk.room // padded
    while count < most and 0 <= layer + step * count < desk.depth:
        ahead = layer + step * count
        if known.remembers and known.counts[ahead, row, 0] != known.counts[layer, row, 0]:
            break
        count += 1
    first = layer if step > 0 else layer - count + 1
    fill_flat(
        desk.window[slot * desk.room : (slot + 1) * desk.room],
        (count, 1, padded), (padded, padded), (first, row, number * padded),
        known.key, 0, np.float32(1),
    )  # fmt: skip
    held[slot, 0], held[slot, 1], held[slot, 2] = first, count, number
    return slot * desk.room + (layer - first) * padded


@loop
def _answer(rows: Any, start: Any, stride: Any, count: Any, desk: Any) -> None:
    """Turn the second vector of the workplace from fresh normals into the answer to the first.

    The rows are those of the other side.
    """
    width, work, gaps = desk.width, desk.work, 2 * desk.width
    for k in range(count):
        row = start + k * stride
        work[gaps + k] = inner_product(rows, row + width, work, 0, width) - inner_product(
            rows, row, work, width, width
        )
    for k in range(count):
        add_multiple(work, width, work[gaps + k], rows, start + k * stride, width)


@loop
def _ask(
    out: Any, to: Any, u: Any, at: Any, own: Any, other: Any, place: Any, rows: Any, known: Any,
    question: Any, desk: Any,
) -> Any:  # fmt: skip
    """Add the answer to one question to `out`, and return whether there is a new row."""
    width, work, stride = desk.width, desk.work, known.stride
    share = _split(u, at, own, place, stride, rows[0], desk)
    for k in range(rows[0]):
        answer = place + k * stride + width
        add_multiple(out, to, work[2 * width + k], own, answer, width)
    if share == 0:
        return False
    normals = _draw(known, question, desk)
    put_multiple(work, width, known.scale, desk.window, normals, width)
    _answer(other, place, stride, rows[1], desk)
    add_multiple(out, to, share, work, width, width)
    # What is not finite must not be remembered.
    if not math.isfinite(share):
        return False
    put_multiple(own, place + rows[0] * stride, out.dtype.type(1), work, 0, 2 * width)
    return True


@loop
def ask_all(
    out: Any, to: Any, u: Any, at: Any, inputs: Any, known: Any, left: Any, path: Any, start: Any,
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
    left : bool
        Whether products are with the transpose.
    path : int
        Counted from the first.
    start, stop : int
        First and last but one, of the layers drawn.
    slot : int
        Where normals of the first question may be held.
    asked : int
        Questions to the same matrices before these in the same layer of the same pass.
    step : int
        1 if the pass goes from the first layer to the last, -1 if it goes back.
    desk : Desk
        Memory to work with.
    """
    width, layers = desk.width, known.counts.shape[0]
    row = desk.first_path + path if known.remembers else 0
    for i in range(inputs * width):
        out[to + i] = 0
    for turn in range(start, stop):
        layer = turn if step > 0 else start + stop - 1 - turn
        counts = known.counts[layer % layers, row]
        place = (row * layers + layer % layers) * 2 * width
        for n in range(inputs):
            question = path, layer, slot + n, counts[0] + asked + n, step
            here, there = to + n * width, at + n * width
            if left:
                counts[2] += _ask(
                    out, here, u, there, known.left, known.right, place, (counts[2], counts[1]),
                    known, question, desk,
                )  # fmt: skip
            else:
                counts[1] += _ask(
                    out, here, u, there, known.right, known.left, place, (counts[1], counts[2]),
                    known, question, desk,
                )  # fmt: skip


@loop
def leave(known: Any, path: Any, start: Any, stop: Any, asked: Any, desk: Any) -> None:
    """Count what was asked of consecutive matrices, or forget it."""
    held = known.counts.shape[0]
    for layer in range(start, stop):
        if known.remembers:
            known.counts[layer, desk.first_path + path, 0] += asked
        else:
            known.counts[layer % held, 0] = 0
