"""Residual blocks: the vector field g that an increment multiplies, with its two derivatives."""

from dataclasses import dataclass
from typing import Protocol, get_args

from limits._typing import BlockName, State
from limits.activations import Activation
from limits.exceptions import LimitsError
from limits.paths import Increment

__all__ = ["Block", "InnerRelu", "Pointwise", "make_block"]


class Block(Protocol):
    """The g of h_{k+1} = h_k + alpha V_k g(h_k, W_k).

    `inner` is the operator W_k of blocks with inner weights, None for the others.
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
class Pointwise:
    """res-1: g(h) = s(h)."""

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


@dataclass(frozen=True)
class InnerRelu:
    """res-3: g(h) = relu(W h)."""

    has_inner = True
    homogeneous = True

    def field(self, h: State, inner: Increment | None) -> State:
        """Return relu(W h)."""
        return _given(inner).mv(h).relu()

    def pushed(self, h: State, q: State, inner: Increment | None) -> State:
        """Return 1[W h > 0] W q."""
        weights = _given(inner)
        return (weights.mv(h) > 0) * weights.mv(q)

    def pulled(self, h: State, p: State, inner: Increment | None) -> State:
        """Return W^T (1[W h > 0] p)."""
        weights = _given(inner)
        return weights.rmv((weights.mv(h) > 0) * p)


def make_block(name: str, activation: Activation) -> Block:
    """Return the block of a name.

    Raises
    ------
    LimitsError
        If the name is unknown, or res-3 is asked for with an activation other than relu.
    """
    if name == "res-1":
        return Pointwise(activation)
    if name == "res-3":
        if activation.name != "relu":
            raise LimitsError(
                f'block "res-3" is V relu(W h) by definition, asked for with activation '
                f'{activation.name!r}. Use ResNet("relu", block="res-3"), or block="res-1".'
            )
        return InnerRelu()
    raise LimitsError(f"unknown block {name!r}. Use one of {', '.join(get_args(BlockName))}.")


def _given(inner: Increment | None) -> Increment:
    if inner is None:
        raise LimitsError(
            "a block with inner weights was read without them. Iterate with "
            "sample.layers(inner=True)."
        )
    return inner
