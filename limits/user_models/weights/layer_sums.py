"""What the regularity of weights is read off: sums over their entries, a part at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LayerStack", "LayerSums", "TensorStack", "blocks_of", "slope_over"]

_LARGEST_BLOCK = 16
# Parts of this many numbers stay in a processor's cache, whatever the size of a layer.
_PART = 2**18
_MOST_UNITS = 1024


class LayerStack(Protocol):
    """One weight of every layer, wherever it is kept."""

    @property
    def depth(self) -> int:
        """Number of layers."""
        ...

    @property
    def entries(self) -> int:
        """Number of entries of one layer."""
        ...

    @property
    def wide(self) -> bool:
        """Whether squares of the numbers may leave float64, as those of float64 may."""
        ...

    def parts(self, size: int) -> Iterator[Tensor]:
        """Yield all entries in order, parts of shape ``(layer, entry)`` of about `size` numbers."""
        ...


@dataclass(frozen=True)
class TensorStack:
    """A stack in memory.

    Parameters
    ----------
    weights : Tensor
        Shape ``(layer, ...)``, any real dtype, on any device.
    """

    weights: Tensor

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.weights)

    @property
    def entries(self) -> int:
        """Number of entries of one layer."""
        return self.weights[0].numel()

    @property
    def wide(self) -> bool:
        """Whether squares of the numbers may leave float64."""
        return self.weights.dtype == torch.float64

    def parts(self, size: int) -> Iterator[Tensor]:
        """Yield all entries in order, parts of shape ``(layer, entry)``."""
        flat = self.weights.detach().flatten(1) if self.weights.ndim > 1 else self.weights[:, None]
        yield from flat.split(max(1, size // self.depth), dim=1)


def blocks_of(depth: int) -> list[int]:
    """Return over how many layers second differences of the sums are taken.

    Examples
    --------
    >>> blocks_of(6), blocks_of(64)
    ([1, 2], [1, 2, 4, 8])
    """
    most = max(2, min(depth // 8, _LARGEST_BLOCK))
    return [2**i for i in range(_LARGEST_BLOCK.bit_length()) if 2**i <= most]


def slope_over(blocks: list[int]) -> NDArray[np.float64]:
    """Return what maps values at lags n to their slope in log n, each weighted by 1 / sqrt(n).

    Examples
    --------
    >>> float(slope_over([1, 2, 4]) @ np.log([3.0, 6.0, 12.0]))
    1.0
    """
    x, weights = np.log(blocks), np.sqrt(1 / np.array(blocks))
    functional = weights * (x - (weights * x).sum() / weights.sum())
    return functional / (functional * x).sum()


class LayerSums:
    """Sums over all entries of what regularity needs, in memory of a few parts.

    Second differences of X_k = V_0 + ... + V_(k-1) over n layers are squared and summed over k
    for every unit of the bootstrap, which is an entry, or as many neighbours as leave 1024 units.

    Parameters
    ----------
    stack : LayerStack
        The weights.

    Examples
    --------
    >>> sums = LayerSums(TensorStack(torch.arange(12.0).reshape(6, 2)))
    >>> float(sums.squares.sum()), sums.units.shape, sums.n_bad
    (506.0, (2, 2), 0)
    """

    def __init__(self, stack: LayerStack) -> None:
        self.depth, self.entries = stack.depth, stack.entries
        self.blocks = blocks_of(self.depth)
        self.n_units = min(self.entries, _MOST_UNITS)
        self.squares = np.zeros(self.depth)
        self.variation = self.last = 0.0
        self.detrended = np.zeros(self.depth + 1)
        self.units = np.zeros((len(self.blocks), self.n_units))
        # Of single layers one after the other, over all entries.
        self.positions = np.zeros(self.depth - 1)
        self.n_bad = 0
        self.unit = _unit_of(stack) if stack.wide else 1.0
        self._work: tuple[NDArray[np.float64], ...] = ()
        begin = 0
        for part in stack.parts(_PART):
            self._add(part, begin)
            begin += part.shape[1]

    def _add(self, part: Tensor, begin: int) -> None:
        size = part.shape[1]
        if not self._work or self._work[0].shape[1] != size:
            # Memory that is asked for anew for every part would cost as much as the sums.
            self._work = tuple(np.empty((self.depth + 1, size)) for _ in range(3))
        sums, entries, spare = self._work[0], self._work[1][1:], self._work[2]
        torch.from_numpy(entries).copy_(part)
        if self.unit != 1:
            entries /= self.unit
        squares = _over_entries(entries)
        if not np.isfinite(squares).all():
            self.n_bad += part.numel() - int(torch.isfinite(part).sum())
            return
        self.squares += squares
        self.variation += float(_over_entries(np.subtract(
            entries[1:], entries[:-1], out=spare[: self.depth - 1]
        )).sum())  # fmt: skip
        sums[0] = 0
        np.cumsum(entries, axis=0, out=sums[1:])
        self.last += float(sums[-1] @ sums[-1])
        np.multiply(np.linspace(0, 1, self.depth + 1)[:, None], sums[-1], out=spare)
        self.detrended += _over_entries(np.subtract(sums, spare, out=spare))
        self._add_differences(begin)

    def _add_differences(self, begin: int) -> None:
        sums, second, first = self._work
        unit = (begin + np.arange(sums.shape[1])) * self.n_units // self.entries
        starts = np.flatnonzero(np.diff(unit, prepend=-1))
        for row, n in enumerate(self.blocks):
            steps = np.subtract(sums[n:], sums[:-n], out=first[: self.depth + 1 - n])
            count = self.depth + 1 - 2 * n
            found = np.subtract(steps[n:], steps[:-n], out=second[:count])
            if n == 1:
                self.positions += _over_entries(found)
            of_entries = np.square(found, out=found).sum(axis=0) / count
            self.units[row, unit[starts]] += np.add.reduceat(of_entries, starts)


def _over_entries(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("ke,ke->k", values, values)


def _unit_of(stack: LayerStack) -> float:
    """Return a power of two near the largest number, so that squares stay within float64."""
    largest = 0.0
    for part in stack.parts(_PART):
        low, high = torch.aminmax(part)
        largest = max(largest, -float(low), float(high))
    return float(2.0 ** np.clip(np.frexp(largest)[1], -1000, 1000)) if largest < np.inf else 1.0
