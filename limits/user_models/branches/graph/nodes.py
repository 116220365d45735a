"""The graph of a forward pass: its tensors as nodes, and the calls of modules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Graph", "ModuleCall", "Node", "tensors_in"]


@dataclass(frozen=True, slots=True)
class Node:
    """One tensor of a forward pass.

    Parameters
    ----------
    function : callable or None
        What computed it; None for what came from outside: an input, a weight, a constant.
    parents : tuple of int
        The nodes it was computed from.
    weighted : bool
        Whether parameters entered this step.
    touched : bool
        Whether parameters entered any step up to here.
    from_input : bool
        Whether it depends on the model's input.
    shape : tuple of int
        Its shape.
    floating : bool
        Whether it holds real numbers.
    addition : int or None
        Position of this addition among all of the forward pass.
    operands : tuple of int
        Of an addition: the nodes of the two that are added.
    kind : str
        Of an addition: ``"sum"``, ``"product"`` or ``"lerp"``.
    carriers : tuple of int
        The parents that this step is linear in, up to positive factors: ``each`` of them must be
        multiplied to multiply the result, or any one of them.
    each : bool
        As said.
    scope : str
        Module whose forward made this step; empty for the model itself.
    """

    function: Callable[..., Any] | None
    parents: tuple[int, ...]
    weighted: bool
    touched: bool
    from_input: bool
    shape: tuple[int, ...]
    floating: bool
    addition: int | None = None
    operands: tuple[int, ...] = ()
    kind: str = ""
    carriers: tuple[int, ...] = ()
    each: bool = False
    scope: str = ""

    @property
    def size(self) -> int:
        """Number of entries."""
        product = 1
        for side in self.shape:
            product *= side
        return product


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A call of a module: its name, its first node, and its outputs by position or key."""

    name: str
    first_input: int | None
    outputs: dict[int | str | None, int]


@dataclass
class Graph:
    """All nodes of a forward pass in order, and the calls of modules, inner ones first.

    `sealed` names the modules that were called and cannot be looked into, such as scripted ones;
    `kinds` has the class of every module.
    """

    nodes: list[Node] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)
    n_additions: int = 0
    sealed: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


def tensors_in(value: object) -> dict[int | str | None, Tensor]:
    """Return the tensors of a value: itself under None, or those of a tuple or dict by place."""
    if isinstance(value, Tensor):
        return {None: value}
    if isinstance(value, Mapping):
        return {key: each for key, each in value.items() if isinstance(each, Tensor)}
    if not isinstance(value, tuple | list):
        return {}
    found: dict[int | str | None, Tensor] = {}
    for place, each in enumerate(value):
        if isinstance(each, Tensor):
            found[place] = each
        elif isinstance(each, tuple | list):
            # Lists of tensors (torch.cat) count as arguments; their place is of no use.
            inner = tensors_in(each)
            found |= {-len(found) - 1 - i: tensor for i, tensor in enumerate(inner.values())}
    return found
