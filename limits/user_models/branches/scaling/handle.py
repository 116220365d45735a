"""The factor on the branches of a model: the hooks that hold it, and the handle to take it off."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from limits.exceptions import BranchError, LimitsError
from limits.user_models.branches.compilation import compiled_anew
from limits.user_models.branches.scaling.hooking import Hook
from limits.user_models.branches.towers import Dropped

__all__ = ["Scale", "ScaledResiduals", "ScaledStream", "scaled_residuals", "scales_of"]


@dataclass(frozen=True)
class ScaledStream:
    """One residual stream whose branches are multiplied.

    Parameters
    ----------
    name : str
        What the names of its branches have in common.
    branches : tuple of str
        Module of every branch, in the order of the forward pass.
    depth : int
        Number of its branches L.
    tau : float
        Their factor, tau(L).
    """

    name: str
    branches: tuple[str, ...]
    depth: int
    tau: float

    @property
    def counted(self) -> str:
        """How many branches, and their factor."""
        return f"{self.depth} residual branches times {self.tau:.4g}"

    @property
    def listed(self) -> str:
        """The first branches and the last one."""
        names = self.branches
        return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} ... {names[-1]}"


@dataclass(frozen=True, eq=False, repr=False)
class ScaledResiduals:
    """Residual branches that are multiplied by a factor until `remove` is called.

    Parameters
    ----------
    streams : tuple of ScaledStream
        The residual streams, each with its branches, its L and its factor tau(L).
    rule : str
        How the factor was asked for.
    dropped : tuple of Dropped
        Residual sums that were left as they are, with reasons.
    """

    streams: tuple[ScaledStream, ...]
    rule: str
    dropped: tuple[Dropped, ...] = ()
    _hooked: tuple[tuple["weakref.ref[nn.Module]", int], ...] = field(default=())

    @property
    def branches(self) -> tuple[str, ...]:
        """Module of every branch, stream by stream; one that is called twice is there twice."""
        return tuple(name for stream in self.streams for name in stream.branches)

    @property
    def depth(self) -> int:
        """Number of branches of all streams together."""
        return sum(stream.depth for stream in self.streams)

    @property
    def tau(self) -> float:
        """The factor; of several streams, that of the longest."""
        return max(self.streams, key=lambda stream: stream.depth).tau

    def remove(self) -> None:
        """Take the factor off again; the model is then what it was.

        Raises
        ------
        LimitsError
            If this is a copy, which holds on to no model.
        """
        if not self._hooked:
            raise LimitsError(
                f"this is a copy of the record of {self.depth} scaled branches, which holds on to "
                "no model. Call remove on the one that scale_residuals returned, or on what "
                "limits.scaled_residuals(model) finds."
            )
        for reference, key in self._hooked:
            module = reference()
            if module is not None:
                module._forward_hooks.pop(key, None)
        compiled_anew()

    def __reduce__(self) -> tuple[object, ...]:
        # What was done travels; the hooks stay with the model.
        return ScaledResiduals, (self.streams, self.rule, self.dropped)

    def __enter__(self) -> "ScaledResiduals":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        one = len(self.streams) == 1
        lines = [f"{self.streams[0].counted} (tau={self.rule}): {self.streams[0].listed}"]
        if not one:
            lines = [
                f"{self.depth} residual branches in {len(self.streams)} streams (tau={self.rule})",
                *(f"{each.name}: {each.counted}: {each.listed}" for each in self.streams),
            ]
        told = [each for each in self.dropped if each.kind != "two ways"]
        lines += [f"left as they are: {each.count}, {each.reason}" for each in told]
        return "\n".join(lines)


class _NotScriptableError(BranchError, AttributeError):
    """Asked of a hook by torch.jit.script, which wants functions with a source."""


@dataclass(frozen=True)
class Scale:
    """A forward hook that multiplies a branch; a class, so that models can be pickled.

    Parameters
    ----------
    hook : Hook
        What it multiplies.
    tau : float
        By what.
    record : ScaledResiduals
        Of all that was done to the model, shared by its hooks: it goes where the model goes.
    """

    hook: Hook
    tau: float
    record: ScaledResiduals

    def __call__(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Return the output of the module, multiplied."""
        name, place = self.hook.name, self.hook.place
        return _changed(output, place, lambda value: self._scaled(value, args), name)

    def _scaled(self, value: Tensor, args: tuple[Any, ...]) -> Tensor:
        if self.hook.kind == "block":
            return torch.lerp(args[0], value, self.tau)
        return value * self.tau

    def __getattr__(self, name: str) -> Any:
        if name == "__name__":
            raise _NotScriptableError(
                f"module {self.hook.name!r} has a factor on its residual branch, which is a hook "
                "in Python that torch.jit.script cannot compile. Take it off with "
                "limits.scaled_residuals(model).remove() and script the model without, or use "
                "torch.jit.trace or torch.export, which keep the factor."
            )
        raise AttributeError(name)


def _changed(
    output: Any, place: int | str | None, change: Callable[[Tensor], Tensor], name: str
) -> Any:
    """Return an output with one of its tensors changed."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple) and isinstance(place, int):
        values = [change(v) if i == place else v for i, v in enumerate(output)]
        # A tuple with names is made in its own way.
        return getattr(output, "_make", type(output))(values)
    if place is not None:
        changed: Any = copy.copy(output)
        changed[place] = change(changed[place])
        return changed
    raise BranchError(
        f"module {name!r} returns a {type(output).__name__}, and which of its entries is the "
        "branch is not known. Pass inputs= to limits.scale_residuals, so that it is seen."
    )


def scales_of(module: nn.Module) -> dict[int, Scale]:
    """Return the factors on a module, by the keys of their hooks."""
    # A hook survives deepcopy and pickle as an equal object, never as the same one.
    return {key: hook for key, hook in module._forward_hooks.items() if isinstance(hook, Scale)}


def scaled_residuals(model: nn.Module) -> ScaledResiduals:
    """Return the handle of the factor that is on a model: of a copy, a pickle, a reloaded one.

    Parameters
    ----------
    model : nn.Module
        A model that `limits.scale_residuals` has scaled, or a copy of one.

    Returns
    -------
    ScaledResiduals
        As `limits.scale_residuals` returned it; ``remove`` takes the factor off this model.

    Raises
    ------
    BranchError
        If there is no factor on the model.

    Examples
    --------
    >>> from limits.user_models.branches.scaling.scale import scale_residuals
    >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True, norm_first=True)
    >>> model = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
    >>> scaled = scale_residuals(model)
    >>> other = copy.deepcopy(model)
    >>> scaled_residuals(other).remove()
    >>> scaled_residuals(model).tau
    0.25
    """
    found = [
        (module, key, scale)
        for module in model.modules()
        for key, scale in scales_of(module).items()
    ]
    if not found:
        raise BranchError(
            f"{type(model).__name__} has no factor on its residual branches: none of its "
            f"{len(list(model.modules()))} modules was scaled. Call limits.scale_residuals first."
        )
    record = found[0][2].record
    hooked = tuple((weakref.ref(module), key) for module, key, _ in found)
    return ScaledResiduals(record.streams, record.rule, record.dropped, hooked)
