"""Gram-Schmidt for a batch of nearly dependent vectors, one at a time, without a data shape."""

import torch
from torch import Tensor

__all__ = ["RANK_TOLERANCE", "combined", "norms", "orthogonalised", "products"]

RANK_TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6}
"""A vector of which less than this share is new adds no direction."""

_ENOUGH = 0.5
"""A projection that leaves more than this share of a vector leaves it orthogonal to rounding."""


def orthogonalised(
    vector: Tensor, size: Tensor, known: Tensor
) -> tuple[Tensor, Tensor, Tensor, bool]:
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
        Orthonormal or zero rows, ``(path, row, width)``.

    Returns
    -------
    tuple
        Coefficients ``(path, row, 1)`` of the known directions; the new direction, of norm one,
        or zero where the rank tolerance finds none; its coefficient ``(path, 1, 1)``; and
        whether any path has a new one.

    References
    ----------
    Daniel, Gragg, Kaufman, Stewart, "Reorthogonalization and stable algorithms for updating the
    Gram-Schmidt QR factorization", Math. Comp. 30 (1976): why twice is enough.

    Examples
    --------
    >>> known = torch.eye(3, dtype=torch.float64)[None, :1]
    >>> vector = torch.tensor([[[1.0, 0.0, 1e-9]]], dtype=torch.float64)
    >>> parts, direction, rest, found = orthogonalised(vector, norms(vector), known)
    >>> parts.flatten(), direction.flatten(), rest.flatten(), found
    (tensor([1.], dtype=torch.float64), tensor([0., 0., 1.], dtype=torch.float64),
     tensor([1.0000e-09], dtype=torch.float64), True)
    """
    least = size * RANK_TOLERANCE[vector.dtype]
    coefficients = products(known, vector)
    rest = vector - combined(known, coefficients)
    left = norms(rest)
    again = (left < _ENOUGH * size) & (left > least)
    if bool(again.any()):
        more = products(known, rest) * again
        coefficients = coefficients + more
        rest = rest - combined(known, more)
        left = norms(rest)
    spent = left <= least
    # Division by infinity gives the zero row of a path on which nothing is new.
    direction = rest / left.masked_fill(spent, torch.inf)
    return coefficients, direction, left.masked_fill(spent, 0.0), not bool(spent.all())


def norms(vectors: Tensor) -> Tensor:
    """Return Euclidean norms whose squares neither overflow nor vanish in single precision."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float64)
    return norm.to(vectors.dtype)


def products(rows: Tensor, vector: Tensor) -> Tensor:
    """Return inner products of ``(path, row, width)`` with ``(path, 1, width)``."""
    return (rows * vector).sum(dim=-1, keepdim=True)


def combined(rows: Tensor, coefficients: Tensor) -> Tensor:
    """Return the sum of rows with coefficients ``(path, row, 1)``, ``(path, 1, width)``."""
    product = rows * coefficients
    return product if product.shape[1] == 1 else product.sum(dim=1, keepdim=True)
