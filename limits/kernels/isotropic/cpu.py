"""Euler steps of isotropic limits as loops of numba, many paths side by side."""

import math
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
from limits.kernels.jit import loop
from limits.kernels.pointwise.cpu import activate

__all__ = ["euler_one_input", "euler_several_inputs"]

_F, _U = np.float32, np.uint32
_RANK_TOLERANCE = 1e-12


@loop
def euler_one_input(
    given: Any, record: Any, times: Any, start: Any, depth: Any, key: Any, law: Any, code: Any,
    reflected: Any, path: Any,
) -> None:  # fmt: skip
    """Advance paths of one input by a step a layer, in one pass over numbers drawn on the way.

    Parameters
    ----------
    given : ndarray
        States, ``(path, width)``, overwritten; all arithmetic is in their dtype.
    record : ndarray
        ``(time, path, width)``, where states after the layers `times` are written.
    times : ndarray
        Increasing numbers of layers.
    start, depth : int
        The first layer and how many.
    key : tuple of uint64
        Of the stream of normals.
    law : tuple
        strength, scale of a normal, factor of the state, in the dtype of the states.
    code, reflected
        Of the coefficient, see `limits.kernels.isotropic.steps.IsotropicLaw`.
    path : int
        Number of the first path.
    """
    paths, width = given.shape
    quads, most = (width + 3) // 4, lanes_of(paths, width)
    words, planes = np.empty((4, TILE), _U), np.empty((4, TILE), _F)
    counters = np.zeros((3, TILE), _U)
    for first in range(0, paths, most):
        lanes = min(most, paths - first)
        states, values = np.empty(width * lanes, given.dtype), np.empty(4 * lanes, given.dtype)
        size, part = np.zeros(lanes, given.dtype), np.zeros(lanes, given.dtype)
        step, still = np.empty(lanes, given.dtype), np.empty(0, given.dtype)
        load_lanes(states, given, first, lanes)
        together, at, count, taken = max(1, TILE // lanes), 0, 0, 0
        while taken < times.size and times[taken] <= start:
            taken += 1
        # Before the first layer nothing moves: states are only summed up.
        for layer in range(start - 1, start + depth):
            moving = layer >= start
            if moving:
                step_sizes(step, size, law)
            for quad in range(quads):
                if moving and at == count:
                    left = (start + depth - layer) * quads - quad
                    at, count = 0, min(together, left)
                    draw_blocks(
                        planes, words, counters, quad, layer, path + first, count, quads, lanes,
                        key,
                    )  # fmt: skip
                place = (4 * quad, min(4, width - 4 * quad), at * lanes)
                factor = step if moving else still
                move_rows(states, values, planes, factor, part, place, law, code, reflected)
                at += moving
                if quad % PARTIAL == PARTIAL - 1 or quad == quads - 1:
                    settle(size, part, quad < PARTIAL)
            if taken < times.size and times[taken] == layer + 1:
                store_lanes(record[taken], states, first, lanes)
                taken += 1
        store_lanes(given, states, first, lanes)


@loop
def _bend(gram: Any) -> None:
    """Turn inner products into twice the arc-cosine kernel; squared norms are left as they are."""
    inputs, _, lanes = gram.shape
    for a in range(inputs):
        for b in range(a):
            for p in range(lanes):
                norms = math.sqrt(gram[a, a, p]) * math.sqrt(gram[b, b, p])
                cosine = gram[a, b, p] / norms if norms > 0 else 0.0
                cosine = min(1.0, max(-1.0, cosine))
                angle = math.acos(cosine)
                turned = math.sin(angle) + (math.pi - angle) * cosine
                gram[a, b, p] = norms * turned / math.pi


@loop
def _gram(gram: Any, values: Any, part: Any, width: Any, arc_cosine: Any) -> None:
    """Write <s(h^a), s(h^b)> of every lane for b <= a, or twice their arc-cosine kernel."""
    inputs, _, lanes = gram.shape
    for a in range(inputs):
        for b in range(a + 1):
            for p in range(lanes):
                gram[a, b, p] = part[p] = 0
            for j in range(width):
                v, w = (a * width + j) * lanes, (b * width + j) * lanes
                for p in range(lanes):
                    part[p] += values[v + p] * values[w + p]
                if j % (4 * PARTIAL) == 4 * PARTIAL - 1 or j == width - 1:
                    settle(gram[a, b], part, j < 4 * PARTIAL)
    if arc_cosine:
        _bend(gram)


@loop
def _root(root: Any, gram: Any) -> None:
    """Write the triangular R with R R^T = `gram`; a pivot that vanishes is left out."""
    inputs, _, lanes = gram.shape
    for p in range(lanes):
        for b in range(inputs):
            pivot = gram[b, b, p]
            for c in range(b):
                pivot -= root[b, c, p] * root[b, c, p]
            # What is not a number has to stay one.
            usable = not pivot <= _RANK_TOLERANCE * gram[b, b, p]
            size = math.sqrt(pivot) if usable else math.inf
            for a in range(b, inputs):
                rest = gram[a, b, p]
                for c in range(b):
                    rest -= root[a, c, p] * root[b, c, p]
                root[a, b, p] = rest / size


@loop
def _turn(
    states: Any, noise: Any, root: Any, total: Any, width: Any, law: Any, reflected: Any
) -> None:
    """Move every input by its row of R times the noise of the inputs up to it, and clear that."""
    inputs, _, lanes = root.shape
    scale, kept, zero = np.sqrt(law[0]) * law[1], law[2], states.dtype.type(0)
    for a in range(inputs):
        for j in range(width):
            for p in range(lanes):
                total[p] = 0
            for b in range(a + 1):
                w = (b * width + j) * lanes
                for p in range(lanes):
                    total[p] += root[a, b, p] * noise[w + p]
            h = (a * width + j) * lanes
            for p in range(lanes):
                moved = states[h + p] * kept + total[p] * scale
                states[h + p] = zero if reflected and moved < zero else moved
    for i in range(noise.size):
        noise[i] = 0


@loop
def euler_several_inputs(
    given: Any, record: Any, times: Any, start: Any, depth: Any, key: Any, law: Any, code: Any,
    reflected: Any, path: Any, inputs: Any, ratio: Any, arc_cosine: Any,
) -> None:  # fmt: skip
    """Advance paths of several inputs by one step in `ratio` layers.

    Parameters
    ----------
    given, record, times, start, depth, key, law, code, reflected, path
        As for `euler_one_input`, entry = input * width + unit; times are ends of steps, and
        `depth` is a multiple of `ratio`.
    inputs, ratio : int
        Inputs of a path, layers of a step.
    arc_cosine
        Of the coefficient.
    """
    paths, entries = given.shape
    width, quads, most = entries // inputs, (entries + 3) // 4, lanes_of(paths, entries)
    words, planes = np.empty((4, TILE), _U), np.empty((4, TILE), _F)
    counters = np.zeros((3, TILE), _U)
    for first in range(0, paths, most):
        lanes = min(most, paths - first)
        states, values = (
            np.empty(entries * lanes, given.dtype),
            np.empty(entries * lanes, given.dtype),
        )
        noise, total = np.zeros(entries * lanes, given.dtype), np.empty(lanes, given.dtype)
        gram = np.zeros((inputs, inputs, lanes), given.dtype)
        root = np.zeros((inputs, inputs, lanes), given.dtype)
        load_lanes(states, given, first, lanes)
        together, at, count, taken = max(1, TILE // lanes), 0, 0, 0
        while taken < times.size and times[taken] <= start:
            taken += 1
        for layer in range(start, start + depth):
            for quad in range(quads):
                if at == count:
                    left = (start + depth - layer) * quads - quad
                    at, count = 0, min(together, left)
                    draw_blocks(
                        planes, words, counters, quad, layer, path + first, count, quads, lanes,
                        key,
                    )  # fmt: skip
                for row in range(min(4, entries - 4 * quad)):
                    begin, z = (4 * quad + row) * lanes, at * lanes
                    for p in range(lanes):
                        noise[begin + p] += planes[row, z + p]
                at += 1
            if (layer + 1 - start) % ratio:
                continue
            activate(values, states, entries * lanes, code)
            _gram(gram, values, total, width, arc_cosine)
            _root(root, gram)
            _turn(states, noise, root, total, width, law, reflected)
            if taken < times.size and times[taken] == layer + 1:
                store_lanes(record[taken], states, first, lanes)
                taken += 1
        store_lanes(given, states, first, lanes)
