"""The driving noise of a limit in law: one Brownian motion per input."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limits._typing import State, TimeUnit
from limits.checks import (
    check_choice,
    check_count,
    check_dtype,
    check_seed,
    checked_device,
    is_count,
)
from limits.exceptions import DepthMismatchError
from limits.parallel import check_wanted, ranges_of, shares
from limits.paths.sources import IndependentSource
from limits.randomness import Stream
from limits.scalars import plain_numbers

if TYPE_CHECKING:
    from limits.paths.torchsde_noise import GridBrownian

__all__ = ["NoiseSample"]

_NORMALS_PER_PATH = 2**12
"""A quarter of what weights draw at once: a step reads only `width` of them, so that a slab soon
leaves the cache."""

_CHUNK_ENTRIES = 2**16
"""Entries of the states that advance together; smaller ones are many short operations, whose
threads would only wait in turns."""

_SMALL_ENTRIES = 2**15


@plain_numbers
@dataclass(frozen=True, eq=False)
class NoiseSample:
    """Draws of standard Brownian motions B in R^width, an independent one for every input.

    Make one with ``limit.sample(...)`` of a law form. The first inputs see the same noise
    whatever the number of inputs.

    Parameters
    ----------
    label : str
        Names the limit the noise belongs to.
    width : int
        Size d of the hidden state.
    depth : int
        Number of steps at which this object is read.
    n_paths, seed, dtype, device
        As given to ``limit.sample``.
    drawn_depth : int
        Number of steps at which the numbers were drawn, a multiple of `depth`.
    """

    label: str
    width: int
    depth: int
    n_paths: int
    seed: int
    dtype: torch.dtype
    device: torch.device
    drawn_depth: int

    @classmethod
    def drawn(
        cls,
        *,
        label: str,
        width: int,
        depth: int,
        n_paths: int,
        seed: int,
        dtype: torch.dtype,
        device: str | torch.device,
    ) -> "NoiseSample":
        """Return a draw of noise that is read at the depth at which it is drawn.

        Raises
        ------
        ShapeError, LimitsError, DTypeError
            If `depth` or `n_paths` is not a positive integer, `seed` not a non-negative one, or
            `dtype` or `device` cannot be used.
        """
        check_count(depth, "depth")
        check_count(n_paths, "n_paths")
        check_seed(seed)
        check_dtype(dtype)
        place = checked_device(device)
        return cls(label, width, depth, n_paths, seed, dtype, place, drawn_depth=depth)

    @property
    def tag(self) -> str:
        """Short name of the draw, the same at every depth it is read at."""
        return hashlib.sha256(self.source().name.encode()).hexdigest()[:8]

    def at_depth(self, depth: int) -> "NoiseSample":
        """Return the same noise on a coarser grid whose size divides the drawn one."""
        if not is_count(depth) or self.drawn_depth % depth:
            raise DepthMismatchError(
                f"cannot read noise drawn with {self.drawn_depth} steps with {depth} steps, "
                f"because {depth} does not divide {self.drawn_depth}. Sample at a multiple of "
                "every number of steps you compare."
            )
        return replace(self, depth=depth)

    def source(self, n_inputs: int = 1) -> IndependentSource:
        """Return the numbers behind the noise, ``(input, width)`` of unit variance a drawn step."""
        name = f"{self.label}/width={self.width}/depth={self.drawn_depth}/noise"
        return IndependentSource(
            Stream(self.seed, name),
            (n_inputs, self.width),
            self.drawn_depth,
            1 / math.sqrt(self.drawn_depth),
            Stream.normals,
            normals_per_path=_NORMALS_PER_PATH,
        )

    def chunks(self, chunk: int | None = None) -> list[tuple[int, int]]:
        """Split the paths into (first, count) ranges, as `limits.parallel.ranges_of` does."""
        return ranges_of(self.n_paths, _CHUNK_ENTRIES // self.width if chunk is None else chunk)

    def shares(self) -> list[tuple[int, int]]:
        """Split the paths as `chunks` does, in even shares for the threads torch may use."""
        small = self.device.type != "cpu" or self.n_paths * self.width < _SMALL_ENTRIES
        return shares(self.chunks(), small=small)

    def steps(self, *, first_path: int, n_paths: int, n_inputs: int) -> Iterator[State]:
        """Yield the increments dB of variance 1 / depth, shape ``(path, input, width)``."""
        source = self.source(n_inputs)
        reader = source.open(first_path, n_paths, self.device)
        ratio = self.drawn_depth // self.depth
        total, count = None, 0
        for part in range(-(-self.drawn_depth // source.slab_layers)):
            slab = reader.slab(part)
            single = self.dtype == slab.dtype
            if single:  # one pass over the slab instead of one copy a step
                slab.mul_(source.scale)
            for layer in slab.unbind(1):
                check_wanted()
                fine = layer if single else layer.to(self.dtype) * source.scale
                total, count = fine if total is None else total + fine, count + 1
                if count == ratio:
                    yield total
                    total, count = None, 0

    def as_torchsde(self, *, n_inputs: int = 1, unit: TimeUnit = "time") -> "GridBrownian":
        """Return the noise for ``torchsde.sdeint(..., bm=...)``, channels ``input * width``."""
        check_count(n_inputs, "n_inputs")
        check_choice(unit, "unit", TimeUnit)
        from limits.paths.torchsde_noise import GridBrownian

        return GridBrownian(
            [self.source(n_inputs)],
            depth=self.depth,
            n_paths=self.n_paths,
            first_path=0,
            dtype=self.dtype,
            device=self.device,
            unit=unit,
        )

    def increments(self, *, n_inputs: int = 1) -> Tensor:
        """Return all increments dB, shape ``(layer, path, input, width)``."""
        check_count(n_inputs, "n_inputs")
        return torch.stack(list(self.steps(first_path=0, n_paths=self.n_paths, n_inputs=n_inputs)))
