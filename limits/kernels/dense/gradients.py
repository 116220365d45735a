"""The backward and the tangent pass as loops of numba, one path after another."""

from typing import Any

import numpy as np

from limits.kernels.dense.products import multiply, multiply_transposed
from limits.kernels.dense.steps import (
    WINDOW,
    add_product,
    begin,
    carry,
    keep_state,
    preactivate,
    read_matrices,
    rescale,
)
from limits.kernels.jit import FALSE, loop
from limits.kernels.pointwise.cpu import activate, differentiate

__all__ = ["pull_paths", "push_paths"]


@loop
def _pull(
    p: Any, state: Any, after: Any, outer: Any, inner: Any, factor: Any, scale: Any, form: Any,
    work: Any,
) -> None:  # fmt: skip
    """Take the cotangents of one path back through a layer."""
    before, slope, pulled = work[0], work[1], work[2]
    for n in range(p.shape[0]):
        if form.reflects:
            for i in range(slope.size):
                if not after[n, i] > 0:
                    p[n, i] = 0
        multiply_transposed(pulled, p[n], outer)
        if form.has_inner:
            preactivate(before, state[n], inner, before.size, scale, p.dtype.type(form.bias))
            differentiate(slope, before, slope.size, form.activation)
            for i in range(slope.size):
                slope[i] *= pulled[i] * scale
            multiply_transposed(pulled, slope, inner)
        else:
            differentiate(slope, state[n], slope.size, form.activation)
            for i in range(slope.size):
                pulled[i] *= slope[i]
        for i in range(slope.size):
            p[n, i] += factor[n] * pulled[i]


@loop
def pull_paths(
    values: Any, exponents: Any, states: Any, p: Any, powers: Any, totals: Any, paths: Any,
    layers: Any, drawing: Any, form: Any, steps: Any,
) -> None:  # fmt: skip
    """Take cotangents back from layer to layer.

    Parameters
    ----------
    values, exponents : ndarray
        As in `advance_paths`; the last cotangents stand there.
    states : ndarray
        All states of the network, ``(time, path, input, width)``.
    p, powers : ndarray
        ``(input, width)`` and ``(input,)``: where the last path is.
    totals : ndarray
        ``(matrix, width * width)``: memory for sums, outer and inner.
    paths, layers : tuple of int
        First and last but one; the layers are the network's, taken from the last to the first.
    drawing, form, steps
        `Drawing`, `LayerForm`, `Steps` of one depth.
    """
    width, depth = p.shape[1], states.shape[0] - 1
    size, ratio = width * width, steps.ratio[0]
    room = max(1, WINDOW // size)
    group = room if ratio == 1 else 1
    outer = np.empty(room * size, np.float32)
    inner = np.empty(room * size if form.has_inner else 0, np.float32)
    work = np.empty((3, width), p.dtype)
    last, factor, scale = totals.shape[0] - 1, steps.factor[0], steps.inner_scale[0]
    for path in range(paths[0], paths[1]):
        if layers[1] == depth:
            end = steps.offset[0] + depth // steps.stride[0]
            carry(p, powers, values[end, path], exponents[end, path])
        for stop in range(layers[1], layers[0], -group):
            start = max(layers[0], stop - group)
            count = (stop - start) * ratio
            at = start * ratio
            read_matrices(outer, totals[0], size, at, count, path, drawing.outer, drawing)
            if form.has_inner:
                read_matrices(inner, totals[last], size, at, count, path, drawing.inner, drawing)
            for k in range(stop - 1, start - 1, -1):
                state, after = states[k, path], states[k + 1, path]
                if ratio == 1:
                    fine = outer[(k - start) * size : (k - start + 1) * size]
                    other = inner[(k - start) * size : (k - start + 1) * size]
                    _pull(p, state, after, fine, other, factor, scale, form, work)
                else:
                    _pull(p, state, after, totals[0], totals[last], factor, scale, form, work)
                if (depth - k) % steps.period[0] == 0:
                    rescale(p, powers, steps.reach)
                if k % steps.stride[0] == 0:
                    kept = steps.offset[0] + k // steps.stride[0]
                    carry(values[kept, path], exponents[kept, path], p, powers)


@loop
def _push(
    h: Any, q: Any, outer: Any, inner: Any, factor: Any, scale: Any, form: Any, work: Any
) -> None:
    """Advance the tangents of one path by a layer, and then its states."""
    before, field, pushed, product = work[0], work[1], work[2], work[3]
    for n in range(h.shape[0]):
        if form.has_inner:
            multiply(product, q[n], inner, product.size)
            preactivate(before, h[n], inner, before.size, scale, h.dtype.type(form.bias))
            differentiate(pushed, before, pushed.size, form.activation)
            for i in range(pushed.size):
                pushed[i] *= product[i] * scale
            activate(field, before, field.size, form.activation)
        else:
            differentiate(pushed, h[n], pushed.size, form.activation)
            for i in range(pushed.size):
                pushed[i] *= q[n, i]
            activate(field, h[n], field.size, form.activation)
        multiply(product, pushed, outer, product.size)
        add_product(q[n], product, factor[n], FALSE)
        multiply(product, field, outer, product.size)
        add_product(h[n], product, factor[n], form.reflects)
        if form.reflects:
            for i in range(pushed.size):
                if not h[n, i] > 0:
                    q[n, i] = 0


@loop
def push_paths(
    values: Any, exponents: Any, h: Any, powers: Any, totals: Any, paths: Any, layers: Any,
    drawing: Any, form: Any, steps: Any,
) -> None:  # fmt: skip
    """Advance states and tangents together; the layers are the network's.

    Parameters
    ----------
    values, exponents : ndarray
        As in `advance_paths`, of two networks: states and tangents.
    h, powers : ndarray
        ``(2, input, width)`` and ``(2, input)``: where the last path is.
    totals : ndarray
        ``(matrix, width * width)``: memory for sums, outer and inner.
    paths, layers : tuple of int
        First and last but one.
    drawing, form, steps
        `Drawing`, `LayerForm`, `Steps` of states and tangents, which differ in offset and period.
    """
    width = h.shape[2]
    size, ratio = width * width, steps.ratio[0]
    room = max(1, WINDOW // size)
    group = room if ratio == 1 else 1
    outer = np.empty(room * size, np.float32)
    inner = np.empty(room * size if form.has_inner else 0, np.float32)
    work = np.empty((4, width), h.dtype)
    last = totals.shape[0] - 1
    factor, scale = steps.factor[0], steps.inner_scale[0]
    for path in range(paths[0], paths[1]):
        if layers[0] == 0:
            begin(values, exponents, h, powers, path, steps)
        for start in range(layers[0], layers[1], group):
            stop = min(layers[1], start + group)
            count = (stop - start) * ratio
            at = start * ratio
            read_matrices(outer, totals[0], size, at, count, path, drawing.outer, drawing)
            if form.has_inner:
                read_matrices(inner, totals[last], size, at, count, path, drawing.inner, drawing)
            for k in range(start, stop):
                if ratio == 1:
                    fine = outer[(k - start) * size : (k - start + 1) * size]
                    other = inner[(k - start) * size : (k - start + 1) * size]
                    _push(h[0], h[1], fine, other, factor, scale, form, work)
                else:
                    _push(h[0], h[1], totals[0], totals[last], factor, scale, form, work)
                for n in range(2):
                    keep_state(values, exponents, h[n], powers[n], n, k + 1, path, steps)
