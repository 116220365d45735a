"""Find the residual branches f of a user's model, h + f(h), in the graph of a forward pass."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, Never

import torch
from torch import Tensor, nn

from limits.exceptions import BranchError
from limits.user_models.branches.calls import Inputs, as_call, first_that_runs, on_device_of
from limits.user_models.branches.forward_graph import Graph, ModuleCall, record
from limits.user_models.branches.residual_sums import (
    Ancestry,
    ResidualAddition,
    outermost_of,
    residual_additions,
)

__all__ = ["Branches", "ResidualStream", "find_branches", "stream_of"]

# Multiplying what goes into these by a positive number multiplies what comes out.
_HOMOGENEOUS = frozenset(
    (
        torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__,
        torch.div, Tensor.div, Tensor.__truediv__, torch.neg, Tensor.neg, Tensor.__neg__,
        nn.functional.dropout, nn.functional.dropout1d, nn.functional.dropout2d, torch.dropout,
        torch.relu, Tensor.relu, Tensor.relu_, nn.functional.relu, nn.functional.leaky_relu,
        Tensor.view, Tensor.reshape, torch.reshape, Tensor.transpose, torch.transpose,
        Tensor.permute, torch.permute, Tensor.contiguous, Tensor.flatten, torch.flatten,
        Tensor.unflatten, Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze,
        Tensor.__getitem__, Tensor.to, Tensor.float, Tensor.type_as, Tensor.clone,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Branches:
    """The residual branches of a model, by the modules whose output they are.

    Parameters
    ----------
    names : tuple of str
        Module of every branch, in the order of the forward pass; a module that is called twice
        is there twice.
    kinds : tuple of {"branch", "block"}
        Whether the module returns f(h), or is the whole block and returns h + f(h).
    places : tuple of int or None
        Position of f(h) where the module returns a tuple.
    origin : str
        What the model was run on.
    """

    names: tuple[str, ...]
    kinds: tuple[Literal["branch", "block"], ...]
    places: tuple[int | None, ...]
    origin: str

    @property
    def depth(self) -> int:
        """Number of residual branches L along a forward pass."""
        return len(self.names)


def find_branches(model: nn.Module, *, inputs: Inputs | None = None) -> Branches:
    """Return the modules whose outputs are added to a residual stream.

    The model runs once, in evaluation mode and without gradients; its sums are then told apart:
    h + f(h) is residual if f(h) was computed from h through weights and h arrived unchanged or
    through a shortcut (pooling, padding, or weights on a clearly shorter way).

    Parameters
    ----------
    model : nn.Module
        Any model; it is left as it was.
    inputs : optional
        A batch, a tuple of arguments, a dict or a DataLoader; guessed from the first layer of
        the model when left out.

    Raises
    ------
    BranchError
        If there are no residual branches, or one of them is not the output of a module, or it
        is not clear which operand of a sum is the branch. Name the branches yourself.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> find_branches(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).names
    ('layers.0.dropout1', 'layers.0.dropout2', 'layers.1.dropout1', 'layers.1.dropout2')
    """
    graph, origin = _graph_of(model, inputs)
    additions = residual_additions(graph)
    if not additions:
        raise BranchError(
            f"found no residual branch in {type(model).__name__}: of the {graph.n_additions} "
            f"additions of its forward pass on {origin}, none adds f(h) to h. If branches are "
            'joined in another way, name them, for example branch="blocks.*.branch".'
        )
    unclear = [each for each in additions if not each.certain]
    if unclear:
        raise BranchError(
            f"{len(unclear)} of {len(additions)} sums in {type(model).__name__} may be residual, "
            f"but both operands pass through weights: {_place_of(graph, unclear[0])}. Name the "
            'branches, for example branch="blocks.*.branch".'
        )
    uses = count_uses(graph)
    found = [_hooked(graph, each, uses) or _refuse(graph, each) for each in additions]
    _check_calls(graph, found)
    return Branches(
        tuple(call.name for call, _, _ in found),
        tuple(kind for _, kind, _ in found),
        tuple(place for _, _, place in found),
        origin,
    )


def _graph_of(model: nn.Module, inputs: Inputs | None) -> tuple[Graph, str]:
    if inputs is None:
        return first_that_runs(model, lambda call: (record(model, call), call.origin))
    call = on_device_of(as_call(inputs), model)
    return record(model, call), call.origin


_Hooked = tuple[ModuleCall, Literal["branch", "block"], int | None]


def _hooked(graph: Graph, addition: ResidualAddition, uses: Counter[int]) -> _Hooked | None:
    """Return the module whose output is the branch, or the whole block, if there is one."""
    found = branch_module(graph, addition, uses)
    if found is not None:
        return found[0], "branch", found[1]
    for call in graph.calls:
        if call.outputs.get(None) == addition.total and call.first_input == addition.skip:
            return call, "block", None
    return None


def _refuse(graph: Graph, addition: ResidualAddition) -> Never:
    raise BranchError(
        f"a residual branch is not the output of a module: {_place_of(graph, addition)}. Make "
        "the branch a module of its own, so that the block reads h + self.branch(h)."
    )


def branch_module(
    graph: Graph, addition: ResidualAddition, uses: Counter[int]
) -> tuple[ModuleCall, int | None] | None:
    """Return the module that returned a branch, up to a factor, and where in its output."""
    node = addition.branch
    # What else reads the branch would be scaled as well.
    while uses[node] == 1:
        calls = [
            (call, place)
            for call in graph.calls
            for place, output in call.outputs.items()
            if output == node
        ]
        if calls:
            # The outermost module that returns the branch is the one a reader knows.
            return calls[-1]
        step = graph.nodes[node]
        if step.function not in _HOMOGENEOUS or len(step.parents) != 1:
            break
        node = step.parents[0]
    return None


@dataclass(frozen=True)
class ResidualStream:
    """The sums along the residual stream of a forward pass.

    Parameters
    ----------
    additions : list of ResidualAddition
        In order, without those that are unclear.
    modules : list of str or None
        Module that returns f(h), or h + f(h); None where no module does.
    n_unclear : int
        Sums that were left out, since either operand may be the branch.
    """

    additions: list[ResidualAddition]
    modules: list[str | None]
    n_unclear: int


def stream_of(graph: Graph, *, names: frozenset[str] | None = None) -> ResidualStream:
    """Return the sums along the residual stream itself.

    Parameters
    ----------
    graph : Graph
        Of one forward pass.
    names : set of str, optional
        Modules that return branches, if the user knows them; sums of other branches are left out.
    """
    uses = count_uses(graph)
    found = residual_additions(graph, outermost=names is None)
    if names is not None:
        ancestry = Ancestry(graph)
        returned = [branch_module(graph, each, uses) for each in found]
        pairs = zip(found, returned, strict=True)
        named = [each for each, module in pairs if module and module[0].name in names]
        kept = outermost_of(ancestry, named, named)
    else:
        kept = [each for each in found if each.certain]
    hooked = [_hooked(graph, each, uses) for each in kept]
    modules = [None if each is None else each[0].name for each in hooked]
    return ResidualStream(kept, modules, 0 if names is not None else len(found) - len(kept))


def count_uses(graph: Graph) -> Counter[int]:
    """Count how many steps read every node."""
    return Counter(parent for node in graph.nodes for parent in node.parents)


def _check_calls(graph: Graph, found: list[_Hooked]) -> None:
    """Refuse modules that are branches in some calls and something else in others."""
    calls = Counter(call.name for call in graph.calls)
    for (name, kind), uses in Counter((call.name, kind) for call, kind, _ in found).items():
        if calls[name] != uses:
            raise BranchError(
                f"module {name!r} is called {calls[name]} times and only {uses} of its outputs are "
                f"residual ({kind}). Use a module of its own for every branch."
            )


def _place_of(graph: Graph, addition: ResidualAddition) -> str:
    """Say where an addition is: between which modules, and the shape of its result."""
    before = [call.name for call in graph.calls if set(call.outputs.values()) & {addition.branch}]
    inside = [call.name for call in graph.calls if addition.total in call.outputs.values()]
    shape = graph.nodes[addition.total].shape
    where = f"after {before[0]!r}" if before else "outside of any module's output"
    block = f", returned by {inside[0] or 'the model'!r}" if inside else ""
    return f"addition {addition.addition + 1} of {graph.n_additions}, {where}{block}, {shape}"
