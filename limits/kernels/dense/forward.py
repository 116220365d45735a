"""The forward pass as a loop of numba: networks of any depths, one path after another."""

from typing import Any

import numpy as np

from limits.kernels.dense.products import add_to, multiply
from limits.kernels.dense.steps import (
    WINDOW,
    add_products,
    begin,
    draw_layers,
    keep_state,
    next_look,
    preactivate,
)
from limits.kernels.jit import lean, loop
from limits.kernels.pointwise.cpu import activate

__all__ = ["advance_paths"]


@lean
def _step(
    h: Any, outer: Any, inner: Any, place: Any, form: Any, steps: Any, field: Any, product: Any
) -> None:
    """Advance the states of one path, in a row, by a layer."""
    inputs = steps.factor.shape[1]
    width = h.size // inputs
    # All states at once: the rest of a loop that fits no vector takes as long as many of these.
    if form.has_inner:
        scale, bias = steps.inner_scale[place], h.dtype.type(form.bias)
        preactivate(product, h, inner, width, scale, bias)
        activate(field, product, field.size, form.activation)
    else:
        activate(field, h, field.size, form.activation)
    multiply(product, field, outer, width)
    add_products(h, product, steps.factor[place], form.reflects)


@lean
def _gather(totals: Any, fine: Any, other: Any, n: Any, fresh: Any, form: Any, steps: Any) -> None:
    """Add to the sums of the n-th depth what is new of those it is made of."""
    parent = steps.parent[n]
    if parent < 0:
        add_to(totals[n, 0], fine, fresh)
        if form.has_inner:
            add_to(totals[n, 1], other, fresh)
    else:
        add_to(totals[n, 0], totals[parent, 0], fresh)
        if form.has_inner:
            add_to(totals[n, 1], totals[parent, 1], fresh)


@lean
def _pass_layers(
    values: Any, exponents: Any, h: Any, powers: Any, totals: Any, counts: Any, work: Any,
    path: Any, outer: Any, inner: Any, count: Any, form: Any, steps: Any,
) -> None:  # fmt: skip
    """Advance the networks of one path through so many drawn layers.

    `counts` is ``(4, depth)``: the drawn layers that the sums of every depth hold, the layers that
    its network has passed, whether it passed one with the last drawn layer, and after how many its
    states are next looked at. A division takes as long as a product of small matrices.
    """
    size, last = h.shape[2] * h.shape[2], totals.shape[1] - 1
    for k in range(count):
        fine, other = outer[k * size : (k + 1) * size], inner[k * size : (k + 1) * size]
        for n in range(h.shape[0]):
            ratio, parent = steps.ratio[n], steps.parent[n]
            counts[2, n] = 0
            if parent >= 0 and not counts[2, parent]:
                continue
            state = h[n].reshape(h[n].size)
            if ratio == 1:
                _step(state, fine, other, n, form, steps, work[0], work[1])
            else:
                _gather(totals, fine, other, n, counts[0, n] == 0, form, steps)
                counts[0, n] += steps.received[n]
                if counts[0, n] < ratio:
                    continue
                counts[0, n] = 0
                _step(state, totals[n, 0], totals[n, last], n, form, steps, work[0], work[1])
            counts[1, n], counts[2, n] = counts[1, n] + 1, 1
            if counts[1, n] == counts[3, n]:
                keep_state(values, exponents, h[n], powers[n], n, counts[1, n], path, steps)
                counts[3, n] = next_look(counts[1, n], n, steps)


@lean
def _start(counts: Any, layer: Any, steps: Any) -> None:
    """Set what is counted to where so many drawn layers have passed."""
    for n in range(steps.ratio.size):
        ratio, received = steps.ratio[n], steps.received[n]
        # What a finer depth has gathered of a layer of its own is not received yet.
        counts[0, n] = layer % ratio // received * received
        counts[1, n], counts[2, n] = layer // ratio, 0
        counts[3, n] = next_look(counts[1, n], n, steps)


@loop
def advance_paths(
    values: Any, exponents: Any, h: Any, powers: Any, totals: Any, paths: Any, layers: Any,
    drawing: Any, form: Any, steps: Any,
) -> None:  # fmt: skip
    """Advance networks of several depths through drawn layers.

    Parameters
    ----------
    values, exponents : ndarray
        ``(kept, path, input, width)`` and ``(kept, path, input)``; the first state of every depth
        stands there.
    h, powers : ndarray
        ``(depth, input, width)`` and ``(depth, input)``: where the last path is.
    totals : ndarray
        ``(depth, matrix, width * width)``: sums under way, outer and inner.
    paths, layers : tuple of int
        First and last but one; the layers are drawn ones.
    drawing, form, steps
        `Drawing`, `LayerForm`, `Steps`.
    """
    width = h.shape[2]
    size = width * width
    room = max(1, WINDOW // size)
    outer = np.empty(room * size, np.float32)
    inner = np.empty(room * size if form.has_inner else 0, np.float32)
    work, counts = np.empty((2, h[0].size), h.dtype), np.empty((4, h.shape[0]), np.int64)
    for path in range(paths[0], paths[1]):
        if layers[0] == 0:
            begin(values, exponents, h, powers, path, steps)
        _start(counts, layers[0], steps)
        for at in range(layers[0], layers[1], room):
            count = min(room, layers[1] - at)
            draw_layers(outer, count, at, path, drawing.outer, drawing, size)
            if form.has_inner:
                draw_layers(inner, count, at, path, drawing.inner, drawing, size)
            _pass_layers(
                values, exponents, h, powers, totals, counts, work, path, outer, inner, count, form,
                steps,
            )  # fmt: skip
