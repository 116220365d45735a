"""Forward, backward and tangent pass through lazy matrices as loops of numba, path after path."""

from typing import Any

from limits.kernels.dense.steps import (
    add_products,
    begin,
    carry,
    keep_state,
    rescale,
    turn_to_inner,
)
from limits.kernels.jit import FALSE, ZERO, lean
from limits.kernels.lazy.questions import BACK, FORTH, LEFT, NONE, RIGHT, ask_all, leave, lent
from limits.kernels.pointwise.cpu import activate, differentiate

__all__ = ["walk_back", "walk_forth", "walk_with_tangents"]


@lean
def _copy(out: Any, memory: Any, at: Any) -> None:
    for i in range(out.size):
        out[i] = memory[at + i]


@lean
def _stop(q: Any, h: Any) -> None:
    """Set to zero what a relu did not let pass."""
    for n in range(q.shape[0]):
        for i in range(q.shape[1]):
            if not h[n, i] > 0:
                q[n, i] = 0


@lean
def walk_forth(
    values: Any, exponents: Any, h: Any, powers: Any, room: Any, paths: Any, layers: Any,
    outer: Any, inner: Any, form: Any, steps: Any, desk: Any,
) -> None:  # fmt: skip
    """Advance the states of paths from layer to layer.

    Parameters
    ----------
    values, exponents : ndarray
        ``(kept, path, input, width)`` and ``(kept, path, input)``; the first states stand there.
    h, powers : ndarray
        ``(1, input, width)`` and ``(1, input)``: where the last path is.
    room : ndarray
        ``(4, input, width)``: memory to work with.
    paths, layers : tuple of int
        First and last but one; the layers are the network's.
    outer, inner : Known
        The matrices; `inner` is not read where the block has none.
    form, steps, desk
        `limits.kernels.dense.steps.LayerForm` and `Steps` of one depth, and `Desk`.
    """
    inputs, size, ratio = h.shape[1], h[0].size, steps.ratio[0]
    flat, state = room.reshape(room.size), h.reshape(h.size)
    field, scale, bias = flat[:size], steps.inner_scale[0], h.dtype.type(form.bias)
    (outside, table), (inside, _) = lent(outer, desk), lent(inner, desk)
    for path in range(paths[0], paths[1]):
        table.held[:] = -1
        if layers[0] == 0:
            begin(values, exponents, h, powers, path, steps)
        for k in range(layers[0], layers[1]):
            start, stop = k * ratio, (k + 1) * ratio
            if form.has_inner:
                ask_all(
                    flat, NONE, state, NONE, inputs, inside, RIGHT, path, start, stop, inputs, NONE,
                    FORTH, table,
                )  # fmt: skip
                leave(inside, path, start, stop, inputs, table)
                turn_to_inner(field, scale, bias)
                activate(field, field, size, form.activation)
            else:
                activate(field, state, size, form.activation)
            ask_all(
                flat, size, flat, NONE, inputs, outside, RIGHT, path, start, stop, NONE, NONE,
                FORTH, table,
            )  # fmt: skip
            leave(outside, path, start, stop, inputs, table)
            add_products(state, flat[size : 2 * size], steps.factor[0], form.reflects)
            keep_state(values, exponents, h[0], powers[0], ZERO, k + 1, path, steps)


@lean
def _pull(
    flat: Any, cotangent: Any, past: Any, at: Any, path: Any, fine: Any, outer: Any, inner: Any,
    form: Any, scale: Any, desk: Any,
) -> None:  # fmt: skip
    """Write what a layer adds to the cotangents of one path as the third part of `flat`."""
    start, stop = fine
    size = cotangent.size
    inputs = size // desk.width
    slope, product, pulled = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size]
    ask_all(
        flat, size, cotangent, NONE, inputs, outer, LEFT, path, start, stop, NONE, NONE, BACK, desk
    )
    leave(outer, path, start, stop, inputs, desk)
    if not form.has_inner:
        differentiate(slope, past[at : at + size], size, form.activation)
        for i in range(size):
            pulled[i] = product[i] * slope[i]
        return
    ask_all(flat, NONE, past, at, inputs, inner, RIGHT, path, start, stop, inputs, NONE, BACK, desk)
    turn_to_inner(slope, scale, flat.dtype.type(form.bias))
    differentiate(slope, slope, size, form.activation)
    for i in range(size):
        slope[i] *= product[i]
    ask_all(
        flat, 2 * size, flat, NONE, inputs, inner, LEFT, path, start, stop, 2 * inputs, inputs,
        BACK, desk,
    )  # fmt: skip
    leave(inner, path, start, stop, 2 * inputs, desk)
    for i in range(size):
        pulled[i] *= scale


@lean
def walk_back(
    values: Any, exponents: Any, states: Any, p: Any, powers: Any, room: Any, paths: Any,
    layers: Any, outer: Any, inner: Any, form: Any, steps: Any, desk: Any,
) -> None:  # fmt: skip
    """Take cotangents of paths back from layer to layer.

    Parameters
    ----------
    values, exponents : ndarray
        As in `walk_forth`; the last cotangents stand there.
    states : ndarray
        All states of the network, ``(time, path, input, width)``.
    p, powers : ndarray
        ``(input, width)`` and ``(input,)``: where the last path is.
    room, paths, layers, outer, inner, form, steps, desk
        As in `walk_forth`; layers are taken from the last to the first.
    """
    size, ratio, depth = p.size, steps.ratio[0], states.shape[0] - 1
    flat, cotangent, past = room.reshape(room.size), p.reshape(p.size), states.reshape(states.size)
    scale = steps.inner_scale[0]
    (outside, table), (inside, _) = lent(outer, desk), lent(inner, desk)
    for path in range(paths[0], paths[1]):
        table.held[:] = -1
        if layers[1] == depth:
            end = steps.offset[0] + depth // steps.stride[0]
            carry(p, powers, values[end, path], exponents[end, path])
        for k in range(layers[1] - 1, layers[0] - 1, -1):
            start, stop = k * ratio, (k + 1) * ratio
            at = (k * states.shape[1] + path) * size
            if form.reflects:
                _stop(p, states[k + 1, path])
            _pull(
                flat, cotangent, past, at, path, (start, stop), outside, inside, form, scale, table
            )
            add_products(cotangent, flat[2 * size : 3 * size], steps.factor[0], FALSE)
            if (depth - k) % steps.period[0] == 0:
                rescale(p, powers, steps.reach)
            if k % steps.stride[0] == 0:
                kept = steps.offset[0] + k // steps.stride[0]
                carry(values[kept, path], exponents[kept, path], p, powers)


@lean
def walk_with_tangents(
    values: Any, exponents: Any, h: Any, powers: Any, room: Any, paths: Any, layers: Any,
    outer: Any, inner: Any, form: Any, steps: Any, desk: Any,
) -> None:  # fmt: skip
    """Advance states and tangents of paths together.

    Parameters
    ----------
    values, exponents : ndarray
        As in `walk_forth`, of two networks: states and tangents.
    h, powers : ndarray
        ``(2, input, width)`` and ``(2, input)``: where the last path is.
    room, paths, layers, outer, inner, form, steps, desk
        As in `walk_forth`; `steps` of states and tangents differ in offset and period.
    """
    inputs, size, ratio = h.shape[1], h[0].size, steps.ratio[0]
    flat, both = room.reshape(room.size), h.reshape(h.size)
    field, pushed, slope = flat[:size], flat[size : 2 * size], flat[2 * size : 3 * size]
    scale, bias = steps.inner_scale[0], h.dtype.type(form.bias)
    (outside, table), (inside, _) = lent(outer, desk), lent(inner, desk)
    for path in range(paths[0], paths[1]):
        table.held[:] = -1
        if layers[0] == 0:
            begin(values, exponents, h, powers, path, steps)
        for k in range(layers[0], layers[1]):
            start, stop = k * ratio, (k + 1) * ratio
            if form.has_inner:
                ask_all(
                    flat, NONE, both, NONE, inputs, inside, RIGHT, path, start, stop, 2 * inputs,
                    NONE, FORTH, table,
                )  # fmt: skip
                ask_all(
                    flat, size, both, size, inputs, inside, RIGHT, path, start, stop, 3 * inputs,
                    inputs, FORTH, table,
                )  # fmt: skip
                # The plain loop asks about the state once more, before it advances.
                leave(inside, path, start, stop, 3 * inputs, table)
                turn_to_inner(field, scale, bias)
                for i in range(size):
                    pushed[i] *= scale
            else:
                _copy(field, both, ZERO)
                _copy(pushed, both, size)
            differentiate(slope, field, size, form.activation)
            activate(field, field, size, form.activation)
            for i in range(size):
                pushed[i] *= slope[i]
            ask_all(
                flat, 2 * size, flat, size, inputs, outside, RIGHT, path, start, stop, NONE, NONE,
                FORTH, table,
            )  # fmt: skip
            ask_all(
                flat, 3 * size, flat, NONE, inputs, outside, RIGHT, path, start, stop, inputs,
                inputs, FORTH, table,
            )  # fmt: skip
            leave(outside, path, start, stop, 2 * inputs, table)
            add_products(both[size:], flat[2 * size : 3 * size], steps.factor[0], FALSE)
            add_products(both[:size], flat[3 * size : 4 * size], steps.factor[0], form.reflects)
            if form.reflects:
                _stop(h[1], h[0])
            for n in range(2):
                keep_state(values, exponents, h[n], powers[n], n, k + 1, path, steps)
