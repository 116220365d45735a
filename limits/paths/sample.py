"""A batch of draws of a weight path, read by networks and solvers at any depth."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from limits._typing import TimeUnit
from limits.checks import check_choice, check_count, is_count
from limits.exceptions import CouplingError, DepthMismatchError, ShapeError
from limits.parallel import ranges_of, shares
from limits.paths.increments import Layer
from limits.paths.lazy.draw import LazyDraw, LazySource
from limits.paths.reading import Reading, coupled_layers
from limits.paths.sources import Source
from limits.paths.stacking import stacked_increments
from limits.scalars import plain_numbers

if TYPE_CHECKING:
    from limits.paths.base import WeightPath
    from limits.paths.torchsde_noise import GridBrownian

__all__ = ["WeightSample"]

_MATRIX_ENTRIES = 2**18
_CHUNK_BYTES = 2**27
_ON_A_DEVICE = 2**8
_SMALL_LAZY_ENTRIES, _SMALL_DENSE_ENTRIES = 2**15, 2**17
_ENTRIES_OF_A_CALL = 200
"""Entries of a matrix that take as long as to begin its product."""


@plain_numbers
@dataclass(frozen=True, eq=False)
class WeightSample:
    """Draws X(omega) of a weight path; make one with ``path.sample(...)``.

    Parameters
    ----------
    path : WeightPath
        The law.
    depth : int
        Depth L at which this object reads the draw.
    n_paths, seed, dtype, device
        As given to ``path.sample``.
    role : str
        ``"outer"``, or ``"inner"`` for the independent path of inner weights.
    drawn_depth : int
        Depth at which the numbers were drawn, a multiple of `depth`.
    first_path : int
        Number of the first path; not zero for a part of a draw.
    lazy : LazyDraw or None
        What a lazy draw was asked so far, shared by all its views; None for a dense draw.
    """

    path: "WeightPath"
    depth: int
    n_paths: int
    seed: int
    dtype: torch.dtype
    device: torch.device
    role: Literal["outer", "inner"]
    drawn_depth: int
    first_path: int = 0
    lazy: LazyDraw | None = None

    @property
    def width(self) -> int:
        """Size d of the hidden state."""
        return self.path.width

    @cached_property
    def source(self) -> Source:
        """The numbers behind the draw."""
        if self.lazy is not None:
            role = f"{self.role}/lazy"
            stream = self.path.stream(seed=self.seed, role=role, depth=self.drawn_depth)
            return LazySource(stream, self.width, self.drawn_depth, self.role, self.lazy)
        return self.path.source(depth=self.drawn_depth, seed=self.seed, role=self.role)

    @property
    def tag(self) -> str:
        """Short name of the draw, the same at every depth it is read at."""
        digest = hashlib.sha256(self.source.name.encode()).hexdigest()[:8]
        return f"{digest}+{self.first_path}" if self.first_path else digest

    @property
    def serves_once(self) -> bool:
        """Whether this is a lazy draw that keeps nothing, and can be asked in one call only."""
        return self.lazy is not None and not self.lazy.remembers

    @cached_property
    def inner(self) -> "WeightSample":
        """An independent path of the same law, for blocks with inner weights."""
        return replace(self, role="inner")

    def at_depth(self, depth: int) -> "WeightSample":
        """Return the same draw as a network of another depth reads it.

        Parameters
        ----------
        depth : int
            A divisor of the depth at which the path was drawn.

        Raises
        ------
        DepthMismatchError
            If `depth` does not divide the drawn depth. Sample at a common multiple of all the
            depths that are to be compared.

        Examples
        --------
        >>> import limits
        >>> sample = limits.BrownianPath(2).sample(depth=8, n_paths=16, seed=0)
        >>> coarse = sample.at_depth(4).increments
        >>> bool(torch.allclose(coarse[0], sample.increments[:2].sum(0)))
        True
        """
        self.check_depths((depth,))
        return replace(self, depth=depth)

    def part(self, first: int, count: int) -> "WeightSample":
        """Return a range of the paths, with the numbers they have in the whole draw.

        Parameters
        ----------
        first : int
            Counted from this sample's first path.
        count : int
            Number of paths.
        """
        numbers = is_count(first, least=0) and is_count(count)
        if not numbers or first + count > self.n_paths:
            raise ShapeError(
                f"cannot take {count!r} paths from number {first!r} on: there are {self.n_paths}. "
                "Pass integers, first >= 0 and count >= 1, that end there at most."
            )
        return replace(self, first_path=self.first_path + first, n_paths=count)

    def check_depths(self, depths: Sequence[int]) -> None:
        """Raise `DepthMismatchError` unless every depth divides the drawn one."""
        for depth in depths:
            if not is_count(depth):
                raise DepthMismatchError(
                    f"cannot read a path at depth {depth!r}: a depth is a positive integer that "
                    f"divides {self.drawn_depth}. Use for example depth={self.drawn_depth}."
                )
            if self.drawn_depth % depth:
                common = math.lcm(self.drawn_depth, depth)
                usable = [d for d in _divisors(self.drawn_depth) if d > 1][-4:]
                raise DepthMismatchError(
                    f"cannot read a path sampled at depth {self.drawn_depth} at depth {depth}, "
                    f"because {depth} does not divide {self.drawn_depth}. Sample at a multiple of "
                    f"every depth you compare, for example depth={common}, or use depths "
                    f"{tuple(usable) or (1,)}."
                )

    def layers(
        self,
        *,
        first_path: int = 0,
        n_paths: int | None = None,
        inner: bool = False,
        backwards: bool = False,
    ) -> Iterator[Layer]:
        """Iterate over the layers of this depth, for a range of paths."""
        return self.coupled(
            (self.depth,), first_path=first_path, n_paths=n_paths, inner=inner, backwards=backwards
        )

    def coupled(
        self,
        depths: Sequence[int],
        *,
        first_path: int = 0,
        n_paths: int | None = None,
        inner: bool = False,
        backwards: bool = False,
    ) -> Iterator[Layer]:
        """Iterate over the layers of several depths in one pass over the draw."""
        self.check_depths(depths)
        reading = replace(
            self._reading,
            inner=self.inner.source if inner else None,
            first_path=self.first_path + first_path,
            n_paths=self.n_paths - first_path if n_paths is None else n_paths,
            backwards=backwards,
        )
        return coupled_layers(reading, depths)

    @property
    def _reading(self) -> Reading:
        return Reading(
            source=self.source,
            index=self.path.index,
            first_path=self.first_path,
            n_paths=self.n_paths,
            dtype=self.dtype,
            device=self.device,
        )

    def chunks(self, chunk: int | None = None) -> list[tuple[int, int]]:
        """Split the paths into (first, count) ranges.

        Parameters
        ----------
        chunk : int, optional
            Paths held in memory at once, rounded up as `limits.parallel.ranges_of` does; by
            default as many as fit the cache. No number depends on it.
        """
        if chunk is None:
            entries = self.width if self.lazy else self.width**2
            chunk = min(_MATRIX_ENTRIES // entries, _CHUNK_BYTES // self.source.bytes_per_path)
            chunk *= 1 if self.device.type == "cpu" else _ON_A_DEVICE
        else:
            check_count(chunk, "chunk")
        return ranges_of(self.n_paths, chunk)

    def shares(self) -> list[tuple[int, int]]:
        """Split the paths as `chunks` does, in even shares for the threads torch may use."""
        entries = self.width**2 + _ENTRIES_OF_A_CALL if self.lazy is None else self.width
        most = _SMALL_DENSE_ENTRIES if self.lazy is None else _SMALL_LAZY_ENTRIES
        small = self.device.type != "cpu" or self.n_paths * entries < most
        return shares(self.chunks(), small=small)

    def as_torchsde(self, *, unit: TimeUnit = "time") -> "GridBrownian":
        """Return the driving Brownian motion for ``torchsde.sdeint(..., bm=...)``.

        Parameters
        ----------
        unit : {"time", "layer"}
            Whether torchsde's time runs over [0, 1], or over [0, depth] with steps of one,
            which rounding cannot spoil. Use the same unit in ``limit.as_torchsde``.

        Returns
        -------
        GridBrownian
            A standard Brownian motion of shape ``(path, width * width)`` known on the grid.

        Raises
        ------
        CouplingError
            If the path is not a Brownian motion.
        """
        check_choice(unit, "unit", TimeUnit)
        if self.path.family != "brownian":
            raise CouplingError(
                f"torchsde needs a Brownian motion, and {self.path.label} weights are none. Use "
                "BrownianPath, or limit.sample(...).as_torchsde() for a limit in law."
            )
        from limits.paths.torchsde_noise import GridBrownian

        return GridBrownian(
            [self.source],
            depth=self.depth,
            n_paths=self.n_paths,
            first_path=self.first_path,
            dtype=self.dtype,
            device=self.device,
            unit=unit,
        )

    @property
    def increments(self) -> Tensor:
        """All increments dX_k, shape ``(layer, path, width, width)``, acting on columns."""
        return stacked_increments(self._reading, self.depth, self.width, self.shares())

    @property
    def layer_weights(self) -> Tensor:
        """Order-one weights V_k = L^index dX_k, shape ``(layer, path, width, width)``."""
        return self.increments.mul_(self.depth**self.path.index)

    def weights_at(self, time: float | Tensor) -> Tensor:
        """Return V(t) of a smooth path.

        Parameters
        ----------
        time : float or Tensor
            Layer time(s) in [0, 1].

        Returns
        -------
        Tensor
            Shape ``(path, width, width)``; ``time`` comes first for a one-dimensional tensor.

        Raises
        ------
        LimitsError
            If the path has no value between its nodes, or `time` lies outside [0, 1].
        """
        return self.path.weights_at(self, time)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0] if number <= 2**20 else [number]
