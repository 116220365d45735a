"""A lazy draw: who asked what of which layer, for as long as the draw lives."""

import math
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

import torch

from limits.exceptions import CouplingError, LimitsError
from limits.paths.lazy.increment import LazyIncrement
from limits.paths.lazy.pieces import LazyRange, SlabNormals
from limits.paths.lazy.store import Ledger, Store
from limits.randomness import Stream

__all__ = ["MEMORY", "LazyDraw", "LazySource"]

MEMORY = 2**31
"""Bytes that a lazy draw may remember.

A draw remembers if one question per layer takes at most a quarter of it; a deeper one serves a
single call."""

_NORMALS_PER_PATH = 2**12
"""Numbers a path draws at once, of one question to consecutive layers."""

_HELD_PER_NORMAL = 16


class LazyDraw:
    """What the views of one lazy draw share: its name and the answers it gave.

    Parameters
    ----------
    depth, n_paths, width, dtype, device
        Of the draw.
    remember : bool, optional
        Whether answers are kept for later calls; by default, if they fit `MEMORY`.
    """

    def __init__(
        self,
        *,
        depth: int,
        n_paths: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
        remember: bool | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        # A seed does not fix a lazy draw, its questions do: equal seeds are different draws.
        self.token = secrets.token_hex(4)
        question = 2 * dtype.itemsize * depth * n_paths * width
        self.remembers = 4 * question <= MEMORY if remember is None else remember
        self.ledger = Ledger(
            MEMORY if self.remembers else None, f"{n_paths} paths, depth {depth}, width {width}"
        )
        self._sizes = depth, n_paths, width
        self._question_bytes = question
        self._stores: dict[str, Store] = {}
        self._spent: list[tuple[str, int, int]] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise CouplingError(
            "a lazy draw cannot be copied or sent to another process: it would be asked other "
            "questions there and become another draw. Draw where it is used, or draw with "
            "lazy=False."
        )

    def for_one_call(self) -> "LazyDraw":
        """Return another draw of the same sizes that keeps nothing and serves a single call."""
        depth, n_paths, width = self._sizes
        return LazyDraw(
            depth=depth,
            n_paths=n_paths,
            width=width,
            dtype=self.dtype,
            device=self.device,
            remember=False,
        )

    def spend(self, role: str, first: int, count: int) -> None:
        """Raise `CouplingError` if a draw that remembers nothing is asked about paths again."""
        stop = first + count
        with self._lock:
            again = any(
                known == role and start < stop and first < end for known, start, end in self._spent
            )
            self._spent.append((role, first, stop))
        if again:
            raise CouplingError(
                "this lazy draw serves a single call and was asked before: remembering one "
                f"question per layer ({self.ledger.description}) takes "
                f"{self._question_bytes / 2**30:.2g} GiB of the {MEMORY / 2**30:g} GiB that a draw "
                "may use, and without memory a second call would see other matrices. Ask "
                "everything in one call (several inputs, net.tangent, convergence_study(..., "
                "lazy=True)), draw again for independent matrices, or draw fewer paths or a "
                "smaller depth."
            )

    def store(self, role: str) -> Store:
        """Return what is known of the matrices of a role, for a draw that remembers."""
        with self._lock:
            if role not in self._stores:
                depth, n_paths, width = self._sizes
                self._stores[role] = Store(
                    self.ledger,
                    depth=depth,
                    n_paths=n_paths,
                    width=width,
                    dtype=self.dtype,
                    device=self.device,
                )
            return self._stores[role]


@dataclass(frozen=True)
class LazySource:
    """Where the normals of a lazy draw come from, and the layers they belong to.

    Parameters
    ----------
    stream : Stream
        Where the numbers come from.
    width, depth : int
        Size of the matrices and number of layers.
    role : str
        ``"outer"`` or ``"inner"``.
    draw : LazyDraw
        What was asked so far.
    """

    stream: Stream
    width: int
    depth: int
    role: str
    draw: LazyDraw
    reading: Literal["sum", "point"] = "sum"

    @property
    def name(self) -> str:
        """Identify the draw."""
        return f"{self.stream.label}:{self.draw.token}"

    @property
    def scale(self) -> float:
        """Standard deviation of the entries, 1 / sqrt(width * depth)."""
        return 1 / math.sqrt(self.width * self.depth)

    @property
    def slab_layers(self) -> int:
        """Layers whose normals are drawn at once."""
        return max(1, _NORMALS_PER_PATH // self.width)

    @property
    def bytes_per_path(self) -> int:
        """A few slabs of normals, each for one question."""
        return _HELD_PER_NORMAL * self.slab_layers * self.width

    def normals(self) -> SlabNormals:
        """Return the normals of the questions, without what was asked so far."""
        return SlabNormals(
            self.stream,
            self.width,
            self.depth,
            self.scale,
            self.slab_layers,
            self.draw.dtype,
            self.draw.device,
        )

    def open(self, first_path: int, n_paths: int, device: torch.device | None = None) -> NoReturn:
        """Raise: there are no matrices to read."""
        raise LimitsError(
            "the increments of a lazy draw are not held as matrices; they answer mv and rmv. "
            "Draw with lazy=False to read sample.increments or to use torchsde."
        )

    def layers(self, first_path: int, n_paths: int, *, backwards: bool) -> Iterator[LazyIncrement]:
        """Yield the layers of a range of paths, first or last one first."""
        store = None
        if self.draw.remembers:
            store = self.draw.store(self.role)
        else:
            self.draw.spend(self.role, first_path, n_paths)
        paths, order = LazyRange(self.normals(), first_path, n_paths, store), range(self.depth)
        try:
            for layer in reversed(order) if backwards else order:
                yield LazyIncrement([paths.matrix(layer)])
        finally:
            paths.close()
