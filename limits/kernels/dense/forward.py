"""The forward pass as a loop of numba: networks of any depths, one path after another."""

from typing import Any

import numpy as np

from limits.kernels.dense.products import add_to, multiply
from limits.kernels.dense.steps import (
    WINDOW,
    add_product,
    begin,
    draw_layers,
    keep_state,
    preactivate,
)
from limits.kernels.jit import loop
from limits.kernels.pointwise.cpu import activate

__all__ = ["advance_paths"]


@loop
def _step(
    h: Any, outer: Any, inner: Any, place: Any, form: Any, steps: Any, field: Any, product: Any
) -> None:
    """Advance the states of one path, ``(input, width)``, by a layer."""
    for n in range(h.shape[0]):
        if form.has_inner:
            preactivate(product, h[n], inner, steps.inner_scale[place], h.dtype.type(form.bias))
            activate(field, product, field.size, form.activation)
        else:
            activate(field, h[n], field.size, form.activation)
        multiply(product, field, outer)
        add_product(h[n], product, steps.factor[place, n], form.reflects)


@loop
def _gather(totals: Any, fine: Any, other: Any, n: Any, k: Any, has_inner: Any, steps: Any) -> None:
    """Add to the sums of the n-th depth what the k-th drawn layer completes."""
    parent = steps.parent[n]
    fresh = (k - steps.received[n]) % steps.ratio[n] == 0
    if parent < 0:
        add_to(totals[n, 0], fine, fresh)
        if has_inner:
            add_to(totals[n, 1], other, fresh)
    else:
        add_to(totals[n, 0], totals[parent, 0], fresh)
        if has_inner:
            add_to(totals[n, 1], totals[parent, 1], fresh)


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
    field, product = np.empty(width, h.dtype), np.empty(width, h.dtype)
    last = totals.shape[1] - 1
    for path in range(paths[0], paths[1]):
        if layers[0] == 0:
            begin(values, exponents, h, powers, path, steps)
        for at in range(layers[0], layers[1], room):
            count = min(room, layers[1] - at)
            draw_layers(outer, count, at, path, drawing.outer, drawing, size)
            if form.has_inner:
                draw_layers(inner, count, at, path, drawing.inner, drawing, size)
            for passed in range(count):
                fine = outer[passed * size : (passed + 1) * size]
                other = inner[passed * size : (passed + 1) * size]
                k = at + passed + 1
                for n in range(h.shape[0]):
                    if k % steps.received[n]:
                        continue
                    if steps.ratio[n] == 1:
                        _step(h[n], fine, other, n, form, steps, field, product)
                    else:
                        _gather(totals, fine, other, n, k, form.has_inner, steps)
                        if k % steps.ratio[n]:
                            continue
                        _step(h[n], totals[n, 0], totals[n, last], n, form, steps, field, product)
                    keep_state(
                        values, exponents, h[n], powers[n], n, k // steps.ratio[n], path, steps
                    )
