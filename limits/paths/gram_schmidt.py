"""Gram-Schmidt for a batch of nearly dependent vectors, whose ranks may differ.

Rows come first, ``(row, path, 1, width)``: a row is then contiguous, and sums over rows are made
one row after the other, so that a zero row more or less changes no bit.
"""

import torch
from torch import Tensor

__all__ = ["RANK_TOLERANCE", "Split", "combined", "norms", "products", "reduced", "split"]

RANK_TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6}
"""A vector of which less than this share is new adds no direction."""

_ENOUGH = 0.1
"""What a projection leaves is orthogonal to rounding, divided by its share of the vector: above
this share that is good enough."""

Split = tuple[Tensor, Tensor, Tensor, bool]


def split(vector: Tensor, size: Tensor, known: Tensor) -> Split:
    """Split a vector into known orthonormal directions and a new one.

    Where the first pass leaves little, rounding leaves parts along the known directions in it,
    and a second pass removes them. A path takes part in the second pass or not by its own
    numbers, so that they do not depend on the company.

    Parameters
    ----------
    vector : Tensor
        Shape ``(path, 1, width)``.
    size : Tensor
        Its norm, ``(path, 1, 1)``.
    known : Tensor
        Orthonormal or zero rows, ``(row, path, 1, width)``.

    Returns
    -------
    tuple
        Coefficients ``(row, path, 1, 1)`` of the known directions; the new direction, of norm
        one, or zero where less than the rank tolerance is new; its coefficient ``(path, 1, 1)``;
        and whether any path has a new one.

    References
    ----------
    Daniel, Gragg, Kaufman, Stewart, "Reorthogonalization and stable algorithms for updating the
    Gram-Schmidt QR factorization", Math. Comp. 30 (1976): why twice is enough.

    Examples
    --------
    >>> known = torch.eye(3, dtype=torch.float64)[:1, None, None]
    >>> vector = torch.tensor([[[1.0, 0.0, 1e-9]]], dtype=torch.float64)
    >>> parts, direction, rest, found = split(vector, norms(vector), known)
    >>> parts.tolist(), direction.tolist(), rest.tolist(), found
    ([[[[1.0]]]], [[[0.0, 0.0, 1.0]]], [[[1e-09]]], True)
    """
    tolerance = RANK_TOLERANCE[vector.dtype]
    parts = products(known, vector)
    rest = reduced(vector, known, parts)
    left = norms(rest)
    share = left / size
    least, most = (float(bound) for bound in torch.aminmax(share))
    if least >= _ENOUGH:
        return parts, rest / left, left, True
    if most <= tolerance:
        return parts, torch.zeros_like(vector), torch.zeros_like(left), False
    again = (share < _ENOUGH) & (share > tolerance)
    more = products(known, rest) * again
    rest = reduced(rest, known, more)
    left = norms(rest)
    spent = left <= size * tolerance
    # Division by infinity gives the zero row of a path on which nothing is new.
    direction = rest / left.masked_fill(spent, torch.inf)
    return parts + more, direction, left.masked_fill(spent, 0.0), True


def norms(vectors: Tensor) -> Tensor:
    """Return Euclidean norms whose squares neither overflow nor vanish in single precision."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float64)
    return norm.to(vectors.dtype)


def products(rows: Tensor, vector: Tensor) -> Tensor:
    """Return inner products of every row with a vector, ``(row, path, 1, 1)``."""
    return (rows * vector).sum(dim=-1, keepdim=True)


def combined(rows: Tensor, coefficients: Tensor) -> Tensor:
    """Return the sum of rows with coefficients ``(row, path, 1, 1)``, ``(path, 1, width)``."""
    (row, *rows_left), (coefficient, *others) = rows.unbind(), coefficients.unbind()
    total = row * coefficient
    for row, coefficient in zip(rows_left, others, strict=True):
        total.addcmul_(row, coefficient)
    return total


def reduced(vector: Tensor, rows: Tensor, coefficients: Tensor) -> Tensor:
    """Return the vector less its parts along the rows."""
    (row, *rows_left), (coefficient, *others) = rows.unbind(), coefficients.unbind()
    vector = torch.addcmul(vector, row, coefficient, value=-1)
    for row, coefficient in zip(rows_left, others, strict=True):
        vector.addcmul_(row, coefficient, value=-1)
    return vector
