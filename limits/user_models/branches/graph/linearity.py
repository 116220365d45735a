"""Which arguments of a torch function multiply its result by what they are multiplied by."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["carriers_of", "functions_named", "makes_new", "mixes"]


def functions_named(*names: str) -> frozenset[Any]:
    """Return the functions and methods of torch of these names."""
    homes = (torch, Tensor, nn.functional)
    return frozenset(getattr(home, name, None) for home in homes for name in names) - {None}


# Multiplying what goes into these first by a positive number multiplies what comes out.
_HOMOGENEOUS = functions_named(
    "div", "div_", "true_divide", "__truediv__", "__itruediv__", "neg", "__neg__", "dropout",
    "dropout_", "dropout1d", "dropout2d", "feature_dropout", "relu", "relu_", "leaky_relu",
    "view", "reshape", "view_as", "transpose", "permute", "swapaxes", "movedim", "contiguous",
    "flatten", "unflatten", "squeeze", "unsqueeze", "__getitem__", "to", "float", "half", "double",
    "bfloat16", "type", "type_as", "clone", "roll", "flip", "expand", "expand_as", "narrow",
    "select", "chunk", "split", "pad", "sum", "mean", "avg_pool1d", "avg_pool2d", "max_pool2d",
    "pixel_shuffle", "interpolate", "index_select", "detach", "alias", "t",
)  # fmt: skip
# ... one of the two.
_BILINEAR = functions_named(
    "mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__", "matmul", "__matmul__",
    "__rmatmul__", "mm", "bmm", "mv",
)  # fmt: skip
# ... all of them.
_ADDITIVE = functions_named("cat", "concat", "concatenate", "stack", "hstack", "vstack")
# ... the first, where no bias is added.
_AFFINE = functions_named(
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "conv_transpose1d"
)
# Weights of these make another state of a state; those of a norm only measure it anew.
_MIXING = _AFFINE | functions_named(
    "matmul", "__matmul__", "mm", "bmm", "einsum", "embedding", "bilinear"
)
# What is new has the shape of what is given, and none of its numbers.
_NEW = functions_named(
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "new_tensor",
)  # fmt: skip
_GETTERS = frozenset(
    getattr(getattr(Tensor, name), "__get__", None) for name in ("T", "mT", "data", "real")
) - {None}


def carriers_of(
    function: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    number_of: Callable[[Tensor], int],
    operands: tuple[int, ...],
) -> tuple[tuple[int, ...], bool]:
    """Return the nodes that a step is linear in, and whether each of them has to be multiplied.

    Parameters
    ----------
    function, args, kwargs
        The call.
    number_of : callable
        Returns the node of a tensor.
    operands : tuple of int
        Of a sum, which is linear in both together.
    """
    if operands:
        return operands, True
    first = args[0] if args else kwargs.get("input")
    if function in _ADDITIVE:
        given = first if isinstance(first, tuple | list) else args
        found = [number_of(each) for each in given if isinstance(each, Tensor)]
        return tuple(dict.fromkeys(found)), True
    if function in _BILINEAR:
        # The first of two that are not weights; a number multiplies as well.
        found = [number_of(each) for each in args if isinstance(each, Tensor)]
        return tuple(dict.fromkeys(found)), False
    if not isinstance(first, Tensor):
        return (), False
    if function in _HOMOGENEOUS or function in _GETTERS:
        return (number_of(first),), False
    if function in _AFFINE and (args[2] if len(args) > 2 else kwargs.get("bias")) is None:
        return (number_of(first),), False
    return (), False


def mixes(function: Any) -> bool:
    """Say whether a step with weights makes another state of a state, unlike a normalisation."""
    return function in _MIXING or isinstance(function, type)


def makes_new(function: Any) -> bool:
    """Say whether a step only looks at the shape of what it is given."""
    return function in _NEW
