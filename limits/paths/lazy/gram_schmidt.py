"""Gram-Schmidt for a batch of nearly dependent vectors, whose ranks may differ.

Rows come first, ``(row, path, 1, width)``: a row is then contiguous, and sums over rows are made
one row after the other, so that a zero row more or less changes no bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ENOUGH", "RANK_TOLERANCE", "Split", "combined", "norms", "products", "reduced", "split"]

RANK_TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6}
"""A vector of which less than this share is new adds no direction."""

ENOUGH = 0.1
"""What a projection leaves is orthogonal to rounding, divided by its share of the vector: above
this share that is good enough."""

_SMALLEST, _LARGEST = 1e-12, 1e12
"""Between these a norm in single precision is as good as any: squares that vanish do not count."""

Split = tuple[Sequence[Tensor], Tensor | None, Tensor]


def split(vector: Tensor, size: Tensor, rows: Sequence[Tensor], stack: Tensor) -> Split:
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
    rows : sequence of Tensor
        Known directions, orthonormal or zero, each ``(path, 1, width)``.
    stack : Tensor
        The same, stacked, ``(row, path, 1, width)``; of a single row also the row itself.

    Returns
    -------
    tuple
        Coefficients of the known directions, each ``(path, 1, 1)``; the new direction, of norm
        one, zero on paths where less than the rank tolerance is new, or None where that is so
        on all paths; and its coefficient ``(path, 1, 1)``.

    References
    ----------
    Daniel, Gragg, Kaufman, Stewart, "Reorthogonalization and stable algorithms for updating the
    Gram-Schmidt QR factorization", Math. Comp. 30 (1976): why twice is enough.

    Examples
    --------
    >>> known = torch.eye(3, dtype=torch.float64)[:1, None]
    >>> vector = torch.tensor([[[1.0, 0.0, 1e-9]]], dtype=torch.float64)
    >>> (part,), direction, rest = split(vector, norms(vector), [known], known)
    >>> part.tolist(), direction.tolist(), rest.tolist()
    ([[[1.0]]], [[[0.0, 0.0, 1.0]]], [[[1e-09]]])
    """
    tolerance = RANK_TOLERANCE[vector.dtype]
    parts = products(stack, vector)
    rest = reduced(vector, rows, parts)
    left = norms(rest)
    share = left / size
    least, most = (bound.item() for bound in torch.aminmax(share))
    if least >= ENOUGH:
        return parts, rest.div_(left), left
    if most <= tolerance:
        return parts, None, left
    again = (share < ENOUGH) & (share > tolerance)
    more = [part * again for part in products(stack, rest)]
    rest = reduced(rest, rows, more)
    left = norms(rest)
    spent = left <= size * tolerance
    parts = [part + other for part, other in zip(parts, more, strict=True)]
    # Division by infinity gives the zero row of a path on which nothing is new.
    return parts, rest.div_(left.masked_fill(spent, torch.inf)), left.masked_fill(spent, 0.0)


def norms(vectors: Tensor) -> Tensor:
    """Return Euclidean norms whose squares neither overflow nor vanish in single precision."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if vectors.dtype == torch.float64:
        return norm
    least, most = (bound.item() for bound in torch.aminmax(norm))
    if least > _SMALLEST and most < _LARGEST:
        return norm
    exact = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True, dtype=torch.float64)
    # By a path's own number, so that its norm does not depend on the company.
    return torch.where((norm > _SMALLEST) & (norm < _LARGEST), norm, exact.to(norm.dtype))


def products(stack: Tensor, vector: Tensor) -> Sequence[Tensor]:
    """Return inner products of every row of a stack with a vector, each ``(path, 1, 1)``."""
    found = (stack * vector).sum(dim=-1, keepdim=True)
    return found.unbind() if found.ndim > 3 else (found,)


def combined(rows: Sequence[Tensor], coefficients: Sequence[Tensor]) -> Tensor:
    """Return the sum of rows with coefficients ``(path, 1, 1)``, ``(path, 1, width)``."""
    total = rows[0] * coefficients[0]
    for row, coefficient in zip(rows[1:], coefficients[1:], strict=True):
        total.addcmul_(row, coefficient)
    return total


def reduced(vector: Tensor, rows: Sequence[Tensor], coefficients: Sequence[Tensor]) -> Tensor:
    """Return the vector less its parts along the rows."""
    vector = torch.addcmul(vector, rows[0], coefficients[0], value=-1)
    for row, coefficient in zip(rows[1:], coefficients[1:], strict=True):
        vector.addcmul_(row, coefficient, value=-1)
    return vector
