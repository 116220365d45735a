"""Calls that add a branch to a stream: sums, differences, fused products, interpolations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limits.user_models.branches.graph.linearity import functions_named

__all__ = ["Addition", "Join", "addition_of", "join_of"]


_SUMS = functions_named("add", "add_", "__add__", "__iadd__", "__radd__")
_DIFFERENCES = functions_named("sub", "sub_", "subtract", "subtract_", "__sub__", "__isub__")
_LERPS = functions_named("lerp", "lerp_")
# first + alpha times a product, with the function that makes the product alone.
_PRODUCTS: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(functions_named("addcmul", "addcmul_"), torch.mul),
    **dict.fromkeys(functions_named("addmm", "addmm_"), torch.mm),
    **dict.fromkeys(functions_named("baddbmm", "baddbmm_"), torch.bmm),
}
_OPERANDS = {
    "sum": ("input", "other"),
    "lerp": ("input", "end", "weight"),
    "addcmul": ("input", "tensor1", "tensor2"),
    "addmm": ("input", "mat1", "mat2"),
    "baddbmm": ("input", "batch1", "batch2"),
}
_FACTOR = {"sum": "alpha", "addcmul": "value", "addmm": "alpha", "baddbmm": "alpha"}


@dataclass(frozen=True)
class Join:
    """A call that returns first + alpha second, with what the second is made of.

    Parameters
    ----------
    kind : str
        ``"sum"``, ``"product"`` where the second is a product of two, ``"lerp"`` where it is
        weight (end - first).
    first : Tensor
        The first operand.
    others : tuple of Tensor
        The second, or the two that are multiplied, or the end.
    alpha : float
        Factor of the second.
    in_place : bool
        Whether the first becomes the result.
    product : callable, optional
        Multiplies the two.
    weight : Tensor, optional
        Of an interpolation, where it is not a number.
    """

    kind: str
    first: Tensor
    others: tuple[Tensor, ...]
    alpha: float
    in_place: bool
    product: Callable[[Tensor, Tensor], Tensor] | None = None
    weight: Tensor | None = None


@dataclass(frozen=True)
class Addition:
    """A call that adds two tensors, first + alpha second."""

    first: Tensor
    second: Tensor
    alpha: float
    in_place: bool


def addition_of(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Addition | None:
    """Read a call that adds two tensors of real numbers of one shape; None if it does not.

    A difference is an addition with alpha = -1, a fused product one whose second operand is the
    product, and an interpolation adds weight (end - first). Counters that are only kept in
    training, such as those of batch normalisation, do not count.
    """
    join = join_of(function, args, kwargs)
    if join is None:
        return None
    second = join.others[0]
    if join.product is not None:
        second = join.product(*join.others)
    elif join.kind == "lerp":
        second = second - join.first
        second = second if join.weight is None else join.weight * second
    return Addition(join.first, second, join.alpha, join.in_place)


def join_of(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Join | None:
    """Read a call that adds two tensors, without computing anything; None if it does not."""
    if function in _SUMS or function in _DIFFERENCES:
        return _sum(function, args, kwargs)
    if function in _LERPS:
        return _lerp(function, args, kwargs)
    return _product(function, args, kwargs) if function in _PRODUCTS else None


def _sum(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Join | None:
    given = _bound("sum", args, kwargs)
    if given is None or len(given) != 2 or not _alike(*given):
        return None
    alpha = float(kwargs.get("alpha", 1))
    alpha = -alpha if function in _DIFFERENCES else alpha
    return Join("sum", given[0], (given[1],), alpha, _in_place(function))


def _lerp(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Join | None:
    given = _bound("lerp", args, kwargs)
    if given is None or len(given) != 3 or not _alike(*given[:2]):
        return None
    first, end, weight = given
    if isinstance(weight, Tensor):
        return Join("lerp", first, (end,), 1.0, _in_place(function), None, weight)
    return Join("lerp", first, (end,), float(weight), _in_place(function))


def _product(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Join | None:
    name = function.__name__.rstrip("_")
    given = _bound(name, args, kwargs)
    if given is None or len(given) != 3 or kwargs.get("beta", 1) != 1:
        return None
    first, one, two = given
    if not all(isinstance(each, Tensor) and each.is_floating_point() for each in given):
        return None
    if name == "addcmul":
        try:
            shape = torch.broadcast_shapes(one.shape, two.shape)
        except RuntimeError:
            return None
    else:
        shape = (*one.shape[:-1], two.shape[-1])
    # A bias is added by the same call, and is smaller than what it is added to.
    if tuple(first.shape) != tuple(shape):
        return None
    alpha = float(kwargs.get(_FACTOR[name], 1))
    return Join("product", first, (one, two), alpha, _in_place(function), _PRODUCTS[function])


def _bound(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any] | None:
    names = _OPERANDS[kind]
    if not kwargs.keys() <= {*names, _FACTOR.get(kind), "beta"}:
        return None
    return [*args, *(kwargs[name] for name in names if name in kwargs)]


def _alike(a: object, b: object) -> bool:
    return (
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and a.shape == b.shape
        and a.is_floating_point()
        and b.is_floating_point()
    )


def _in_place(function: Any) -> bool:
    name = function.__name__
    return name in ("__iadd__", "__isub__") or (name.endswith("_") and not name.endswith("__"))
