"""Tensors in files of strangers: named without running code, and read a part at a time."""

import importlib
import json
import math
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from limits.exceptions import StoreError
from limits.placeholders import placeholder

__all__ = ["SUFFIXES", "StoredTensor", "stored_tensors"]

SUFFIXES = (".safetensors", ".gguf", ".pt", ".pth", ".bin", ".ckpt")
_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "C64": "complex64",
}  # fmt: skip
_KINDS = {code: getattr(torch, name) for code, name in _NAMES.items() if hasattr(torch, name)}
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that stays in its file until a part of it is asked for.

    Parameters
    ----------
    shape : tuple of int
        Of the whole.
    narrow : callable
        ``narrow(axis, start, stop)`` reads a part; only the axis that `axis` names is cut.
    """

    shape: tuple[int, ...]
    narrow: Callable[[int, int, int], Tensor]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def axis(self) -> int:
        """The axis along which parts are read: the first of more than one entry."""
        return next((axis for axis, size in enumerate(self.shape) if size > 1), 0)

    @property
    def row(self) -> int:
        """Entries of the smallest part."""
        return math.prod(self.shape) // self.rows

    @property
    def rows(self) -> int:
        """Number of the smallest parts."""
        return self.shape[self.axis] if self.shape else 1

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the parts from `start` to before `stop`."""
        return self.narrow(self.axis, start, self.rows if stop is None else stop)


def stored_tensors(file: str | Path) -> dict[str, StoredTensor]:
    """Return all tensors of a file by name, nested dictionaries joined with dots.

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
        return _of_safetensors(path)
    return _of_gguf(path) if path.suffix == ".gguf" else _of_torch(path)


def _of_safetensors(path: Path) -> dict[str, StoredTensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(
            f"{path} is not a safetensors file: {error}. Copy it again, or give a file that "
            "torch.save wrote the suffix .pt."
        ) from error

    def stored(name: str) -> StoredTensor:
        kind, shape = _KINDS.get(header[name]["dtype"]), tuple(header[name]["shape"])
        if kind is None:
            raise StoreError(
                f"{name!r} in {path} has numbers of the kind {header[name]['dtype']}, which torch "
                f"{torch.__version__} does not know. Save it in another one, or take a newer torch."
            )
        begin = 8 + length + header[name]["data_offsets"][0]

        def narrow(axis: int, start: int, stop: int) -> Tensor:
            row = math.prod(shape[axis + 1 :])
            cut = *shape[:axis], stop - start, *shape[axis + 1 :]
            part = torch.empty(cut, dtype=kind, device="cpu")
            # Read, not mapped: what is mapped stays in memory until all is read.
            with path.open("rb", buffering=0) as file:
                file.seek(begin + start * row * part.itemsize)
                left = part.view(-1).view(torch.uint8).numpy()
                # One call reads 2 GB at most.
                while len(left) and (read := file.readinto(left)):  # type: ignore[arg-type]
                    left = left[read:]
            return part if shape else part[0]

        return StoredTensor(shape, narrow)

    return {name: stored(name) for name in names}


def _of_torch(path: Path) -> dict[str, StoredTensor]:
    try:
        with warnings.catch_warnings():
            # What is refused is said in words of our own.
            warnings.simplefilter("ignore")
            # What torch wrote before it wrote archives cannot be mapped.
            loaded = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:
        raise StoreError(_refusal(path, error)) from error
    weights = dict(_flattened(loaded, ""))
    if not weights:
        raise StoreError(
            f"{path} holds {type(loaded).__name__} without tensors. Save model.state_dict()."
        )
    return {name: _in_memory(tensor) for name, tensor in weights.items()}


def _in_memory(tensor: Tensor) -> StoredTensor:
    def narrow(axis: int, start: int, stop: int) -> Tensor:
        return tensor.narrow(axis, start, stop - start) if tensor.ndim else tensor

    return StoredTensor(tuple(tensor.shape), narrow)


def _of_gguf(path: Path) -> dict[str, StoredTensor]:
    try:
        gguf = importlib.import_module("gguf")
    except ImportError as error:
        raise StoreError(
            f"{path} is a GGUF file, which the package gguf reads: pip install gguf. Or pass the "
            "weights as .safetensors."
        ) from error
    try:
        tensors = gguf.GGUFReader(path).tensors
    except Exception as error:
        raise StoreError(
            f"{path} is not a GGUF file: {type(error).__name__}: {error}. Copy it again."
        ) from error

    def stored(each: object) -> StoredTensor:
        # The file has the fastest axis first; quantised rows are bytes along the last one.
        shape = tuple(int(size) for size in reversed(each.shape))  # type: ignore[attr-defined]

        def narrow(axis: int, start: int, stop: int) -> Tensor:
            data, kind = each.data, each.tensor_type  # type: ignore[attr-defined]
            if len(shape) > 1 and axis < len(shape) - 1:
                cut = (*(slice(None),) * axis, slice(start, stop))
                values = gguf.quants.dequantize(data[cut], kind)
                return torch.from_numpy(values.copy())
            values = gguf.quants.dequantize(data, kind).reshape(shape)
            return torch.from_numpy(values.copy()).narrow(axis, start, stop - start)

        return StoredTensor(shape, narrow)

    return {each.name: stored(each) for each in tensors}


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
