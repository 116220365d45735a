"""The graph of a forward pass: which tensor was computed from which, and by which module."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limits.user_models.branches.calls import Call
from limits.user_models.branches.compilation import uncompiled

__all__ = ["Addition", "Graph", "ModuleCall", "Node", "addition_of", "record", "tensors_in"]

_ADDITIONS = frozenset(
    (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)
)
_IN_PLACE = frozenset((Tensor.add_, Tensor.__iadd__))


@dataclass(frozen=True)
class Node:
    """One tensor of a forward pass.

    Parameters
    ----------
    function : callable or None
        What computed it; None for an input of the model.
    parents : tuple of int
        The nodes it was computed from that depend on the input.
    weighted : bool
        Whether parameters entered this step.
    from_input : bool
        Whether it depends on the model's input.
    shape : tuple of int
        Its shape.
    floating : bool
        Whether it holds real numbers.
    addition : int or None
        Position of this addition among all of the forward pass.
    """

    function: Callable[..., Any] | None
    parents: tuple[int, ...]
    weighted: bool
    from_input: bool
    shape: tuple[int, ...]
    floating: bool
    addition: int | None = None


@dataclass(frozen=True)
class ModuleCall:
    """A call of a module: its name, its first positional node, and its outputs by position."""

    name: str
    first_input: int | None
    outputs: dict[int | None, int]


@dataclass
class Graph:
    """All nodes of a forward pass in order, and the calls of modules, inner ones first."""

    nodes: list[Node] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)
    n_additions: int = 0


def record(model: nn.Module, call: Call) -> Graph:
    """Run the model once, in evaluation mode, and return the graph of what it did.

    Modes of the modules, gradients and torch's random numbers are left as they were.
    """
    recorder = _Recorder(model, call)
    modes = {module: module.training for module in model.modules()}
    cuda = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    try:
        model.eval()
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(cuda))
            stack.enter_context(torch.no_grad())
            stack.enter_context(uncompiled())
            for name, module in model.named_modules():
                handle = module.register_forward_hook(recorder.hook(name))
                stack.callback(handle.remove)
            with recorder:
                # On copies, because a model may begin with something that acts in place.
                own = call.mapped(torch.clone)
                model(*own.args, **own.kwargs)
    finally:
        for module, training in modes.items():
            module.training = training
    return recorder.graph


class _Recorder(TorchFunctionMode):
    """Writes down every torch function that is called while it is active."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.graph = Graph()
        self._numbers: dict[int, int] = {}
        self._weights = {id(parameter) for parameter in model.parameters()}
        # A tensor that is freed would lend its id to another one.
        self._alive: list[Any] = []
        for tensor in call.tensors:
            self._add(tensor, Node(None, (), False, True, *_kind(tensor)))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [*tensors_in(args).values(), *tensors_in(tuple(kwargs.values())).values()]
        counts = addition_of(func, args, kwargs) is not None
        result = func(*args, **kwargs)
        returned = list(tensors_in(result).values())
        if result is None and func is Tensor.__setitem__:
            returned = given[:1]
        if returned:
            self._write(func, given, returned, counts=counts)
        return result

    def _write(
        self, func: Any, given: list[Tensor], returned: list[Tensor], *, counts: bool
    ) -> None:
        known = [self._numbers[id(each)] for each in given if id(each) in self._numbers]
        parents = tuple(n for n in known if self.graph.nodes[n].from_input)
        rest = [n for n in known if not self.graph.nodes[n].from_input]
        weighted = any(id(each) in self._weights for each in given) or any(
            self.graph.nodes[n].weighted for n in rest
        )
        addition = None
        if counts:
            addition = self.graph.n_additions
            self.graph.n_additions += 1
        for tensor in returned:
            node = Node(func, parents, weighted, bool(parents), *_kind(tensor), addition)
            self._add(tensor, node)

    def hook(self, name: str) -> Callable[..., None]:
        """Return a forward hook that notes what module `name` was given and returned."""

        def note(_: nn.Module, args: tuple[Any, ...], output: object) -> None:
            first = args[0] if args and isinstance(args[0], Tensor) else None
            outputs = {
                place: self._numbers[id(tensor)]
                for place, tensor in tensors_in(output).items()
                if id(tensor) in self._numbers
            }
            self.graph.calls.append(ModuleCall(name, self._numbers.get(id(first)), outputs))

        return note

    def _add(self, tensor: Tensor, node: Node) -> None:
        self._alive.append(tensor)
        self._numbers[id(tensor)] = len(self.graph.nodes)
        self.graph.nodes.append(node)


@dataclass(frozen=True)
class Addition:
    """A call that adds two tensors, first + alpha second."""

    first: Tensor
    second: Tensor
    alpha: float
    in_place: bool


def addition_of(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Addition | None:
    """Read a call that adds two tensors of real numbers of one shape; None if it does not.

    Counters that are only kept in training, such as those of batch normalisation, do not.
    """
    if function not in _ADDITIONS or not kwargs.keys() <= {"input", "other", "alpha"}:
        return None
    named = [kwargs[name] for name in ("input", "other") if name in kwargs]
    operands = [*args, *named]
    if len(operands) != 2 or not all(isinstance(each, Tensor) for each in operands):
        return None
    a, b = operands
    if a.shape != b.shape or not a.is_floating_point() or not b.is_floating_point():
        return None
    return Addition(a, b, float(kwargs.get("alpha", 1)), function in _IN_PLACE)


def tensors_in(value: object) -> dict[int | None, Tensor]:
    """Return the tensors of a value: itself under None, or those of a tuple by position."""
    if isinstance(value, Tensor):
        return {None: value}
    if not isinstance(value, tuple | list):
        return {}
    found: dict[int | None, Tensor] = {}
    for place, each in enumerate(value):
        if isinstance(each, Tensor):
            found[place] = each
        elif isinstance(each, tuple | list):
            # Lists of tensors (torch.cat) count as arguments; their place is of no use.
            inner = tensors_in(each)
            found |= {-len(found) - 1 - i: tensor for i, tensor in enumerate(inner.values())}
    return found


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()
