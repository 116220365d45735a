"""Products with one matrix of one path, as loops of numba in an order that is always the same.

A matrix lies flat, the row of input j after that of input j - 1: entry (j, i) stands at j d + i and
takes input j to output i. What one input is multiplied by does not depend on how many there are.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from limits.kernels.jit import loop

__all__ = ["add_to", "multiply", "multiply_transposed"]

_LANES = 8
_instruction: Any = intrinsic


@_instruction
def _dot(_: Any, out: Any, at: Any, row: Any, place: Any, other: Any, count: Any) -> Any:
    """Store the sum of products of `count` pairs, in eight lanes that are added in pairs.

    A plain loop is a chain of additions that each wait for the one before.
    """
    kind = ir.FloatType() if out.dtype == types.float32 else ir.DoubleType()

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(array: int, index: Any) -> Any:
            made = context.make_array(signature.args[array])
            return builder.gep(made(context, builder, args[array]).data, [index])

        def widened(number: Any, wide: Any) -> Any:
            return number if number.type == wide else builder.fpext(number, wide)

        def eight(array: int, element: Any, index: Any) -> Any:
            vector = ir.VectorType(element, _LANES)
            pointer = builder.bitcast(data(array, index), vector.as_pointer())
            return builder.load(pointer, align=4)

        lanes = ir.VectorType(kind, _LANES)
        stored = ir.FloatType() if signature.args[2].dtype == types.float32 else ir.DoubleType()
        total = cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * _LANES))
        step = ir.Constant(args[5].type, _LANES)
        whole = builder.sub(args[5], builder.srem(args[5], step))
        with cgutils.for_range_slice(builder, step.type(0), whole, step, step.type) as (i, _):
            a = widened(eight(2, stored, builder.add(args[3], i)), lanes)
            builder.store(
                builder.fadd(builder.load(total), builder.fmul(a, eight(4, kind, i))), total
            )
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
            a = widened(builder.load(data(2, builder.add(args[3], i))), kind)
            builder.store(
                builder.fadd(builder.load(rest), builder.fmul(a, builder.load(data(4, i)))), rest
            )
        builder.store(builder.load(rest), data(0, args[1]))
        return context.get_dummy_value()

    return types.void(out, types.intp, row, types.intp, other, types.intp), build


@loop
def multiply(out: Any, vector: Any, matrix: Any) -> None:
    """Write the outputs of a matrix: out[i] = sum over j of vector[j] times entry (j, i)."""
    width = out.size
    for i in range(width):
        out[i] = 0
    whole = width // 4 * 4
    # Four rows a turn, because a sum that is stored and loaded again costs as much as two.
    for j in range(0, whole, 4):
        a, b, c, e = vector[j], vector[j + 1], vector[j + 2], vector[j + 3]
        first, second = matrix[j * width : (j + 1) * width], matrix[(j + 1) * width :]
        third, fourth = matrix[(j + 2) * width :], matrix[(j + 3) * width :]
        for i in range(width):
            out[i] = (((out[i] + a * first[i]) + b * second[i]) + c * third[i]) + e * fourth[i]
    for j in range(whole, width):
        a, first = vector[j], matrix[j * width : (j + 1) * width]
        for i in range(width):
            out[i] += a * first[i]


@loop
def multiply_transposed(out: Any, vector: Any, matrix: Any) -> None:
    """Write the inputs of a matrix: out[j] = sum over i of entry (j, i) times vector[i]."""
    width = out.size
    for j in range(width):
        _dot(out, j, matrix, j * width, vector, width)


@loop
def add_to(total: Any, part: Any, fresh: Any) -> None:
    """Add a matrix to a sum, or begin a sum with it."""
    if fresh:
        for e in range(total.size):
            total[e] = part[e]
    else:
        for e in range(total.size):
            total[e] += part[e]
