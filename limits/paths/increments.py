"""What drives one layer: linear operators that are asked for products, never for entries."""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch.nn.functional import pad

from limits._typing import Matrices, State
from limits.modes import keeps_dtypes

__all__ = ["DenseIncrement", "Increment", "Layer"]

_ALIGNMENT = 16


class Increment(Protocol):
    """An increment dX_k of a weight path, one matrix per path, known by its products.

    `mv` maps u to dX_k u and `rmv` maps p to dX_k^T p, both of shape ``(path, input, width)``
    for every path at once. Increments of consecutive layers add up to the coarser increment.
    """

    def mv(self, u: State) -> State:
        """Return dX u."""
        ...

    def rmv(self, p: State) -> State:
        """Return dX^T p."""
        ...

    def scaled(self, factor: float) -> Self:
        """Return the operator ``factor * dX``."""
        ...

    def plus(self, other: Self, *, owned: bool) -> Self:
        """Return the sum; `owned` allows the storage of ``self`` to be reused for it."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class DenseIncrement:
    """An increment that holds its matrices.

    Parameters
    ----------
    matrices : Tensor
        Shape ``(path, width, width)``, transposed: ``matrices[path, j, i]`` times `scale` is
        dX[i, j]. A row vector times a row-major matrix is the fast order for small widths.
    scale : float
        Common factor, kept apart because scaling a vector is cheaper than scaling a matrix.
    """

    matrices: Matrices
    scale: float

    def mv(self, u: State) -> State:
        """Return dX u."""
        return _products(u, self.matrices) * self.scale

    def rmv(self, p: State) -> State:
        """Return dX^T p."""
        return _products(p, self.matrices, transposed=True) * self.scale

    def scaled(self, factor: float) -> "DenseIncrement":
        """Return the operator ``factor * dX``."""
        return DenseIncrement(self.matrices, self.scale * factor)

    def plus(self, other: "DenseIncrement", *, owned: bool) -> "DenseIncrement":
        """Return the sum of two increments of equal scale."""
        if owned:
            self.matrices.add_(other.matrices)
            return self
        return DenseIncrement(self.matrices + other.matrices, self.scale)


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """One layer of one depth, ready to be applied.

    Parameters
    ----------
    depth, index : int
        The network's depth L and the layer's number k in 0 ... L - 1.
    increment : Increment
        dX_k.
    inner : Increment or None
        Order-one inner weights W_k of blocks that have them, from an independent path.
    """

    depth: int
    index: int
    increment: Increment
    inner: Increment | None


@keeps_dtypes
def _products(rows: State, matrices: Matrices, *, transposed: bool = False) -> State:
    """Return a path's row vectors times its matrix, the same bits wherever they are in memory.

    A library of products takes another way, which rounds otherwise, from where a matrix does not
    begin at a multiple of sixteen bytes: in company, at odd widths. Zeros fill these up.
    """
    missing = -rows.shape[-1] % (_ALIGNMENT // rows.element_size())
    if missing:
        rows, matrices = pad(rows, (0, missing)), pad(matrices, (0, missing, 0, missing))
    products = torch.bmm(rows, matrices.mT if transposed else matrices)
    return products[..., :-missing] if missing else products
