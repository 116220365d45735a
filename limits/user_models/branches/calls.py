"""What a user's model is called with: a tensor, arguments, a DataLoader, or made-up numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from limits.checks import check_finite
from limits.exceptions import BranchError, DTypeError, LimitsError, ShapeError
from limits.randomness import Stream

__all__ = ["Call", "Inputs", "as_call", "first_that_runs", "on_device_of", "synthetic_calls"]

Inputs: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any] | Iterable[Any]

_BATCH = 4
_TOKENS = 16
_SIDES = (32, 64, 28, 224)


@dataclass(frozen=True)
class Call:
    """The arguments of one forward pass.

    Parameters
    ----------
    args, kwargs : tuple, dict
        As in ``model(*args, **kwargs)``.
    origin : str
        Where they come from, for messages.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    origin: str = "the inputs given"

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors among the arguments, those in lists, tuples and dicts as well."""
        found: list[Tensor] = []
        _mapped((self.args, self.kwargs), lambda tensor: found.append(tensor) or tensor)
        return tuple(found)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """Return the call with every tensor changed."""
        return Call(_mapped(self.args, change), _mapped(self.kwargs, change), self.origin)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return nested lists, tuples and dicts with every tensor in them changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        entries = [_mapped(each, change) for each in value]
        return getattr(value, "_make", type(value))(entries)
    # Other mappings, such as the batch of a tokeniser, are objects of their own kind.
    if type(value) is dict:
        return {key: _mapped(each, change) for key, each in value.items()}
    return value


def as_call(inputs: Inputs) -> Call:
    """Read inputs as the arguments of a forward pass.

    Parameters
    ----------
    inputs : Tensor, tuple, mapping or iterable of batches
        One batch; several positional arguments; keyword arguments; a DataLoader, whose first
        batch is used (of a batch that is a pair or list, the first entry).

    Raises
    ------
    ShapeError
        If there is no tensor in it, or an empty one.
    NonFiniteStateError
        If a tensor holds NaN or infinity.
    """
    # A copy of what inference mode has made: gradients pass through inputs as well.
    call = _read(inputs).mapped(lambda each: each.clone() if each.is_inference() else each)
    if not call.tensors or any(tensor.numel() == 0 for tensor in call.tensors):
        raise ShapeError(
            f"inputs must hold a tensor with numbers in it, found {type(inputs).__name__}. Pass a "
            "batch such as torch.randn(4, 16), a tuple of arguments, a dict of keyword arguments "
            "or a DataLoader."
        )
    for tensor in call.tensors:
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        check_finite(
            tensor,
            f"an input of shape {tuple(tensor.shape)}",
            "Clean the batch, for example with torch.nan_to_num.",
        )
    return call


def _read(inputs: Inputs) -> Call:
    if isinstance(inputs, Tensor):
        return Call((inputs,))
    if isinstance(inputs, tuple):
        return Call(inputs)
    if isinstance(inputs, Mapping):
        return Call((), dict(inputs))
    if not isinstance(inputs, Iterable):
        return Call(())
    batch = next(iter(inputs), None)
    while isinstance(batch, tuple | list) and batch:
        batch = batch[0]
    if isinstance(batch, Mapping):
        return Call((), dict(batch), "the first batch of the loader")
    return Call((batch,), {}, "the first batch of the loader")


def on_device_of(call: Call, model: nn.Module) -> Call:
    """Return the call if its tensors are where the model is.

    Raises
    ------
    DTypeError
        If a tensor is on another device than the parameters.
    """
    devices = {parameter.device for parameter in model.parameters()}
    for tensor in call.tensors:
        if devices and tensor.device not in devices:
            listed = ", ".join(sorted(map(str, devices)))
            raise DTypeError(
                f"the inputs are on {tensor.device} and the model is on {listed}. Move one of "
                f"them, for example inputs.to({str(next(iter(devices)))!r})."
            )
    return call


def synthetic_calls(model: nn.Module, *, seed: int = 0) -> Iterator[Call]:
    """Yield guesses of what a model takes, judged by its first layer with weights.

    Standard normal numbers of shape ``(4, features)``, ``(4, 16, features)`` or ``(4, channels,
    side, side)``; token numbers of shape ``(4, 16)`` for an embedding.

    Raises
    ------
    BranchError
        If the first layer is of no known kind.
    """
    first = next((each for each in model.modules() if _shapes(each)), None)
    parameter = next(model.parameters(), None)
    if first is None or parameter is None:
        raise BranchError(
            f"cannot guess an input of {type(model).__name__}: none of its modules is a linear, "
            "convolution, embedding, attention or normalisation layer. Pass inputs=, a batch that "
            "the model takes."
        )
    generator = Stream(seed, "synthetic-inputs").generator(0)
    for shape in _shapes(first):
        if isinstance(first, nn.Embedding):
            value = torch.randint(first.num_embeddings, shape, generator=generator, device="cpu")
        else:
            value = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(
                parameter.dtype
            )
        origin = f"synthetic inputs of shape {shape}"
        yield Call((value.to(parameter.device),), {}, origin)


def _shapes(module: nn.Module) -> list[tuple[int, ...]]:
    if isinstance(module, nn.Embedding):
        return [(_BATCH, _TOKENS)]
    if isinstance(module, nn.Linear):
        return _of_features(module.in_features)
    if isinstance(module, nn.MultiheadAttention):
        return _of_features(module.embed_dim)[::-1]
    if isinstance(module, nn.LayerNorm):
        return _of_features(*module.normalized_shape)
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        channels = module.in_channels if isinstance(module, nn.Conv2d) else module.num_features
        return [(_BATCH, channels, side, side) for side in _SIDES]
    if isinstance(module, nn.Conv1d):
        return [(_BATCH, module.in_channels, side) for side in _SIDES]
    return []


def _of_features(*features: int) -> list[tuple[int, ...]]:
    return [(_BATCH, *features), (_BATCH, _TOKENS, *features)]


def first_that_runs(model: nn.Module, run: Callable[[Call], Any], *, seed: int = 0) -> Any:
    """Return `run` of the first synthetic call that the model takes.

    Raises
    ------
    BranchError
        If it takes none of them.
    """
    tried = []
    for call in synthetic_calls(model, seed=seed):
        try:
            return run(call)
        except LimitsError:
            raise
        except Exception as error:
            tried.append(f"{tuple(call.tensors[0].shape)}: {type(error).__name__}: {error}")
    raise BranchError(
        f"{type(model).__name__} takes none of the inputs guessed from its first layer ("
        + "; ".join(each.splitlines()[0][:200] for each in tried)
        + "). Pass inputs=, a batch that the model takes."
    )
