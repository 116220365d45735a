"""Two depths on one noise and its mirror image, as a loop of numba over paths side by side."""

from typing import Any

import numpy as np

from limits.kernels.cpu import TILE
from limits.kernels.isotropic.lanes import (
    PARTIAL,
    draw_blocks,
    lanes_of,
    load_lanes,
    move_rows,
    settle,
    step_sizes,
    store_lanes,
)
from limits.kernels.jit import FALSE, ONE, TRUE, ZERO, loop

__all__ = ["coupled_one_input"]

_F, _U = np.float32, np.uint32


@loop
def _advance(
    states: Any, values: Any, planes: Any, sizes: Any, place: Any, depths: Any, law: Any,
    code: Any, reflected: Any, moving: Any,
) -> None:  # fmt: skip
    """Move a block of both images of a state, the second one the other way, and sum it up."""
    quad, at = place
    step, size, part = sizes
    lanes = part.shape[1]
    width = states.shape[1] // lanes
    quads, rows = (width + 3) // 4, min(4, width - 4 * quad)
    for image in range(2):
        which = 2 * depths + image
        if quad == 0 and moving:
            step_sizes(step[which], size[which], law)
            for p in range(lanes * image):
                step[which, p] = -step[which, p]
        factor = step[which][: lanes * moving]
        move_rows(
            states[which], values, planes, factor, part[which], (4 * quad, rows, at), law, code,
            reflected,
        )  # fmt: skip
        if quad % PARTIAL == PARTIAL - 1 or quad == quads - 1:
            settle(size[which], part[which], quad < PARTIAL)


@loop
def _add_up(sums: Any, planes: Any, to: Any, at: Any, lanes: Any, anew: Any) -> None:
    """Write a block of numbers, or add it to the one before."""
    for row in range(4):
        for p in range(lanes):
            before = sums[row, to + p] * (not anew)
            sums[row, to + p] = before + planes[row, at + p]


@loop
def _exchange(states: Any, deep: Any, shallow: Any, first: Any, lanes: Any, inwards: Any) -> None:
    """Copy paths into lanes, or lanes into paths."""
    for image in range(4 if shallow.shape[1] else 2):
        paths = deep[image] if image < 2 else shallow[image - 2]
        if inwards:
            load_lanes(states[image], paths, first, lanes)
        else:
            store_lanes(paths, states[image], first, lanes)


@loop
def coupled_one_input(
    deep: Any, shallow: Any, depth: Any, key: Any, law: Any, coarse_law: Any, code: Any,
    reflected: Any, path: Any,
) -> None:  # fmt: skip
    """Take `depth` steps of deep states, and half as many of shallow ones on sums of two.

    Parameters
    ----------
    deep, shallow : ndarray
        ``(2, path, width)``, overwritten; the second of each on the mirror image of the noise.
        No paths of `shallow` where there is no second depth, an even `depth` where there is.
    depth : int
        Layers of numbers.
    key, code, reflected, path
        As for `limits.kernels.isotropic.cpu.euler_one_input`.
    law, coarse_law : tuple
        strength, scale of a normal, factor of the state, of deep and of shallow steps.
    """
    _, paths, width = deep.shape
    quads, most, paired = (width + 3) // 4, lanes_of(paths, width), shallow.shape[1] > 0
    words, planes = np.empty((4, TILE), _U), np.empty((4, TILE), _F)
    counters = np.zeros((3, TILE), _U)
    for first in range(0, paths, most):
        lanes = min(most, paths - first)
        states = np.zeros((4, width * lanes), deep.dtype)
        sums = np.zeros((4, quads * lanes), deep.dtype)
        values, sizes = (
            np.empty(4 * lanes, deep.dtype),
            (
                np.zeros((4, lanes), deep.dtype),
                np.zeros((4, lanes), deep.dtype),
                np.zeros((4, lanes), deep.dtype),
            ),
        )
        _exchange(states, deep, shallow, first, lanes, TRUE)
        for quad in range((1 + paired) * quads):
            place, which = (quad % quads, ZERO), quad // quads
            _advance(states, values, planes, sizes, place, which, law, code, reflected, FALSE)
        together, at, count = max(1, TILE // lanes), 0, 0
        for position in range(depth * quads):
            layer, quad = position // quads, position % quads
            if at == count:
                at, count = 0, min(together, depth * quads - position)
                draw_blocks(
                    planes, words, counters, quad, layer, path + first, count, quads, lanes, key
                )
            place = (quad, at * lanes)
            _advance(states, values, planes, sizes, place, ZERO, law, code, reflected, TRUE)
            if paired:
                _add_up(sums, planes, quad * lanes, at * lanes, lanes, layer % 2 == 0)
            if paired and layer % 2:
                place = (quad, quad * lanes)
                _advance(states, values, sums, sizes, place, ONE, coarse_law, code, reflected, TRUE)
            at += 1
        _exchange(states, deep, shallow, first, lanes, FALSE)
