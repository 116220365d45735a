"""What loops over paths side by side consist of, for loops of numba.

Paths are the lanes: every operation is one of an entry with its own path's numbers, so that a
path's arithmetic does not depend on its neighbours, nor on how many there are, and loops are
vectorised whatever the width. Numbers are drawn a tile at a time and used while they are in the
first cache. States are flat, of axes (entry, lane).
"""

from typing import Any

import numpy as np

from limits.kernels.cpu import TILE, draw_normals, draw_words
from limits.kernels.jit import inlined, loop
from limits.kernels.pointwise.cpu import activate

__all__ = [
    "PARTIAL",
    "draw_blocks",
    "lanes_of",
    "load_lanes",
    "move_rows",
    "settle",
    "step_sizes",
    "store_lanes",
]

_U = np.uint32
_LANES = 64
_STATE_NUMBERS = 2**12
"""Numbers of the states that advance together: they stay in the first cache beside a tile."""

PARTIAL = 32
"""Blocks that are summed before they join the total: small numbers after a large one round away."""


@inlined
def lanes_of(paths: Any, entries: Any) -> Any:
    """Return how many paths advance together."""
    return min(paths, max(16, min(_LANES, _STATE_NUMBERS // entries // 16 * 16)))


@loop
def draw_blocks(
    planes: Any, words: Any, counters: Any, quad: Any, layer: Any, path: Any, count: Any,
    quads: Any, lanes: Any, key: Any,
) -> None:  # fmt: skip
    """Draw `count` blocks, from block `quad` of a layer on, of every lane one after the other."""
    c0, c1, c2 = counters[0], counters[1], counters[2]
    for b in range(count):
        start = b * lanes
        for p in range(lanes):
            c0[start + p], c1[start + p], c2[start + p] = _U(quad), _U(layer), _U(path + p)
        quad += 1
        if quad == quads:
            quad, layer = 0, layer + 1
    # Whole vectors only: a loop's rest costs as much as four of them.
    whole = min(TILE, (count * lanes + 15) // 16 * 16)
    draw_words(words, whole, c0, c1, c2, key[0], key[1], key[2])
    draw_normals(planes, words, whole)


@loop
def move_rows(
    states: Any, values: Any, planes: Any, factor: Any, total: Any, place: Any, law: Any,
    code: Any, reflected: Any,
) -> None:  # fmt: skip
    """Move up to four rows of entries by a block of numbers, and add the squares of s(h).

    Parameters
    ----------
    states, values : ndarray
        All rows, flat, and room for four.
    planes : ndarray
        Numbers of the rows, ``(4, ...)``; not read where `factor` is empty.
    factor, total : ndarray
        Of every lane.
    place : tuple of int
        The first row, how many there are, and where the block begins in `planes`.
    law, code, reflected
        As `euler_one_input` takes them.
    """
    row, rows, at = place
    lanes, kept, zero = total.size, law[2], states.dtype.type(0)
    h = states[row * lanes : (row + rows) * lanes]
    if factor.size:
        for i in range(rows):
            start = i * lanes
            for p in range(lanes):
                h[start + p] = h[start + p] * kept + factor[p] * planes[i, at + p]
        if reflected:
            for i in range(rows * lanes):
                h[i] = zero if h[i] < zero else h[i]
    activate(values, h, rows * lanes, code)
    if rows == 4:
        for p in range(lanes):
            a, b, c, d = values[p], values[lanes + p], values[2 * lanes + p], values[3 * lanes + p]
            total[p] += (a * a + b * b) + (c * c + d * d)
    else:
        for i in range(rows):
            for p in range(lanes):
                v = values[i * lanes + p]
                total[p] += v * v


@loop
def settle(size: Any, part: Any, anew: Any) -> None:
    """Add a partial sum to the total, which may begin anew, and clear it."""
    for p in range(size.size):
        size[p] = part[p] if anew else size[p] + part[p]
        part[p] = 0


@loop
def step_sizes(factor: Any, size: Any, law: Any) -> None:
    """Write scale (strength |s(h)|^2)^(1/2) of every lane."""
    for p in range(size.size):
        factor[p] = np.sqrt(size[p] * law[0]) * law[1]


@loop
def load_lanes(states: Any, given: Any, first: Any, lanes: Any) -> None:
    """Copy paths into lanes."""
    for p in range(lanes):
        for e in range(given.shape[1]):
            states[e * lanes + p] = given[first + p, e]


@loop
def store_lanes(taken: Any, states: Any, first: Any, lanes: Any) -> None:
    """Copy lanes into paths."""
    for p in range(lanes):
        for e in range(taken.shape[1]):
            taken[first + p, e] = states[e * lanes + p]
