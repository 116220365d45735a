"""Euler steps of isotropic limits as kernels of Triton: states and numbers stay in registers."""

# Triton gives types a meaning of its own: numbers stand for constants, tiles for anything.
# pyright: reportArgumentType=false, reportOperatorIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from limits.kernels.cuda import signed, tile_four_normals, tile_philox4x32
from limits.kernels.philox import Key
from limits.kernels.pointwise.cuda import tile_activated

__all__ = ["advance_one_input", "advance_several_inputs"]

_WARP = 32
_NUMBERS_OF_A_THREAD = 8
_RANK_TOLERANCE = tl.constexpr(1e-12)
# Kernels are compiled anew for what their integers divide, unless told not to.
_PLAIN = ["paths", "path", "start", "steps", "ratio", "k0", "k1", "k2"]


@triton.jit
def _root(x):
    return tl.sqrt_rn(x) if x.dtype == tl.float32 else tl.sqrt(x)


@triton.jit(do_not_specialize=[*_PLAIN, "width", "stride"])
def _one_input(
    states, record, times, law, paths, width, stride, path, start, steps, ratio, k0, k1, k2,
    CODE: tl.constexpr, REFLECTED: tl.constexpr, ROWS: tl.constexpr, QUADS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    quad = tl.arange(0, QUADS)[None, :]
    entry = quad * 4 + row * 0
    own = row < paths
    m0, m1 = own & (entry < width), own & (entry + 1 < width)
    m2, m3 = own & (entry + 2 < width), own & (entry + 3 < width)
    place = row.to(tl.int64) * width + entry
    a, b = tl.load(states + place, m0, 0.0), tl.load(states + place + 1, m1, 0.0)
    c, d = tl.load(states + place + 2, m2, 0.0), tl.load(states + place + 3, m3, 0.0)
    strength, scale, kept = tl.load(law), tl.load(law + 1), tl.load(law + 2)
    c0 = entry.to(tl.uint32) >> 2
    c2 = (row + path + quad * 0).to(tl.uint32)
    zero = c0 ^ c0
    w0, w1, w3 = zero + k0.to(tl.uint32), zero + k1.to(tl.uint32), zero + k2.to(tl.uint32)
    due = tl.load(times)
    for step in range(steps):
        u, v = tile_activated(a, CODE), tile_activated(b, CODE)
        s, t = tile_activated(c, CODE), tile_activated(d, CODE)
        size = tl.sum((u * u + v * v) + (s * s + t * t), axis=1)[:, None]
        factor = _root(size * strength) * scale
        na, nb, nc, nd = a * 0, b * 0, c * 0, d * 0
        for fine in range(ratio):
            layer = start + step * ratio + fine
            r0, r1, r2, r3 = tile_philox4x32(c0, zero + layer.to(tl.uint32), c2, w3, w0, w1)
            z0, z1, z2, z3 = tile_four_normals(r0, r1, r2, r3)
            na += tl.where(m0, z0, 0.0)
            nb += tl.where(m1, z1, 0.0)
            nc += tl.where(m2, z2, 0.0)
            nd += tl.where(m3, z3, 0.0)
        a, b = a * kept + factor * na, b * kept + factor * nb
        c, d = c * kept + factor * nc, d * kept + factor * nd
        if REFLECTED:
            a, b = tile_activated(a, 1), tile_activated(b, 1)
            c, d = tile_activated(c, 1), tile_activated(d, 1)
        if start + (step + 1) * ratio == due:
            tl.store(record + place, a, m0)
            tl.store(record + place + 1, b, m1)
            tl.store(record + place + 2, c, m2)
            tl.store(record + place + 3, d, m3)
            record += stride
            times += 1
            due = tl.load(times)
    tl.store(states + place, a, m0)
    tl.store(states + place + 1, b, m1)
    tl.store(states + place + 2, c, m2)
    tl.store(states + place + 3, d, m3)


@triton.jit(do_not_specialize=[*_PLAIN, "width", "stride"])
def _several_inputs(
    states, record, times, law, inputs, width, stride, path, start, steps, ratio, k0, k1, k2,
    CODE: tl.constexpr, REFLECTED: tl.constexpr, INPUTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, unit = tl.arange(0, INPUTS)[:, None], tl.arange(0, WIDTH)[None, :]
    entry = row * width + unit
    mask = (row < inputs) & (unit < width)
    place = tl.program_id(0).to(tl.int64) * inputs * width + entry
    h = tl.load(states + place, mask, 0.0)
    strength, scale, kept = tl.load(law), tl.load(law + 1), tl.load(law + 2)
    scale = _root(strength) * scale
    c0, lane = entry.to(tl.uint32) >> 2, entry & 3
    zero = c0 ^ c0
    c2 = zero + (tl.program_id(0) + path).to(tl.uint32)
    w0, w1, w3 = zero + k0.to(tl.uint32), zero + k1.to(tl.uint32), zero + k2.to(tl.uint32)
    first, second = tl.arange(0, INPUTS)[:, None], tl.arange(0, INPUTS)[None, :]
    due = tl.load(times)
    for step in range(steps):
        v = tile_activated(h, CODE)
        rest = tl.sum(v[:, None, :] * v[None, :, :], axis=2)
        floor = tl.sum(tl.where(first == second, rest, 0.0), axis=1) * _RANK_TOLERANCE
        root = rest * 0
        for b in tl.static_range(INPUTS):  # pyright: ignore[reportGeneralTypeIssues]
            column = tl.sum(tl.where(second == b, rest, 0.0), axis=1)
            index = tl.arange(0, INPUTS)
            pivot = tl.sum(tl.where(index == b, column, 0.0), axis=0)
            least = tl.sum(tl.where(index == b, floor, 0.0), axis=0)
            usable = tl.where(pivot > least, 1.0 / _root(tl.where(pivot > least, pivot, 1.0)), 0.0)
            column = tl.where(index >= b, column * usable, 0.0)
            root += tl.where(second == b, column[:, None], 0.0)
            rest -= column[:, None] * column[None, :]
        noise = h * 0
        for fine in range(ratio):
            layer = start + step * ratio + fine
            r0, r1, r2, r3 = tile_philox4x32(c0, zero + layer.to(tl.uint32), c2, w3, w0, w1)
            z0, z1, z2, z3 = tile_four_normals(r0, r1, r2, r3)
            z = tl.where(lane < 2, tl.where(lane == 0, z0, z1), tl.where(lane == 2, z2, z3))
            noise += tl.where(mask, z, 0.0)
        driver = tl.sum(root[:, :, None] * noise[None, :, :], axis=1)
        h = h * kept + driver * scale
        if REFLECTED:
            h = tile_activated(h, 1)
        if start + (step + 1) * ratio == due:
            tl.store(record + place, h, mask)
            record += stride
            times += 1
            due = tl.load(times)
    tl.store(states + place, h, mask)


def _warps(numbers: int) -> int:
    return max(1, min(16, numbers // (_WARP * _NUMBERS_OF_A_THREAD)))


def advance_one_input(
    states: Tensor, record: Tensor, times: Tensor, law: Tensor, key: Key, path: int,
    steps: tuple[int, int, int], code: int, *, reflected: bool,
) -> None:  # fmt: skip
    """Advance paths of one input.

    Parameters
    ----------
    states : Tensor
        ``(path, 1, width)``, contiguous, overwritten.
    record, times : Tensor
        ``(time, path, 1, width)``, where states after the layers `times` are written; these
        end with a number that no layer has.
    law : Tensor
        strength, scale of a normal, factor of the state, in the dtype of the states.
    steps : tuple of int
        First layer, number of steps, layers of a step.
    """
    paths, _, width = states.shape
    quads = triton.next_power_of_2((width + 3) // 4)
    rows = max(1, _WARP // quads)
    kernel: Any = _one_input
    with torch.cuda.device(states.device if states.is_cuda else -1):
        kernel[(triton.cdiv(paths, rows),)](
            states, record, times, law, paths, width, states.numel(), signed(path), *steps,
            *(signed(each) for each in key), code, reflected, rows, quads,
            num_warps=_warps(4 * rows * quads), enable_fp_fusion=False,
        )  # fmt: skip


def advance_several_inputs(
    states: Tensor, record: Tensor, times: Tensor, law: Tensor, key: Key, path: int,
    steps: tuple[int, int, int], code: int, *, reflected: bool,
) -> None:  # fmt: skip
    """Advance paths of several inputs, with arguments as for `advance_one_input`."""
    paths, inputs, width = states.shape
    shape = triton.next_power_of_2(inputs), triton.next_power_of_2(width)
    kernel: Any = _several_inputs
    with torch.cuda.device(states.device if states.is_cuda else -1):
        kernel[(paths,)](
            states, record, times, law, inputs, width, states.numel(), signed(path), *steps,
            *(signed(each) for each in key), code, reflected, *shape,
            num_warps=_warps(shape[0] ** 2 * shape[1]), enable_fp_fusion=False,
        )  # fmt: skip
