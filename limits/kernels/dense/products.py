"""Products with one matrix of one path, as loops of numba in an order that is always the same.

A matrix lies flat, the row of input j after that of input j - 1: entry (j, i) stands at j d + i and
takes input j to output i. What one input is multiplied by does not depend on how many there are.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from limits.kernels.jit import lean

__all__ = ["add_to", "multiply", "multiply_transposed"]

_LANES = 8
_instruction: Any = intrinsic


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, lanes: int = 0) -> Any:
    """Return a pointer to a number of an array, or to so many in a row."""
    data = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    if not lanes:
        return data
    return builder.bitcast(data, ir.VectorType(_element(kind), lanes).as_pointer())


def _element(array: Any) -> Any:
    return ir.FloatType() if array.dtype == types.float32 else ir.DoubleType()


def _widened(builder: Any, number: Any, wide: Any) -> Any:
    return number if number.type == wide else builder.fpext(number, wide)


def _spread(builder: Any, number: Any, lanes: int) -> Any:
    """Return a vector of one number."""
    order = ir.VectorType(ir.IntType(32), lanes)
    empty = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.Constant(order, [0] * lanes))


@_instruction
def _dot(_: Any, out: Any, at: Any, row: Any, place: Any, other: Any, count: Any) -> Any:
    """Store the sum of products of `count` pairs, in eight lanes that are added in pairs.

    A plain loop is a chain of additions that each wait for the one before.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def at_place(array: int, index: Any, lanes: int = 0) -> Any:
            return _place(context, builder, signature.args[array], args[array], index, lanes)

        kind = _element(out)
        lanes = ir.VectorType(kind, _LANES)
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * _LANES))
        step = ir.Constant(args[5].type, _LANES)
        whole = builder.sub(args[5], builder.srem(args[5], step))
        with cgutils.for_range_slice(builder, step.type(0), whole, step, step.type) as (i, _):
            a = builder.load(at_place(2, builder.add(args[3], i), _LANES), align=4)
            b = builder.load(at_place(4, i, _LANES), align=4)
            product = builder.fmul(_widened(builder, a, lanes), b)
            builder.store(builder.fadd(builder.load(total), product), total)
        vector = builder.load(total)
        width = _LANES
        while width > 1:
            width //= 2
            half = ir.VectorType(ir.IntType(32), width)
            low = builder.shuffle_vector(vector, vector, ir.Constant(half, list(range(width))))
            high = builder.shuffle_vector(
                vector, vector, ir.Constant(half, list(range(width, 2 * width)))
            )
            vector = builder.fadd(low, high)
        found = builder.extract_element(vector, ir.IntType(32)(0))
        rest = cgutils.alloca_once_value(builder, found)
        with cgutils.for_range_slice(builder, whole, args[5], step.type(1), step.type) as (i, _):
            a = _widened(builder, builder.load(at_place(2, builder.add(args[3], i))), kind)
            product = builder.fmul(a, builder.load(at_place(4, i)))
            builder.store(builder.fadd(builder.load(rest), product), rest)
        builder.store(builder.load(rest), at_place(0, args[1]))
        return context.get_dummy_value()

    return types.void(out, types.intp, row, types.intp, other, types.intp), build


def _tile(inputs: int, lanes: int) -> Any:
    """Return an instruction that writes `lanes` outputs of `inputs` vectors, kept in registers.

    A matrix that is read once for several vectors is widened once, and sums that are not stored
    before they are complete cost half. Every sum begins with zero and takes j in order.
    """

    @_instruction
    def write(
        _: Any, out: Any, vectors: Any, matrix: Any, first: Any, place: Any, width: Any
    ) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def at_place(array: int, index: Any, lanes: int = 0) -> Any:
                return _place(context, builder, signature.args[array], args[array], index, lanes)

            wide, size = ir.VectorType(_element(out), lanes), args[5]
            rows = [
                builder.mul(builder.add(args[3], ir.Constant(size.type, n)), size)
                for n in range(inputs)
            ]
            zero = ir.Constant(wide, [0.0] * lanes)
            totals = [cgutils.alloca_once_value(builder, zero) for _ in rows]
            with cgutils.for_range(builder, size) as turn:
                entry = builder.add(builder.mul(turn.index, size), args[4])
                entries = builder.load(at_place(2, entry, lanes), align=4)
                entries = _widened(builder, entries, wide)
                for row, total in zip(rows, totals, strict=True):
                    one = builder.load(at_place(1, builder.add(row, turn.index)))
                    product = builder.fmul(_spread(builder, one, lanes), entries)
                    builder.store(builder.fadd(builder.load(total), product), total)
            for row, total in zip(rows, totals, strict=True):
                found = builder.load(total)
                builder.store(found, at_place(0, builder.add(row, args[4]), lanes), align=4)
            return context.get_dummy_value()

        return types.void(out, vectors, matrix, types.intp, types.intp, types.intp), build

    return write


_four_by_eight, _four_by_one = _tile(4, 8), _tile(4, 1)
_one_by_many, _one_by_eight, _one_by_one = _tile(1, 32), _tile(1, 8), _tile(1, 1)


@lean
def multiply(out: Any, vectors: Any, matrix: Any, width: Any) -> None:
    """Write a matrix's outputs for vectors in a row: out[n, i] = sum_j vectors[n, j] entry (j, i).

    All memory is flat; there are as many vectors of `width` numbers as fit.
    """
    inputs = out.size // width
    together, most, whole = inputs // 4 * 4, width // 32 * 32, width // 8 * 8
    for n in range(0, together, 4):
        for i in range(0, whole, 8):
            _four_by_eight(out, vectors, matrix, n, i, width)
        for i in range(whole, width):
            _four_by_one(out, vectors, matrix, n, i, width)
    for n in range(together, inputs):
        for i in range(0, most, 32):
            _one_by_many(out, vectors, matrix, n, i, width)
        for i in range(most, whole, 8):
            _one_by_eight(out, vectors, matrix, n, i, width)
        for i in range(whole, width):
            _one_by_one(out, vectors, matrix, n, i, width)


@lean
def multiply_transposed(out: Any, vector: Any, matrix: Any) -> None:
    """Write the inputs of a matrix: out[j] = sum over i of entry (j, i) times vector[i]."""
    width = out.size
    for j in range(width):
        _dot(out, j, matrix, j * width, vector, width)


@lean
def add_to(total: Any, part: Any, fresh: Any) -> None:
    """Add a matrix to a sum, or begin a sum with it."""
    if fresh:
        for e in range(total.size):
            total[e] = part[e]
    else:
        for e in range(total.size):
            total[e] += part[e]
