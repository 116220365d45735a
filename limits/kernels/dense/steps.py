"""What the loops of all passes are made of: how they draw, and how they keep their states.

A path's numbers are those it has alone. One call works on a range of paths, or on some of the
layers of one path, whose state it keeps in memory that the caller holds.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from limits.kernels.cpu import fill_flat
from limits.kernels.dense.products import add_to, multiply
from limits.kernels.jit import ONE, ZERO, lean, loop

__all__ = [
    "WINDOW",
    "Drawing",
    "LayerForm",
    "Steps",
    "add_product",
    "add_products",
    "begin",
    "carry",
    "draw_layers",
    "keep_state",
    "next_look",
    "preactivate",
    "read_matrices",
    "rescale",
    "turn_to_inner",
]

WINDOW = 8192
"""Numbers drawn at once: many to a call, few enough for the first caches."""


class Drawing(NamedTuple):
    """What is drawn: the keys of both streams, the kind of the numbers and its scale."""

    outer: tuple[np.uint64, np.uint64, np.uint64]
    inner: tuple[np.uint64, np.uint64, np.uint64]
    kind: int
    scale: np.float32
    first_path: int


class LayerForm(NamedTuple):
    """What a layer does: the code of the activation, and the three things blocks differ in."""

    activation: int
    has_inner: bool
    reflects: bool
    bias: float


class Steps(NamedTuple):
    """How networks of several depths read one draw, deepest first, one entry a depth.

    `ratio` counts drawn layers in one of the network, `parent` is the place of the depth whose
    sums it adds up, or -1 where it adds up drawn layers, and `received` is the ratio of that.
    Every `stride`-th state is kept, from `offset` on; states are rescaled every `period` layers,
    never if that is 0. `factor` is ``(depth, input)``; `inner_scale` turns numbers to inner
    weights; exponents are at most `reach`.
    """

    ratio: Any
    parent: Any
    received: Any
    stride: Any
    offset: Any
    period: Any
    factor: Any
    inner_scale: Any
    reach: int


@loop
def draw_layers(
    window: Any, count: Any, layer: Any, path: Any, key: Any, drawing: Any, size: Any
) -> None:
    """Draw consecutive layers of a path, of `size` numbers each, into flat memory."""
    at = (layer, drawing.first_path + path, ZERO)
    fill_flat(window, (count, ONE, size), (size, size), at, key, drawing.kind, drawing.scale)


@loop
def read_matrices(
    window: Any, total: Any, size: Any, layer: Any, count: Any, path: Any, key: Any, drawing: Any
) -> None:
    """Draw consecutive layers, and write their sum where there is memory for it."""
    if total.size == 0:
        draw_layers(window, count, layer, path, key, drawing, size)
        return
    room = window.size // size
    for at in range(0, count, room):
        some = min(room, count - at)
        draw_layers(window, some, layer + at, path, key, drawing, size)
        for k in range(some):
            add_to(total, window[k * size : (k + 1) * size], at + k == 0)


@lean
def carry(values: Any, exponents: Any, h: Any, powers: Any) -> None:
    """Copy the states of one path, ``(input, width)``, and their exponents.

    An assignment of whole arrays compiles a comparison of shapes, and the message of its failure.
    """
    for n in range(h.shape[0]):
        exponents[n] = powers[n]
        for i in range(h.shape[1]):
            values[n, i] = h[n, i]


@loop
def begin(values: Any, exponents: Any, h: Any, powers: Any, path: Any, steps: Any) -> None:
    """Take the first state of every depth from where states are kept."""
    for n in range(h.shape[0]):
        carry(h[n], powers[n], values[steps.offset[n], path], exponents[steps.offset[n], path])


@lean
def rescale(h: Any, exponents: Any, reach: Any) -> None:
    """Divide every state by the power of two that its largest entry is of."""
    for n in range(h.shape[0]):
        largest = 0.0
        for i in range(h.shape[1]):
            size = np.float64(abs(h[n, i]))
            largest = size if size > largest or size != size else largest
        exponent = max(-reach, min(reach, math.frexp(largest)[1]))
        power = h.dtype.type(math.ldexp(1.0, -exponent))
        for i in range(h.shape[1]):
            h[n, i] *= power
        exponents[n] += exponent


@lean
def preactivate(z: Any, h: Any, inner: Any, width: Any, scale: Any, bias: Any) -> None:
    """Write W h + bias of states in a row."""
    multiply(z, h, inner, width)
    turn_to_inner(z, scale, bias)


@lean
def turn_to_inner(z: Any, scale: Any, bias: Any) -> None:
    """Turn sums of increments times states into what the activation acts on."""
    for i in range(z.size):
        z[i] = z[i] * scale + bias


@lean
def add_product(h: Any, product: Any, factor: Any, reflects: Any) -> None:
    """Add factor times a product to a state, and set it to zero below, if the block reflects."""
    for i in range(h.size):
        x = h[i] + factor * product[i]
        h[i] = h.dtype.type(0) if reflects and x < 0 else x


@lean
def add_products(h: Any, product: Any, factor: Any, reflects: Any) -> None:
    """Add to states in a row what `add_product` adds to one, each with its factor."""
    width = h.size // factor.size
    for n in range(factor.size):
        add_product(
            h[n * width : (n + 1) * width],
            product[n * width : (n + 1) * width],
            factor[n],
            reflects,
        )


@lean
def keep_state(
    values: Any, exponents: Any, h: Any, powers: Any, n: Any, done: Any, path: Any, steps: Any
) -> None:
    """Rescale the n-th of several states after so many layers, and keep it, where that is due."""
    if steps.period[n] and done % steps.period[n] == 0:
        rescale(h, powers, steps.reach)
    if done % steps.stride[n] == 0:
        kept = steps.offset[n] + done // steps.stride[n]
        carry(values[kept, path], exponents[kept, path], h, powers)


@lean
def next_look(done: Any, n: Any, steps: Any) -> Any:
    """Return after how many layers of the n-th depth `keep_state` next does something."""
    stride, period = steps.stride[n], steps.period[n]
    kept = (done // stride + 1) * stride
    return min(kept, (done // period + 1) * period) if period else kept
