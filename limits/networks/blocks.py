"""Residual blocks: the vector field g that an increment multiplies, with its two derivatives.

A block of your own is one class with the five members of `Block`: `has_inner`, `homogeneous`,
`field`, `pushed` and `pulled`; pass an instance as ``ResNet(activation, block=MyBlock(...))``.
"""

from dataclasses import dataclass
from typing import Protocol, TypeGuard, get_args, runtime_checkable

import torch
from torch import Tensor

from limits._typing import BlockName, State
from limits.activations import ACTIVATIONS, Activation
from limits.checks import is_number
from limits.company import beside_copies
from limits.exceptions import LimitsError, ShapeError
from limits.paths import Increment
from limits.scalars import plain_numbers

__all__ = [
    "Block",
    "Guarded",
    "Inner",
    "Outer",
    "PostRelu",
    "block_label",
    "check_inner",
    "gated",
    "make_block",
    "reflects",
    "settled",
]


@runtime_checkable
class Block(Protocol):
    """The g of h_{k+1} = h_k + alpha V_k g(h_k, W_k).

    Five members: `has_inner` and `homogeneous` say what kind of block it is, `field`, `pushed`
    and `pulled` compute g and the products with its derivative and the transpose of that.
    `inner` is the operator W_k of blocks with inner weights, None for the others. States,
    tangents and cotangents have shape ``(path, input, width)``.
    """

    @property
    def has_inner(self) -> bool:
        """Whether the block reads a second, independent weight path."""
        ...

    @property
    def homogeneous(self) -> bool:
        """Whether g(a h) = a g(h) for every a > 0."""
        ...

    def field(self, h: State, inner: Increment | None) -> State:
        """Return g(h)."""
        ...

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return Dg(h) q."""
        ...

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return Dg(h)^T p."""
        ...


@dataclass(frozen=True)
class Outer:
    """res-1: g(h) = s(h), without inner weights."""

    activation: Activation

    has_inner = False

    @property
    def homogeneous(self) -> bool:
        """Whether the activation is positively homogeneous."""
        return self.activation.homogeneous

    def field(self, h: State, inner: Increment | None) -> State:
        """Return s(h)."""
        return self.activation.value(h)

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return s'(h) q."""
        return self.activation.derivative(h) * q

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return s'(h) p."""
        return self.activation.derivative(h) * p


@plain_numbers
@dataclass(frozen=True)
class Inner:
    """res-2: g(h) = s(W h + b) with a constant bias b; res-3 is relu without a bias.

    Parameters
    ----------
    activation : Activation
        The s.
    bias : float
        The same for every unit and layer; 0 as networks are initialised.
    """

    activation: Activation
    bias: float = 0.0

    has_inner = True

    def __post_init__(self) -> None:
        check_inner(self.activation, self.bias)

    @property
    def homogeneous(self) -> bool:
        """Whether the activation is positively homogeneous and there is no bias."""
        return self.activation.homogeneous and self.bias == 0

    @property
    def rectifies(self) -> bool:
        """Whether this is the block of res-3, whose moments have closed forms."""
        return self.activation.name == "relu" and self.bias == 0

    def field(self, h: State, inner: Increment | None) -> State:
        """Return s(W h + b)."""
        return self.activation.value(self._preactivation(h, inner))

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return s'(W h + b) W q."""
        return self.activation.derivative(self._preactivation(h, inner)) * _given(inner).mv(q)

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return W^T (s'(W h + b) p)."""
        return _given(inner).rmv(self.activation.derivative(self._preactivation(h, inner)) * p)

    def _preactivation(self, h: State, inner: Increment | None) -> State:
        product = _given(inner).mv(h)
        return product + self.bias if self.bias else product


@dataclass(frozen=True)
class PostRelu:
    """post-relu: g(h) = h, and a relu after the addition, h_{k+1} = relu(h_k + alpha V_k h_k).

    The relu keeps states in the orthant of non-negative entries. It is no part of the field,
    because the sum it acts on holds the skip connection as well: see `settled` and `gated`.
    """

    has_inner = False
    homogeneous = True

    def field(self, h: State, inner: Increment | None) -> State:
        """Return h."""
        return h

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return q."""
        return q

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return p."""
        return p


@dataclass(frozen=True)
class Guarded:
    """A user's block on copies of its arguments, in whole vectors of paths; answers checked.

    Parameters
    ----------
    block, has_inner, homogeneous
        What computes g, and what it says of itself.
    """

    block: Block
    has_inner: bool
    homogeneous: bool

    def field(self, h: State, inner: Increment | None) -> State:
        """Return g(h)."""
        return self._answer("field", h, inner=inner)

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return Dg(h) q."""
        return self._answer("pushed", h, q, inner=inner)

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return Dg(h)^T p."""
        return self._answer("pulled", h, p, inner=inner)

    def _answer(self, method: str, h: State, *more: State, inner: Increment | None) -> State:
        value = beside_copies(getattr(self.block, method), h, *more, products=inner, needed=True)
        if not isinstance(value, Tensor) or value.shape != h.shape or value.dtype != h.dtype:
            found = tuple(getattr(value, "shape", ())) or type(value).__name__
            raise ShapeError(
                f"{type(self.block).__name__}.{method} must return {h.dtype} {tuple(h.shape)} like "
                f"the states, found {getattr(value, 'dtype', '')} {found}. Act on the last axis."
            )
        return value


_OWN = (Outer, Inner, PostRelu, Guarded)


def block_label(block: "str | Block") -> str:
    """Return the name of a block, or of its class: the same in every process.

    Examples
    --------
    >>> from limits.activations import as_activation
    >>> block_label("res-1"), block_label(Inner(as_activation("tanh"), bias=0.5))
    ('res-1', 'Inner(tanh, bias=0.5)')
    """
    if isinstance(block, str):
        return block
    if isinstance(block, Inner):
        return f"Inner({block.activation.name}, bias={block.bias:g})"
    return type(block.block if isinstance(block, Guarded) else block).__name__


def reflects(block: Block) -> TypeGuard[PostRelu]:
    """Say whether the block keeps states in the orthant of non-negative entries."""
    return isinstance(block, PostRelu)


def settled(block: Block, h: State) -> State:
    """Return the state after the addition that gave `h`: relu(h) if the block reflects, or h."""
    return torch.relu(h) if reflects(block) else h


def gated(block: Block, h: State, q: State) -> State:
    """Return the derivative of `settled` times q (or its transpose: it is diagonal).

    The state `h` after the relu tells it as well as the one before.
    """
    return torch.where(h > 0, q, 0.0) if reflects(block) else q


def check_inner(activation: object, bias: object) -> None:
    """Raise unless a block with inner weights got an Activation and a finite bias."""
    if not isinstance(activation, Activation):
        raise LimitsError(
            f"activation must be an Activation, found {activation!r}. Use "
            "limits.as_activation(...) to make one of a name or a callable."
        )
    if not is_number(bias):
        raise LimitsError(f"bias must be a finite number, found {bias!r}. Use 0.0 for none.")


def make_block(block: "str | Block", activation: Activation) -> Block:
    """Return the block of a name, or the block itself.

    Raises
    ------
    LimitsError
        If the name is unknown, the object is no block, or res-3 or post-relu is asked for with
        an activation other than relu.
    """
    if not isinstance(block, str):
        if not isinstance(block, Block):
            raise LimitsError(
                f"block must be a name or an object with has_inner, homogeneous, field, pushed "
                f"and pulled, found {type(block).__name__}. Use one of "
                f"{', '.join(get_args(BlockName))}."
            )
        return (
            block if isinstance(block, _OWN) else Guarded(block, block.has_inner, block.homogeneous)
        )
    if block == "res-1":
        return Outer(activation)
    if block == "res-2":
        return Inner(activation)
    if block == "res-3":
        if activation is not ACTIVATIONS["relu"]:
            raise LimitsError(
                f'block "res-3" is V relu(W h) by definition, asked for with activation '
                f'{activation.name!r}. Use ResNet("relu", block="res-3"), or block="res-2".'
            )
        return Inner(activation)
    if block == "post-relu":
        if activation is not ACTIVATIONS["relu"]:
            raise LimitsError(
                f'block "post-relu" is relu(h + V h) by definition, asked for with activation '
                f'{activation.name!r}. Use ResNet("relu", block="post-relu"), or block="res-1" '
                "for other activations."
            )
        return PostRelu()
    raise LimitsError(f"unknown block {block!r}. Use one of {', '.join(get_args(BlockName))}.")


def _given(inner: Increment | None) -> Increment:
    if inner is None:
        raise LimitsError(
            "a block with inner weights was read without them. Iterate with "
            "sample.layers(inner=True)."
        )
    return inner
