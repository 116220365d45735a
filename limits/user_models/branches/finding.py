"""Find the residual streams of a user's model, h + f(h) again and again, in a forward pass."""

import itertools
from collections.abc import Iterable
from typing import Never

from torch import nn

from limits.exceptions import BranchError
from limits.user_models.branches.calls import Inputs, as_call, first_that_runs, on_device_of
from limits.user_models.branches.chains import chains_of
from limits.user_models.branches.forward_graph import record
from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.naming import BranchChoice, chosen_names
from limits.user_models.branches.residual_sums import ResidualAddition, residual_additions
from limits.user_models.branches.scaling.hooking import Hook, Hookable
from limits.user_models.branches.streams import ResidualStream, Streams
from limits.user_models.branches.towers import Chain, dropped_for, towers_of

__all__ = ["find_streams", "graph_of", "refuse_hook", "stream_of", "where_is"]


def find_streams(
    model: nn.Module, inputs: Inputs | None = None, *, branch: BranchChoice | None = None
) -> Streams:
    """Return the residual streams of a model, each with its own number of branches L.

    The model runs once, in evaluation mode and without gradients. A sum h + f(h) is residual if
    f(h) was computed from h through weights and h arrived unchanged or through a shortcut. A sum
    follows another one if its h is the sum of that one, whatever lies between (a norm, a
    downsampling, a reshaping): so an encoder and a decoder are two streams, and a pair that reads
    each other as well. A long skip around a tower is no block of it and is left out; the tower
    counts. What is inside of the branch of a block is scaled with it.

    Parameters
    ----------
    model : nn.Module
        Any model; it is left as it was.
    inputs : optional
        A batch, a tuple of arguments, a dict or a DataLoader; guessed from the first layer of
        the model when left out.
    branch : str, sequence of str or callable, optional
        Modules that return branches, if you know them: sums of other branches are left out.

    Returns
    -------
    Streams
        ``.streams``, ``.dropped`` with reasons, ``.graph``, ``.origin``; none is found in a model
        without residual sums.

    Raises
    ------
    BranchError
        If the names given do not exist, or return whole blocks, h + f(h), instead of branches.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    >>> found = find_streams(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    >>> print(found)
    layers: 4 branches
    >>> found.streams[0].branches
    ('layers.0.dropout1', 'layers.0.dropout2', 'layers.1.dropout1', 'layers.1.dropout2')
    """
    names = None if branch is None else frozenset(chosen_names(model, branch))
    graph, origin = graph_of(model, inputs)
    return stream_of(graph, names=names, origin=origin)


def graph_of(model: nn.Module, inputs: Inputs | None) -> tuple[Graph, str]:
    """Return the graph of a forward pass, and what it was run on.

    Raises
    ------
    BranchError
        If no inputs are given and none of those guessed fits.
    """
    if inputs is None:
        return first_that_runs(model, lambda call: (record(model, call), call.origin))
    call = on_device_of(as_call(inputs), model)
    return record(model, call), call.origin


def stream_of(
    graph: Graph, *, names: frozenset[str] | None = None, origin: str = "the inputs given"
) -> Streams:
    """Return the residual streams in the graph of a forward pass.

    Parameters
    ----------
    graph : Graph
        Of one forward pass.
    names : set of str, optional
        Modules that return branches, if the user knows them; sums of other branches are left out.
    origin : str
        What the model was run on.

    Raises
    ------
    BranchError
        If a module named returns a whole block.
    """
    found, hookable = residual_additions(graph), Hookable(graph)
    if names is None:
        chains, dropped = towers_of(graph, found)
        sums = [each for chain in chains for each in chain.sums]
        hooks = {s.total: h for s, h in zip(sums, hookable.hooks_of(sums), strict=True)}
    else:
        hooks = {each.total: hookable.named(each, names) or None for each in found}
        _refuse_blocks(hookable, found, names, hooks)
        named = [each for each in found if hooks[each.total]]
        kept = [e for e in named if not any(e.total in other.between for other in named)]
        chains = [Chain(tuple(sums)) for sums in chains_of(graph, kept, range(len(graph.nodes)))]
        totals = {each.total for each in kept}
        rest = [each for each in found if each.certain and each.total not in totals]
        dropped = [dropped_for("not named", rest)] if rest else []
    streams = []
    for chain in chains:
        inside = hooks.get(chain.inside.total) if chain.inside else None
        own = tuple(hooks[each.total] for each in chain.sums)
        named = (hook.name for each in own for hook in each or ())
        name = _common(named, inside=chain.inside is not None)
        taken = {stream.name for stream in streams}
        numbered = (f"{name or 'stream'} ({n})" for n in range(2, len(streams) + 3))
        name = next(n for n in (name, *numbered) if n not in taken)
        where = " + ".join(hook.name for hook in inside or ())
        streams.append(ResidualStream(name, chain.sums, own, chain.sums[0].skip, where))
    return Streams(tuple(streams), tuple(dropped), graph, origin, dict(hookable.refused))


def _common(names: Iterable[str], *, inside: bool) -> str:
    """Return the leading parts that dotted names have in common, without the number of a block.

    So the stream has one name at every depth, that of a single block included.
    """
    split = [name.split(".")[:-1] for name in names]
    columns = zip(*split, strict=False) if split else ()
    shared = [c[0] for c in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns)]
    numbers = [place for place, part in enumerate(shared) if part.isdigit()]
    if numbers:
        shared = shared[: numbers[-1] if inside else numbers[0]]
    return ".".join(shared)


def _refuse_blocks(
    hookable: Hookable,
    found: list[ResidualAddition],
    names: frozenset[str],
    hooks: dict[int, tuple[Hook, ...] | None],
) -> None:
    """Raise where a module named returns the stream itself."""
    taken = {hook.name for each in hooks.values() for hook in each or ()}
    totals = {each.total for each in found}
    for name, outputs in hookable.returns(names - taken).items():
        if outputs & totals:
            inner = [
                hook.name
                for hooks_of in hookable.hooks_of([e for e in found if e.certain])
                for hook in hooks_of or ()
                if hook.name.startswith(f"{name}.")
            ]
            better = f", here {', '.join(map(repr, inner[:3]))}" if inner else ""
            raise BranchError(
                f"{name!r} returns the whole block, h + f(h): a factor on it would multiply the "
                f"stream itself, by tau^L in the end. Name the modules that return f(h){better}."
            )


def refuse_hook(streams: Streams, each: ResidualAddition) -> Never:
    """Raise, with the reason, for a branch that cannot be multiplied by a hook."""
    graph = streams.graph
    before = [call.name for call in graph.calls if each.branch in call.outputs.values()]
    reasons = [streams.reasons[name] for name in before if name in streams.reasons]
    if reasons:
        raise BranchError(f"{reasons[0]}.")
    kind = graph.nodes[each.total].kind
    joined = {
        "product": " It is joined by a fused product (addmm, baddbmm or addcmul).",
        "lerp": " It is joined by lerp, which multiplies the stream as well.",
    }.get(kind, "")
    where = where_is(graph, each.total)
    raise BranchError(
        f"a residual branch is not the output of a module: {where}.{joined} Make "
        "the branch a module of its own, so that the block reads h + self.branch(h)."
    )


def where_is(graph: Graph, total: int) -> str:
    """Say where an addition is: between which modules, and the shape of its result."""
    node = graph.nodes[total]
    operands = set(node.operands)
    before = [call.name for call in graph.calls if operands & set(call.outputs.values())]
    inside = [call.name for call in graph.calls if total in call.outputs.values()]
    where = f"after {before[-1]!r}" if before else "outside of any module's output"
    block = f", returned by {inside[0] or 'the model'!r}" if inside else ""
    return (
        f"addition {(node.addition or 0) + 1} of {graph.n_additions}, {where}{block}, {node.shape}"
    )
