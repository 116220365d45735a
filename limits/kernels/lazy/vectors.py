"""Sums of products and multiples of contiguous numbers, eight at a time, for loops of numba.

A plain loop over a sum is a chain of additions that each wait for the one before; here eight chains
are added in pairs at the end, in an order that is always the same. Vectors are given by the flat
memory they lie in and where they begin: slices of arrays cost as much as their sums.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["add_multiple", "borrowed", "inner_product", "put_multiple", "put_quotient"]

_LANES = 8
_instruction: Any = intrinsic
Make = Callable[[Any, list[Any]], Any]


def _kind(array: Any) -> ir.Type:
    return ir.FloatType() if array.dtype.bitwidth == 32 else ir.DoubleType()


def _data(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    """Return a pointer to where a vector begins; its start is the argument after its memory."""
    made = context.make_array(signature.args[place])(context, builder, args[place])
    return builder.gep(made.data, [args[place + 1]])


def _loaded(builder: Any, data: Any, index: Any, lanes: int, kind: ir.Type) -> Any:
    pointer, stored = builder.gep(data, [index]), data.type.pointee
    wide = kind
    if lanes > 1:
        stored, wide = ir.VectorType(stored, lanes), ir.VectorType(kind, lanes)
        pointer = builder.bitcast(pointer, stored.as_pointer())
    number = builder.load(pointer, align=4)
    return number if stored == wide else builder.fpext(number, wide)


def _spread(builder: Any, number: Any, lanes: int) -> Any:
    if lanes == 1:
        return number
    vector = ir.VectorType(number.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, first, mask)


def _each(builder: Any, count: Any, body: Callable[[Any, int], None]) -> None:
    """Build a loop over whole vectors and one over what is left."""
    step = ir.Constant(count.type, _LANES)
    whole = builder.sub(count, builder.srem(count, step))
    with cgutils.for_range_slice(builder, step.type(0), whole, step, step.type) as (i, _):
        body(i, _LANES)
    with cgutils.for_range_slice(builder, whole, count, step.type(1), step.type) as (i, _):
        body(i, 1)


@_instruction
def inner_product(_: Any, a: Any, at: Any, b: Any, bt: Any, count: Any) -> Any:
    """Return the sum of products of `count` numbers of a from `at` on and of b from `bt` on."""
    kind = _kind(a)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, second = (_data(context, builder, signature, args, place) for place in (0, 2))
        totals = {
            _LANES: cgutils.alloca_once_value(
                builder, ir.Constant(ir.VectorType(kind, _LANES), [0.0] * _LANES)
            ),
            1: cgutils.alloca_once_value(builder, ir.Constant(kind, 0.0)),
        }

        def add(i: Any, lanes: int) -> None:
            pair = [_loaded(builder, data, i, lanes, kind) for data in (first, second)]
            total = totals[lanes]
            builder.store(builder.fadd(builder.load(total), builder.fmul(*pair)), total)

        _each(builder, args[4], add)
        vector, width = builder.load(totals[_LANES]), _LANES
        while width > 1:
            width //= 2
            half = ir.VectorType(ir.IntType(32), width)
            low, high = (
                builder.shuffle_vector(vector, vector, ir.Constant(half, list(range(k, k + width))))
                for k in (0, width)
            )
            vector = builder.fadd(low, high)
        whole = builder.extract_element(vector, ir.IntType(32)(0))
        return builder.fadd(whole, builder.load(totals[1]))

    return a.dtype(a, types.intp, b, types.intp, types.intp), build


def _pointwise(make: Make) -> Any:
    """Return an instruction out[at:] = make(factor, old, x[start:]), `count` numbers of each."""

    @_instruction
    def put(_: Any, out: Any, at: Any, factor: Any, x: Any, start: Any, count: Any) -> Any:
        kind = _kind(out)

        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            target = _data(context, builder, signature, args, 0)
            data = _data(context, builder, signature, args, 3)

            def each(i: Any, lanes: int) -> None:
                x = _loaded(builder, data, i, lanes, kind)
                old = _loaded(builder, target, i, lanes, kind)
                new = make(builder, [_spread(builder, args[2], lanes), old, x])
                pointer = builder.gep(target, [i])
                builder.store(new, builder.bitcast(pointer, new.type.as_pointer()), align=4)

            _each(builder, args[5], each)
            return context.get_dummy_value()

        arguments = (out, types.intp, out.dtype, x, types.intp, types.intp)
        return types.void(*arguments), build

    return put


add_multiple = _pointwise(lambda builder, v: builder.fadd(v[1], builder.fmul(v[0], v[2])))
put_multiple = _pointwise(lambda builder, v: builder.fmul(v[0], v[2]))
put_quotient = _pointwise(lambda builder, v: builder.fdiv(v[2], v[0]))


@_instruction
def borrowed(_: Any, array: Any) -> Any:
    """Return the array without its owner, who must outlive it.

    Loops count who holds an array at every call, which takes as long as a sum.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), build
