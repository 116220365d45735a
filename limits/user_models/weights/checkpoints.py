"""Weights from files of strangers: loaded without running code, stacked across layers."""

import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from limits.exceptions import DTypeError, ShapeError, StoreError
from limits.placeholders import placeholder
from limits.user_models.weights.across_layers import groups_across_layers

__all__ = ["missing_layers", "read_layers", "read_numbered", "read_weights"]

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_MOST_LISTED = 12


def read_layers(file: str | Path, pattern: str) -> Tensor:
    """Return one weight of every layer of a checkpoint, stacked in the order of the layers.

    Parameters
    ----------
    file : str or Path
        A ``.safetensors`` file, or what ``torch.save`` wrote of a state_dict (also inside other
        dictionaries). Files are never run: pickles load with ``weights_only=True``.
    pattern : str
        Name of the weight with ``{}`` for the layer's number, for example
        ``"layers.{}.attn.out_proj.weight"``.

    Returns
    -------
    Tensor
        Shape ``(layer, ...)``, for `limits.weight_regularity`.

    Raises
    ------
    StoreError
        If the file cannot be read, stands for another one that is not here (a pointer of Git LFS,
        a web page), or is a pickle that would run code, which is named.
    ShapeError
        If the pattern matches no weights, weights of several shapes, or zeros only.
    DTypeError
        If the weights are integers, as after quantisation.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "weights.pt"
    ...     weights = {f"layers.{k}.weight": torch.full((2, 2), float(k)) for k in range(12)}
    ...     torch.save(weights, file)
    ...     read_layers(file, "layers.{}.weight").shape
    torch.Size([12, 2, 2])
    """
    return read_numbered(file, pattern)[1]


def read_numbered(file: str | Path, pattern: str) -> tuple[tuple[int, ...], Tensor]:
    """Return the numbers of the layers, ascending, and what `read_layers` does."""
    weights = read_weights(file)
    if pattern.count("{}") != 1:
        raise ShapeError(
            f"pattern {pattern!r} must hold {{}} once, where the layer's number is. "
            f"{_available(weights, file)}"
        )
    before, after = map(re.escape, pattern.split("{}"))
    compiled = re.compile(rf"{before}(\d+){after}")
    found = {
        int(match.group(1)): tensor
        for name, tensor in weights.items()
        if (match := compiled.fullmatch(name))
    }
    if not found:
        raise ShapeError(f"no weight of {file} is called {pattern!r}. {_available(weights, file)}")
    shapes = {tuple(tensor.shape) for tensor in found.values()}
    if len(shapes) > 1:
        raise ShapeError(
            f"the {len(found)} weights called {pattern!r} in {file} have shapes "
            f"{', '.join(map(str, sorted(shapes)))}. Regularity is about layers of one shape: "
            "choose a pattern within one stage."
        )
    numbers = tuple(sorted(found))
    stack = torch.stack([found[layer] for layer in numbers])
    if not stack.is_floating_point():
        raise DTypeError(
            f"the weights called {pattern!r} in {file} are {stack.dtype}, as after quantisation: "
            "integers without their scales say nothing about regularity. Pass the checkpoint from "
            "before, or weights multiplied by their scales."
        )
    if not bool(stack.any()):
        raise ShapeError(
            f"the {len(stack)} weights called {pattern!r} in {file} are all zero, so there is "
            "nothing to measure. Choose another weight, or a checkpoint from after training."
        )
    return numbers, stack


def missing_layers(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers that are left out between the first and the last layer.

    Examples
    --------
    >>> missing_layers((0, 1, 4))
    (2, 3)
    """
    present = set(numbers)
    return tuple(k for k in range(min(present), max(present)) if k not in present)


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint by name, nested dictionaries joined with dots.

    Raises
    ------
    StoreError
        If the file cannot be read, or is a pickle that would run code, which is named.
    """
    path = Path(file)
    if not path.is_file():
        raise StoreError(f"there is no file {path}. Pass a .safetensors, .pt or .pth file.")
    other = placeholder(path)
    if other:
        raise StoreError(other)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise StoreError(
                f"{path} is not a safetensors file: {error}. Copy it again, or give a file that "
                "torch.save wrote the suffix .pt."
            ) from error
    try:
        with warnings.catch_warnings():
            # What is refused is said in words of our own.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StoreError(_refusal(path, error)) from error
    weights = dict(_flattened(loaded, ""))
    if not weights:
        raise StoreError(
            f"{path} holds {type(loaded).__name__} without tensors. Save model.state_dict()."
        )
    return weights


def _flattened(value: object, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(prefix, value)]
    if not isinstance(value, Mapping):
        return []
    pairs = []
    for name, each in value.items():
        # What a training loop wraps around the weights is no part of their names.
        inner = prefix if name in ("state_dict", "model", "module") else _joined(prefix, str(name))
        pairs += _flattened(each, inner)
    return pairs


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _refusal(path: Path, error: Exception) -> str:
    """Say what a pickle wanted to run, read from its opcodes without running them."""
    named = _GLOBAL.findall(str(error)) or _foreign_globals(path)
    if named:
        return (
            f"{path} was not loaded: it is a pickle that would call {named[0]} "
            f"({len(set(named))} such names), which can run any code. Ask for the state_dict as "
            ".safetensors, or as a file of tensors only: torch.save(model.state_dict(), file)."
        )
    first = str(error).strip().splitlines()
    return (
        f"{path} cannot be read as weights ({type(error).__name__}: {first[0] if first else ''}). "
        "Pass a .safetensors file or what torch.save(model.state_dict(), file) wrote."
    )


def _foreign_globals(path: Path) -> list[str]:
    """Return what a pickle would import beyond torch and collections."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
                data = archive.read(name)
        else:
            data = path.read_bytes()
        found, strings = [], []
        for opcode, argument, _ in pickletools.genops(data):
            if isinstance(argument, str):
                strings.append(argument)
            if opcode.name in ("GLOBAL", "INST"):
                found.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
    except Exception:
        return []
    return [each for each in found if not each.startswith(("torch.", "collections."))]


def _available(weights: Mapping[str, Tensor], file: str | Path) -> str:
    groups = groups_across_layers(dict(weights))
    listed = [f"{name!r} ({len(group)} layers)" for name, group in groups.items()]
    if not listed:
        return f"{file} has no weights whose names differ in a number."
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return f"{file} has {', '.join(listed[:_MOST_LISTED])}{more}."
