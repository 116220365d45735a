"""Multiply the residual branches of a user's model by a factor that falls with depth."""

import weakref
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from limits.exceptions import BranchError
from limits.scalars import plain_numbers
from limits.user_models.branches.calls import Inputs
from limits.user_models.branches.compilation import compiled_anew
from limits.user_models.branches.finding import (
    graph_of,
    refuse_hook,
    stream_of,
    where_is,
)
from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.naming import BranchChoice, chosen_names
from limits.user_models.branches.scaling.factor import Tau, factor_at, rule_of
from limits.user_models.branches.scaling.handle import (
    Scale,
    ScaledResiduals,
    ScaledStream,
    scales_of,
)
from limits.user_models.branches.scaling.hooking import SCRIPTED, Hook, OutputPlace
from limits.user_models.branches.streams import Streams

__all__ = ["scale_residuals"]


@plain_numbers
def scale_residuals(
    model: nn.Module,
    tau: Tau = "1/sqrt(L)",
    *,
    branch: BranchChoice | None = None,
    inputs: Inputs | None = None,
) -> ScaledResiduals:
    """Multiply every residual branch of a model: h + f(h) becomes h + tau f(h).

    Without normalisation on the stream, a network of independently initialised layers whose
    branches have mean zero given h is stable forward and backward at any depth if and only if tau
    = O(1/sqrt(L)), L the number of branches (a transformer layer has two). Every residual stream
    has its own L, and so its own factor: the encoder and the decoder of a model, or the two halves
    of a reversible one. The factor is applied by forward hooks: ``state_dict`` has the same keys
    and values with and without it, in both directions, and copies and pickles of the model keep
    it. A checkpoint does not hold the factor: call this again on the model that you load it into.
    What ``torch.compile`` has made so far is dropped, and made again with the factor at the next
    call.

    Parameters
    ----------
    model : nn.Module
        Changed in place, until `ScaledResiduals.remove`.
    tau : str, float or callable
        ``"1/sqrt(L)"``, ``"1/L"``, ``"2/sqrt(L)"``, ``"L^-0.4"``, ``"0.5*L^-0.5"``; a number; or
        a function of L.
    branch : str, sequence of str or callable, optional
        Modules that return f(h), or one of the summands that f(h) consists of: a pattern such as
        ``"blocks.*.branch"``, their names, or a predicate of ``(name, module)``. Found when left
        out.
    inputs : optional
        What to run the model on, once: a batch, a tuple of arguments, a dict, a DataLoader.
        Guessed from the first layer when left out.

    Returns
    -------
    ScaledResiduals
        ``.streams``, each with ``.branches``, ``.depth``, ``.tau``; ``.dropped``, what was left as
        it is and why; ``.remove()``. Printing it says what was found. It is a context manager as
        well.

    Raises
    ------
    BranchError
        If no branch is found, or not for sure, or a module that was chosen is never called or
        returns a whole block, or the model is scaled already. Pass `branch`, or call ``remove``
        first.
    LimitsError
        If `tau` is not understood or not a positive number.

    References
    ----------
    Zhang, Yu, Yi, Chen, Liu, "Stabilize deep ResNet with a sharp scaling factor tau", Machine
    Learning (2022), Theorems 1 and 2; Marion et al. (2025), Theorem 4.

    Examples
    --------
    >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True, norm_first=True)
    >>> model = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
    >>> scale_residuals(model)
    16 residual branches times 0.25 (tau=1/sqrt(L)): layers.0.dropout1, layers.0.dropout2 ...
    layers.7.dropout2
    """
    modules = dict(model.named_modules())
    scaled = [name for name, module in modules.items() if scales_of(module)]
    if scaled:
        raise BranchError(
            f"{len(scaled)} branches of {type(model).__name__} are scaled already, the first is "
            f"{scaled[0]!r}. Call .remove() on what scale_residuals returned, or on "
            "limits.scaled_residuals(model), before scaling again."
        )
    if branch is None:
        graph, origin = graph_of(model, inputs)
        streams = stream_of(graph, origin=origin)
        _check_found(model, streams)
        groups = _groups_of(streams)
    else:
        groups, streams = _named(model, chosen_names(model, branch), inputs)
    made = []
    factors: dict[Hook, float] = {}
    for name, depth, hooks in groups:
        factor = factor_at(tau, depth)
        names = tuple(hook.name for hook in hooks)
        made.append(ScaledStream(name, names, depth, factor))
        for hook in hooks:
            if factors.setdefault(hook, factor) != factor:
                raise BranchError(
                    f"module {hook.name!r} is a branch of two streams of different L, whose "
                    f"factors would be {factors[hook]:.4g} and {factor:.4g}. Pass tau as a number."
                )
    dropped = streams.dropped if streams else ()
    scripted = [h.name for h in factors if isinstance(modules[h.name], torch.jit.ScriptModule)]
    if scripted:
        raise BranchError(f"{SCRIPTED.format(scripted[0])}.")
    record, hooked = ScaledResiduals(tuple(made), rule_of(tau), dropped), []
    for hook, factor in factors.items():
        module = modules[hook.name]
        handle = module.register_forward_hook(Scale(hook, factor, record))
        hooked.append((weakref.ref(module), handle.id))
    compiled_anew()
    return ScaledResiduals(record.streams, record.rule, record.dropped, tuple(hooked))


_Group = tuple[str, int, tuple[Hook, ...]]


def _groups_of(streams: Streams) -> list[_Group]:
    """Return name, L and what to multiply of every stream.

    Raises
    ------
    BranchError
        If a branch is not the output of a module.
    """
    groups = []
    for stream in streams.streams:
        for each, hooks in zip(stream.sums, stream.hooks, strict=True):
            if hooks is None:
                refuse_hook(streams, each)
        found = tuple(hook for hooks in stream.hooks for hook in hooks or ())
        groups.append((stream.name, stream.depth, found))
    return groups


def _check_found(model: nn.Module, streams: Streams) -> None:
    """Raise where nothing is found, or not for sure."""
    graph, name = streams.graph, type(model).__name__
    unclear = [each for each in streams.dropped if each.kind == "unclear"]
    if unclear:
        (dropped,) = unclear
        node = next(n for n, e in enumerate(graph.nodes) if e.addition == dropped.additions[0])
        raise BranchError(
            f"{dropped.count} of {dropped.count + streams.depth} sums in {name} may be residual, "
            f"but both operands pass through weights: {where_is(graph, node)}. Name the "
            'branches, for example branch="blocks.*.branch".'
        )
    if not streams.streams:
        hidden = f" {streams.hidden}" if streams.hidden else ""
        raise BranchError(
            f"found no residual branch in {name}: of the {graph.n_additions} additions of its "
            f"forward pass on {streams.origin}, none adds f(h) to h.{hidden} If branches are "
            'joined in another way, name them, for example branch="blocks.*.branch".'
        )


def _named(
    model: nn.Module, names: tuple[str, ...], inputs: Inputs | None
) -> tuple[list[_Group], Streams | None]:
    """Return what to multiply of the modules that the user chose."""
    try:
        graph, origin = graph_of(model, inputs)
    except BranchError:
        if inputs is not None:
            raise
        # No input can be guessed: the names are all that is known.
        modules = dict(model.named_modules())
        places: list[OutputPlace] = [
            0 if isinstance(modules[name], nn.MultiheadAttention) else None for name in names
        ]
        hooks = tuple(Hook(n, "branch", p) for n, p in zip(names, places, strict=True))
        return [("", len(hooks), hooks)], None
    if inputs is not None:
        _check_called(model, names, graph, origin)
    streams = stream_of(graph, names=frozenset(names), origin=origin)
    if streams.streams:
        taken = {name for each in streams.streams for b in each.hooks for name in _names(b)}
        idle = [name for name in names if name not in taken]
        if idle:
            raise BranchError(
                f"{len(idle)} of the {len(names)} modules chosen return no branch on {origin}, the "
                f"first is {idle[0]!r}: no sum adds its output to a stream. Choose the modules "
                f"that return f(h), such as {names[0] if names[0] in taken else min(taken)!r}."
            )
        return _groups_of(streams), streams
    # Joined in another way than by a sum: every call is a branch.
    calls = Counter(call.name for call in graph.calls)
    hooks = tuple(
        Hook(call.name, "branch", next(iter(call.outputs), None))
        for call in graph.calls
        if call.name in names
    )
    if not hooks:
        hooks = tuple(Hook(name, "branch", None) for name in names)
    return [("", max(sum(calls[name] for name in names), len(names)), hooks)], streams


def _names(hooks: Sequence[Hook] | None) -> list[str]:
    return [hook.name for hook in hooks or ()]


def _check_called(model: nn.Module, names: Sequence[str], graph: Graph, origin: str) -> None:
    """Raise if a forward pass leaves out a module whose output was to be scaled."""
    called = {each.name for each in graph.calls}
    silent = [name for name in names if name not in called]
    if silent:
        raise BranchError(
            f"{len(silent)} of the {len(names)} modules chosen are not called on {origin}: "
            f"{silent[0]!r} would not be scaled. Choose modules that "
            f"{type(model).__name__} calls and that return a whole branch."
        )
