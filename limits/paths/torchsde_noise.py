"""A drawn path as the Brownian motion that torchsde asks for."""

import math

import torch
from torch import Tensor
from torchsde import BaseBrownian

from limits._typing import TimeUnit
from limits.exceptions import SolverError
from limits.paths.sources import Source

__all__ = ["GridBrownian"]

_OFF_GRID = 0.05


class GridBrownian(BaseBrownian):
    """Increments of a standard Brownian motion that is known on a grid.

    torchsde asks for increments between two times; here both must be grid points, up to the
    rounding that torchsde's own clock accumulates. ``unit="time"`` means t in [0, 1],
    ``unit="layer"`` t in [0, depth] with increments of unit variance per step.

    Parameters
    ----------
    sources : list of Source
        One for each group of channels.
    depth : int
        Depth L of the grid, a divisor of the drawn depth.
    n_paths, first_path : int
        Batch size and number of the first path.

    Attributes
    ----------
    steps : int
        How many increments were asked for since the object was made.
    """

    def __init__(
        self,
        sources: list[Source],
        *,
        depth: int,
        n_paths: int,
        first_path: int,
        dtype: torch.dtype,
        device: torch.device,
        unit: TimeUnit,
    ) -> None:
        self.steps = 0
        self._sources = sources
        self._readers = [source.open(first_path, n_paths, device) for source in sources]
        self._drawn_depth = sources[0].depth
        self._fine_per_unit = self._drawn_depth / (depth if unit == "layer" else 1)
        # Sources serve unit variance per drawn layer; a standard motion wants it per unit of t.
        self._scale = 1 / math.sqrt(self._fine_per_unit)
        self._held: tuple[int, list[Tensor]] | None = None
        self._dtype = dtype
        self._device = device
        channels = sum(reader.slab(0)[0, 0].numel() for reader in self._readers)
        self._shape = torch.Size((n_paths, channels))

    def __call__(
        self,
        ta: float | Tensor,
        tb: float | Tensor | None = None,
        return_U: bool = False,
        return_A: bool = False,
    ) -> Tensor:
        """Return B(tb) - B(ta), shape ``(path, channel)``."""
        if tb is None or return_U or return_A:
            raise SolverError(
                "a path known on a grid has increments only, no values of B or Levy areas. Use "
                'torchsde.sdeint(..., method="euler").'
            )
        start, stop = self._index(ta), self._index(tb)
        if start > stop:
            raise SolverError(
                f"increments run forward in time, asked for the one from {float(ta):g} to "
                f"{float(tb):g}. Swap the times and change the sign."
            )
        self.steps += 1
        total = torch.zeros(self._shape, dtype=self._dtype, device=self._device)
        for fine in range(start, stop):
            total += self._layer(fine)
        return total * self._scale

    def __repr__(self) -> str:
        return f"GridBrownian(shape={tuple(self._shape)}, grid={self._drawn_depth})"

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the increments."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where the increments live."""
        return self._device

    @property
    def shape(self) -> torch.Size:
        """``(path, channel)``."""
        return self._shape

    @property
    def levy_area_approximation(self) -> str:
        """No Lévy areas."""
        return "none"

    def _index(self, t: float | Tensor) -> int:
        position = float(t) * self._fine_per_unit
        index = round(position) if math.isfinite(position) else -1
        if abs(position - index) > _OFF_GRID or not 0 <= index <= self._drawn_depth:
            raise SolverError(
                f"torchsde asked for the path at t={float(t):g}, which is {position:.3f} layers "
                f"into a path drawn with {self._drawn_depth}. Pass dt as a multiple of "
                f"{1 / self._fine_per_unit:g}, with adaptive=False."
            )
        return index

    def _layer(self, fine: int) -> Tensor:
        part, offset = divmod(fine, self._sources[0].slab_layers)
        if self._held is None or self._held[0] != part:
            self._held = part, [reader.slab(part) for reader in self._readers]
        flat = [slab[:, offset].flatten(1).to(self._device, self._dtype) for slab in self._held[1]]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)
