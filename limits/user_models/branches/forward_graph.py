"""Record the graph of a forward pass: what came from which, and by which module."""

import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from limits.user_models.branches.calls import Call
from limits.user_models.branches.compilation import uncompiled
from limits.user_models.branches.graph.joins import Addition, Join, addition_of, join_of
from limits.user_models.branches.graph.linearity import carriers_of, makes_new
from limits.user_models.branches.graph.nodes import Graph, ModuleCall, Node, tensors_in

__all__ = ["Addition", "Graph", "addition_of", "record"]


def record(model: nn.Module, call: Call) -> Graph:
    """Run the model once, in evaluation mode, and return the graph of what it did.

    Modes of the modules, gradients and torch's random numbers are left as they were. Tensors are
    freed as they would be without being watched: what is kept is where each came from.
    """
    recorder = _Recorder(model)
    modes = {module: module.training for module in model.modules()}
    cuda = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    try:
        model.eval()
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(cuda))
            stack.enter_context(torch.no_grad())
            stack.enter_context(uncompiled())
            recorder.watch(model, stack)
            # On copies, because a model may begin with something that acts in place.
            own = call.mapped(torch.clone)
            recorder.begin(own)
            with recorder:
                model(*own.args, **own.kwargs)
    finally:
        for module, training in modes.items():
            module.training = training
    return recorder.graph


class _Recorder(TorchFunctionMode):
    """Writes down every torch function that is called while it is active."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.graph = Graph()
        # By id, and good only while the tensor lives: a tensor that is freed lends its id to
        # another one.
        self._numbers: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._weights = {id(parameter) for parameter in model.parameters()}
        self._scopes = [""]

    def watch(self, model: nn.Module, stack: ExitStack) -> None:
        """Set hooks on all modules until the stack ends."""
        scripted: dict[int, str] = {}
        for name, module in model.named_modules():
            self.graph.kinds[name] = type(module).__name__
            if isinstance(module, torch.jit.ScriptModule):
                scripted[id(module)] = name
            else:
                enter = module.register_forward_pre_hook(self._enter(name))
                leave = module.register_forward_hook(self.hook(name), with_kwargs=True)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
        if scripted:
            # Hooks of a scripted module are refused; those of all modules reach it.
            def note(module: nn.Module, args: Any, output: object) -> None:
                if id(module) in scripted:
                    self._sealed(scripted[id(module)], args, output)

            stack.callback(register_module_forward_hook(note).remove)

    def begin(self, call: Call) -> None:
        """Write down the inputs."""
        for tensor in call.tensors:
            self._add(tensor, Node(None, (), False, False, True, *_kind(tensor)))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        join = join_of(func, args, kwargs)
        # Before the call, which may change a tensor in place.
        given = [self.number_of(each) for each in _all_tensors(args, kwargs)]
        given = [] if makes_new(func) else given
        target = args[0] if args and isinstance(args[0], Tensor) else None
        result = func(*args, **kwargs)
        returned = list(tensors_in(result).values())
        if result is None and func is Tensor.__setitem__ and target is not None:
            returned = [target]
        if returned:
            self._write(func, args, kwargs, given, returned, join)
        return result

    def _write(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        given: list[int],
        returned: list[Tensor],
        join: Join | None,
    ) -> None:
        parents = tuple(dict.fromkeys(given))
        operands: tuple[int, ...] = ()
        if join is not None:
            operands = self._operands(join)
            parents = operands if join.product else tuple(dict.fromkeys((*operands, *parents)))
        carriers, each = carriers_of(func, args, kwargs, self.number_of, operands)
        # A sum and a row of states are no weights, whatever is added or stands beside.
        weighted = not each and self._weighted(args, kwargs, parents)
        touched = weighted or any(self.graph.nodes[p].touched for p in parents)
        from_input = any(self.graph.nodes[p].from_input for p in parents)
        addition = None
        if join is not None:
            addition = self.graph.n_additions
            self.graph.n_additions += 1
        for tensor in returned:
            node = Node(
                func, parents, weighted, touched, from_input, *_kind(tensor), addition, operands,
                join.kind if join else "", carriers, each, self._scopes[-1],
            )  # fmt: skip
            self._add(tensor, node)
            base = tensor._base
            if base is not None and id(base) in self._numbers and _acts_in_place(func):
                # What is changed through a view is changed.
                own = (self.number_of(base), self.number_of(tensor))
                self._add(base, Node(func, own, False, touched, from_input, *_kind(base)))

    def _operands(self, join: Join) -> tuple[int, int]:
        """Return the nodes that are added; a product that is never seen gets one of its own."""
        first = self.number_of(join.first)
        others = tuple(self.number_of(each) for each in join.others)
        if join.product is None:
            return first, others[0]
        weighted = any(id(each) in self._weights for each in join.others) or self._weighted(
            join.others, {}, others
        )
        touched = weighted or any(self.graph.nodes[p].touched for p in others)
        known = any(self.graph.nodes[p].from_input for p in others)
        carriers = tuple(p for p in others if self.graph.nodes[p].function is not None) or others
        node = Node(
            join.product, others, weighted, touched, known, tuple(join.first.shape), True,
            carriers=carriers,
        )  # fmt: skip
        self.graph.nodes.append(node)
        return first, len(self.graph.nodes) - 1

    def _weighted(self, args: Any, kwargs: Mapping[str, Any], parents: tuple[int, ...]) -> bool:
        """Say whether weights enter a step: parameters, what was made of them, packed ones."""
        nodes = [self.graph.nodes[p] for p in parents]
        if any(node.from_input for node in nodes):
            fixed = [node for node in nodes if not node.from_input]
            if any(node.touched for node in fixed):
                return True
        elif len(nodes) > 1 and any(node.touched for node in nodes):
            # A state that begins as a parameter meets the weights of its layers.
            return True
        return any(type(each) is torch.ScriptObject for each in (*args, *kwargs.values()))

    def _enter(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any) -> None:
            self._scopes.append(name)

        return note

    def hook(self, name: str) -> Callable[..., None]:
        """Return a forward hook that notes what module `name` was given and returned."""

        def note(module: nn.Module, args: Any, kwargs: Any, output: object) -> None:
            while len(self._scopes) > 1 and self._scopes.pop() != name:
                pass  # modules that were left by an exception
            first = next(iter(_all_tensors(args, kwargs)), None)
            found = tensors_in(output)
            self._unseen(name, module, args, kwargs, found)
            outputs = {place: self.number_of(tensor) for place, tensor in found.items()}
            number = None if first is None else self._known(first)
            self.graph.calls.append(ModuleCall(name, number, outputs))

        return note

    def _unseen(self, name: str, module: nn.Module, args: Any, kwargs: Any, found: Any) -> None:
        """Write down what a module computed by means that no torch function is told of."""
        unseen = [each for each in found.values() if self._known(each) is None]
        if unseen:
            own = {id(each) for each in (*module.parameters(), *module.buffers())}
            unseen = [each for each in unseen if id(each) not in own]
        if not unseen:
            return
        parents = tuple(dict.fromkeys(map(self.number_of, _all_tensors(args, kwargs))))
        weighted = next(module.parameters(), next(module.buffers(), None)) is not None
        touched = weighted or any(self.graph.nodes[p].touched for p in parents)
        known = any(self.graph.nodes[p].from_input for p in parents)
        for tensor in unseen:
            node = Node(type(module), parents, weighted, touched, known, *_kind(tensor))
            self._add(tensor, node)
        self.graph.sealed.setdefault(name, type(module).__name__)

    def _sealed(self, name: str, args: Any, output: object) -> None:
        parents = tuple(dict.fromkeys(map(self.number_of, _all_tensors(args, {}))))
        known = any(self.graph.nodes[p].from_input for p in parents)
        found = tensors_in(output)
        for tensor in found.values():
            node = Node(torch.jit.ScriptModule, parents, True, True, known, *_kind(tensor))
            self._add(tensor, node)
        self.graph.sealed[name] = "scripted"
        outputs = {place: self.number_of(tensor) for place, tensor in found.items()}
        first = parents[0] if parents else None
        self.graph.calls.append(ModuleCall(name, first, outputs))

    def _known(self, tensor: Tensor) -> int | None:
        entry = self._numbers.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def number_of(self, tensor: Tensor) -> int:
        """Return the node of a tensor, a new one if it comes from outside."""
        number = self._known(tensor)
        if number is None:
            # A parameter, a buffer, a constant.
            weight = id(tensor) in self._weights or isinstance(tensor, nn.Parameter)
            number = self._add(tensor, Node(None, (), False, weight, False, *_kind(tensor)))
        return number

    def _add(self, tensor: Tensor, node: Node) -> int:
        self._numbers[id(tensor)] = weakref.ref(tensor), len(self.graph.nodes)
        self.graph.nodes.append(node)
        return len(self.graph.nodes) - 1


def _all_tensors(args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for each in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, tuple | list):
            found.extend(_all_tensors(each, {}))
    return found


def _acts_in_place(function: Any) -> bool:
    name = getattr(function, "__name__", "")
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()
