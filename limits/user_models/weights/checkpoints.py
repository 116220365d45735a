"""Checkpoints, in one file or in shards: one weight of every layer, stacked or left where it is."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from limits.exceptions import DTypeError, ShapeError, StoreError
from limits.placeholders import placeholder
from limits.user_models.weights.across_layers import groups_across_layers
from limits.user_models.weights.stored_tensors import SUFFIXES, StoredTensor, stored_tensors

__all__ = ["StoredStack", "missing_layers", "open_network", "read_layers", "split_networks"]

Source: TypeAlias = str | Path
_MOST_LISTED = 12


def read_layers(file: Source | Sequence[Source], pattern: str) -> Tensor:
    """Return one weight of every layer of a checkpoint, stacked in the order of the layers.

    Parameters
    ----------
    file : str, Path or sequence of them
        A ``.safetensors`` or ``.gguf`` file, or what ``torch.save`` wrote of a state_dict (also
        inside other dictionaries). Of a checkpoint in shards: its folder, its
        ``*.index.json``, or all its files. Files are never run: pickles load with
        ``weights_only=True``.
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
    stack = open_network([file] if isinstance(file, str | Path) else file).stack(pattern)
    first = stack.layers[0]
    dtype = first.read(0, 1).dtype
    stacked = torch.empty((stack.depth, *first.shape), dtype=dtype, device="cpu")
    zero = True
    for target, layer in zip(stacked, stack.layers, strict=True):
        # A layer at a time: the file's own copy of it is gone before the next.
        target.copy_(layer.read())
        zero = zero and not bool(target.any())
    if zero:
        raise ShapeError(stack.all_zero)
    return stacked


@dataclass(frozen=True)
class StoredStack:
    """One weight of every layer, in its files.

    Parameters
    ----------
    numbers : tuple of int
        Of the layers, ascending.
    layers : tuple of StoredTensor
        In the same order, of one shape.
    name : str
        What sentences call it.
    """

    numbers: tuple[int, ...]
    layers: tuple[StoredTensor, ...]
    name: str

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def entries(self) -> int:
        """Number of entries of one layer."""
        return self.layers[0].row * self.layers[0].rows

    @property
    def wide(self) -> bool:
        """Whether squares of the numbers may leave float64."""
        return self.layers[0].read(0, 1).dtype == torch.float64

    @property
    def all_zero(self) -> str:
        """What to say of weights without a number in them."""
        return (
            f"the {self.depth} weights called {self.name} are all zero, so there is nothing to "
            "measure. Choose another weight, or a checkpoint from after training."
        )

    def parts(self, size: int) -> Iterator[Tensor]:
        """Yield all entries in order, parts of shape ``(layer, entry)`` of about `size` numbers."""
        first = self.layers[0]
        step = max(1, size // (self.depth * first.row))
        for start in range(0, first.rows, step):
            stop = min(start + step, first.rows)
            yield torch.stack([each.read(start, stop).flatten() for each in self.layers])

    def some(self, entries: int) -> Tensor:
        """Return about so many entries of every layer, from rows that lie evenly."""
        first = self.layers[0]
        count = min(first.rows, max(1, entries // first.row))
        rows = [k * first.rows // count for k in range(count)]
        drawn = [torch.cat([layer.read(k, k + 1).flatten() for k in rows]) for layer in self.layers]
        return torch.stack(drawn)[:, :: max(1, len(drawn[0]) // entries)]


@dataclass(frozen=True)
class Network:
    """All tensors of one network, in one file or in several.

    Parameters
    ----------
    files : tuple of Path
        Where they are.
    tensors : mapping
        By name.
    """

    files: tuple[Path, ...]
    tensors: Mapping[str, StoredTensor]

    @property
    def name(self) -> str:
        """What to call it in a table."""
        first, *more = [file.name for file in self.files]
        return f"{first} and {len(more)} more" if more else first

    def stack(self, pattern: str) -> StoredStack:
        """Return the weights that a pattern names.

        Raises
        ------
        ShapeError, DTypeError
            As in `read_layers`.
        """
        if pattern.count("{}") != 1:
            raise ShapeError(
                f"pattern {pattern!r} must hold {{}} once, where the layer's number is. "
                f"{self._available()}"
            )
        before, after = map(re.escape, pattern.split("{}"))
        compiled = re.compile(rf"{before}(\d+){after}")
        matches = [(compiled.fullmatch(name), each) for name, each in self.tensors.items()]
        found = {int(match.group(1)): tensor for match, tensor in matches if match}
        if not found:
            raise ShapeError(f"no weight of {self.name} is called {pattern!r}. {self._available()}")
        shapes = {tensor.shape for tensor in found.values()}
        if len(shapes) > 1:
            raise ShapeError(
                f"the {len(found)} weights called {pattern!r} in {self.name} have shapes "
                f"{', '.join(map(str, sorted(shapes)))}. Regularity is about layers of one shape: "
                "choose a pattern within one stage."
            )
        numbers = tuple(sorted(found))
        kind = found[numbers[0]].read(0, 1).dtype
        if not kind.is_floating_point:
            raise DTypeError(
                f"the weights called {pattern!r} in {self.name} are {kind}, as after quantisation: "
                "integers without their scales say nothing about regularity. Pass the checkpoint "
                "from before, or weights multiplied by their scales."
            )
        layers = tuple(found[layer] for layer in numbers)
        return StoredStack(numbers, layers, f"{pattern!r} in {self.name}")

    def matrices(self, pattern: str) -> dict[str, StoredStack]:
        """Return the matrices of the same layers, by their patterns; that of `pattern` first."""
        layer = pattern.split("{}")[0] + "{}"
        groups = groups_across_layers(
            {name: each for name, each in self.tensors.items() if each.ndim > 1}
        )
        named = [pattern] * (pattern in groups) + [name for name in groups if name != pattern]
        return {
            name: StoredStack(tuple(range(len(groups[name]))), tuple(groups[name]), name)
            for name in named
            if name.startswith(layer)
        }

    def _available(self) -> str:
        groups = groups_across_layers(dict(self.tensors))
        listed = [f"{name!r} ({len(group)} layers)" for name, group in groups.items()]
        if not listed:
            return f"{self.name} has no weights whose names differ in a number."
        more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
        return f"{self.name} has {', '.join(listed[:_MOST_LISTED])}{more}."


def missing_layers(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers that are left out between the first and the last layer.

    Examples
    --------
    >>> missing_layers((0, 1, 4))
    (2, 3)
    """
    present = set(numbers)
    return tuple(k for k in range(min(present), max(present)) if k not in present)


def open_network(sources: Sequence[Source]) -> Network:
    """Open the files of one network: they must share no name.

    Raises
    ------
    StoreError
        If a file cannot be read, or two hold the same name.
    """
    files = tuple(file for source in sources for file in _files_of(Path(source)))
    if not files:
        raise StoreError("no file was named. Pass the files of a checkpoint, its folder or index.")
    opened = [stored_tensors(file) for file in files]
    counts = Counter(name for tensors in opened for name in tensors)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise StoreError(
            f"{twice[0]!r} is in more than one of {', '.join(file.name for file in files[:4])} "
            f"({len(twice)} such names): these are not shards of one network. Pass one at a time."
        )
    return Network(files, {name: each for tensors in opened for name, each in tensors.items()})


def split_networks(sources: Sequence[Source]) -> list[Network]:
    """Open files that are several networks, or the shards of one if no name is in two of them.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    networks = [open_network([source]) for source in sources]
    counts = Counter(name for each in networks for name in each.tensors)
    if max(counts.values(), default=0) > 1:
        return networks
    files = tuple(file for each in networks for file in each.files)
    tensors = {name: each for network in networks for name, each in network.tensors.items()}
    return [Network(files, tensors)]


def _files_of(path: Path) -> list[Path]:
    """Return the files that a folder or an index stands for."""
    if path.is_dir():
        indices = sorted(path.glob("*.index.json"))
        if len(indices) == 1:
            return _files_of(indices[0])
        for suffix in SUFFIXES:
            found = sorted(path.glob(f"*{suffix}"))
            if found:
                return found
        raise StoreError(
            f"the folder {path} holds no checkpoint ({', '.join(SUFFIXES)}). Pass the folder that "
            "the files are in, or the files."
        )
    return _shards_of(path) if path.suffix == ".json" else [path]


def _shards_of(index: Path) -> list[Path]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted({Path(str(name)).name for name in content["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            placeholder(index)
            or f"{index} is no index of a checkpoint in shards, which maps weights to files in "
            "'weight_map'. Pass the files themselves."
        ) from error
    gone = [name for name in names if not (index.parent / name).is_file()]
    if gone:
        raise StoreError(
            f"{index.name} names {len(names)} files, and {len(gone)} of them are not beside it, "
            f"the first is {gone[0]}. Download all shards."
        )
    return [index.parent / name for name in names]
