"""The forward pass as Triton kernels: a program draws tiles of a layer's matrix and multiplies.

A column is one input of a network of one depth. A program owns some outputs of the columns of one
path. Where it owns them all, one launch goes through many layers; where several programs share a
path, a launch is one layer, because programs can wait for each other at its end only.
"""

import triton
import triton.language as tl

from limits.kernels.cuda import tile_four_normals, tile_philox4x32
from limits.kernels.pointwise.cuda import tile_activated

__all__ = ["advance_inner_tiles", "advance_tiles"]

_ADDRESS = [
    "begin", "end", "first_path", "o0", "o1", "o2", "i0", "i1", "i2", "scale", "paths", "columns",
    "inputs", "ratio", "inner_scale", "bias",
]  # fmt: skip


@triton.jit
def _made(w0, w1, w2, w3, scale, KIND: tl.constexpr):
    if KIND == 0:
        a, b, c, d = tile_four_normals(w0, w1, w2, w3)
    elif KIND == 2:
        a = w0.to(tl.int32, bitcast=True).to(tl.float32) * scale
        b = w1.to(tl.int32, bitcast=True).to(tl.float32) * scale
        c = w2.to(tl.int32, bitcast=True).to(tl.float32) * scale
        d = w3.to(tl.int32, bitcast=True).to(tl.float32) * scale
    else:
        a = 1.0 - ((w0 >> 31) << 1).to(tl.int32).to(tl.float32)
        b = 1.0 - ((w1 >> 31) << 1).to(tl.int32).to(tl.float32)
        c = 1.0 - ((w2 >> 31) << 1).to(tl.int32).to(tl.float32)
        d = 1.0 - ((w3 >> 31) << 1).to(tl.int32).to(tl.float32)
    return a, b, c, d


@triton.jit
def _tile_product(
    source, real, layer, path, k0, k1, k2, scale, place, width,
    C: tl.constexpr, J: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Return the product of one drawn matrix with every column, one tile a lane of `place`.

    `source` points to the columns. Where rows are whole blocks, `place` numbers blocks of four
    outputs and there are four results; elsewhere it numbers outputs, and the first result is all.
    """
    kind = source.dtype.element_ty
    j = tl.arange(0, J)
    a = tl.zeros([C, J, Q], kind)
    b = tl.zeros([C, J, Q], kind)
    c = tl.zeros([C, J, Q], kind)
    d = tl.zeros([C, J, Q], kind)
    for row in range(0, width, J):
        rows = row + j
        vector = tl.load(
            source[:, None] + rows[None, :], mask=real[:, None] & (rows < width)[None, :], other=0.0
        )
        vector = tl.expand_dims(vector, 2)
        across = tl.expand_dims(tl.expand_dims(rows, 0), 2)
        along = tl.expand_dims(tl.expand_dims(place, 0), 0)
        counter = (across * (width // 4) + along).to(tl.uint32)
        if not WHOLE:
            counter = ((across * width + along) // 4).to(tl.uint32)
        zero = counter ^ counter
        w0, w1, w2, w3 = tile_philox4x32(
            counter, zero + layer, zero + path.to(tl.uint32), zero + k2.to(tl.uint32),
            zero + k0.to(tl.uint32), zero + k1.to(tl.uint32),
        )  # fmt: skip
        n0, n1, n2, n3 = _made(w0, w1, w2, w3, scale, KIND)
        if WHOLE:
            a += vector * n0.to(kind)
            b += vector * n1.to(kind)
            c += vector * n2.to(kind)
            d += vector * n3.to(kind)
        else:
            lane = (across * width + along) % 4
            low = tl.where(lane == 0, n0, n1)
            high = tl.where(lane == 2, n2, n3)
            a += vector * tl.where(lane < 2, low, high).to(kind)
    return tl.sum(a, axis=1), tl.sum(b, axis=1), tl.sum(c, axis=1), tl.sum(d, axis=1)


@triton.jit
def _sum_products(
    source, real, layer, ratio, path, k0, k1, k2, scale, place, width,
    C: tl.constexpr, J: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Return the product of the sum of consecutive matrices with every column."""
    a, b, c, d = _tile_product(
        source, real, layer, path, k0, k1, k2, scale, place, width, C, J, Q, KIND, WHOLE
    )
    for more in range(1, ratio):
        e, f, g, h = _tile_product(
            source, real, layer + more, path, k0, k1, k2, scale, place, width, C, J, Q, KIND, WHOLE
        )
        a += e
        b += f
        c += g
        d += h
    return a, b, c, d


@triton.jit
def _lane(a, b, c, d, LANE: tl.constexpr):
    if LANE == 0:
        chosen = a
    elif LANE == 1:
        chosen = b
    elif LANE == 2:
        chosen = c
    else:
        chosen = d
    return chosen


@triton.jit
def _settle(
    h, sums, values, after, product, at, kept, factor, due, keeps, real,
    SUMMED: tl.constexpr, REFLECTS: tl.constexpr, CODE: tl.constexpr,
):  # fmt: skip
    """Add a product to its sum, and where that is complete, to the state, and activate that."""
    if SUMMED:
        product += tl.load(sums + at, mask=real, other=0.0)
        tl.store(sums + at, tl.where(due, 0.0, product), mask=real)
    x = tl.load(h + at, mask=real, other=0.0) + factor * product
    if REFLECTS:
        x = tl.where(x < 0, x * 0, x)
    tl.store(h + at, x, mask=real & due)
    tl.store(values + kept, x, mask=real & keeps)
    tl.store(after, tile_activated(x, CODE), mask=real & due)


@triton.jit(do_not_specialize=_ADDRESS)
def advance_tiles(
    h, fields, sums, values, ratios, strides, offsets, factors,
    begin, end, first_path, o0, o1, o2, scale, paths, columns, inputs, width,
    C: tl.constexpr, J: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr, WHOLE: tl.constexpr,
    SUMMED: tl.constexpr, REFLECTS: tl.constexpr, CODE: tl.constexpr,
):  # fmt: skip
    """Advance columns through drawn layers, without inner weights.

    `h` and `sums` are ``(path, column, width)``; `fields` is twice that: the activated states of
    a column stand in its first half in even layers, so that a program may write the next ones
    while others read. `values` is ``(kept, path, input, width)``, and ratios, strides, offsets and
    factors are those of the columns.
    """
    path = tl.program_id(0)
    place = tl.program_id(1) * Q + tl.arange(0, Q)
    column = tl.program_id(2) * C + tl.arange(0, C)
    real = column < columns
    ratio = tl.load(ratios + column, mask=real, other=1)
    stride = tl.load(strides + column, mask=real, other=1)
    offset = tl.load(offsets + column, mask=real, other=0)
    factor = tl.load(factors + column, mask=real, other=0.0)[:, None]
    state = (path.to(tl.int64) * columns + column) * width
    half = paths.to(tl.int64) * columns * width
    for k in range(begin, end):
        source = fields + state + half * ((k // ratio) % 2)
        p0, p1, p2, p3 = _tile_product(
            source, real, k, first_path + path, o0, o1, o2, scale, place, width,
            C, J, Q, KIND, WHOLE,
        )  # fmt: skip
        done = (k + 1) // ratio
        due = ((k + 1) % ratio == 0) & real
        keeps = due & (done % stride == 0)
        slot = (offset + done // stride).to(tl.int64) * paths + path
        kept = (slot * inputs + column % inputs) * width
        after = fields + state + half * (done % 2)
        for lane in tl.static_range(4 if WHOLE else 1):  # pyright: ignore
            i = place * 4 + lane if WHOLE else place
            inside = (i < width)[None, :] & real[:, None]
            product = _lane(p0, p1, p2, p3, lane)
            _settle(
                h, sums, values, after[:, None] + i[None, :], product, state[:, None] + i[None, :],
                kept[:, None] + i[None, :], factor, due[:, None], keeps[:, None], inside,
                SUMMED, REFLECTS, CODE,
            )  # fmt: skip
        tl.debug_barrier()


@triton.jit(do_not_specialize=_ADDRESS)
def advance_inner_tiles(
    h, fields, values, strides, offsets, factors,
    begin, end, first_path, o0, o1, o2, i0, i1, i2, scale, paths, columns, inputs, width, ratio,
    inner_scale, bias,
    C: tl.constexpr, J: tl.constexpr, Q: tl.constexpr, KIND: tl.constexpr, WHOLE: tl.constexpr,
    CODE: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr,
):  # fmt: skip
    """Advance columns of one depth through layers with inner weights; the layers are theirs.

    `FIRST` and `SECOND` choose the product with inner and with outer weights, which are two
    launches where programs share a path. Of `fields` the first half is used.
    """
    path = tl.program_id(0)
    place = tl.program_id(1) * Q + tl.arange(0, Q)
    column = tl.program_id(2) * C + tl.arange(0, C)
    real = column < columns
    stride = tl.load(strides + column, mask=real, other=1)
    offset = tl.load(offsets + column, mask=real, other=0)
    factor = tl.load(factors + column, mask=real, other=0.0)[:, None]
    state = (path.to(tl.int64) * columns + column) * width
    for k in range(begin, end):
        if FIRST:
            p0, p1, p2, p3 = _sum_products(
                h + state, real, k * ratio, ratio, first_path + path, i0, i1, i2, scale, place,
                width, C, J, Q, KIND, WHOLE,
            )  # fmt: skip
            for lane in tl.static_range(4 if WHOLE else 1):  # pyright: ignore
                i = place * 4 + lane if WHOLE else place
                inside = (i < width)[None, :] & real[:, None]
                z = _lane(p0, p1, p2, p3, lane) * inner_scale + bias
                at = fields + state[:, None] + i[None, :]
                tl.store(at, tile_activated(z.to(p0.dtype), CODE), mask=inside)
            tl.debug_barrier()
        if SECOND:
            p0, p1, p2, p3 = _sum_products(
                fields + state, real, k * ratio, ratio, first_path + path, o0, o1, o2, scale,
                place, width, C, J, Q, KIND, WHOLE,
            )  # fmt: skip
            done = k + 1
            keeps = real & (done % stride == 0)
            slot = (offset + done // stride).to(tl.int64) * paths + path
            kept = (slot * inputs + column % inputs) * width
            for lane in tl.static_range(4 if WHOLE else 1):  # pyright: ignore
                i = place * 4 + lane if WHOLE else place
                inside = (i < width)[None, :] & real[:, None]
                at = h + state[:, None] + i[None, :]
                x = tl.load(at, mask=inside, other=0.0) + factor * _lane(p0, p1, p2, p3, lane)
                tl.store(at, x, mask=inside)
                tl.store(values + kept[:, None] + i[None, :], x, mask=inside & keeps[:, None])
            tl.debug_barrier()
