"""Users' callables on whole vectors of paths: no path's numbers depend on how many are beside it.

Vector loops of torch and their remainders may round differently. A callable that acts entry by
entry is served by `limits.activations.Shielded`; one that acts on whole states has its batch of
paths filled up with copies of the first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["beside_copies"]

_LANES = 64


def beside_copies(
    function: Callable[..., Any], *states: Tensor, products: Any = None, needed: bool = False
) -> Any:
    """Return what a function of states ``(path, ...)`` gives for them, computed beside copies.

    It is handed tensors of its own, and may act in place.

    Parameters
    ----------
    function : callable
        Of `states`, and of `products` if they are needed.
    states : Tensor
        As many paths each.
    products : object
        With ``mv`` and ``rmv`` of the paths given, or None.
    needed : bool
        Whether the function takes `products`.

    Returns
    -------
    object
        The rows of the paths given, of a tensor with a row a path; anything else as it came.

    Examples
    --------
    >>> beside_copies(lambda h: h.mul_(2), torch.ones(3, 1)).shape
    torch.Size([3, 1])
    """
    count = len(states[0])
    missing = -count % _LANES
    filled = [_filled(each, missing) for each in states]
    more = [products and _Beside(products, count)] if needed else []
    value = function(*filled, *more)
    whole = isinstance(value, Tensor) and value.shape[:1] == (count + missing,)
    return value[:count] if whole else value


@dataclass(frozen=True)
class _Beside:
    """Products with the matrices of the first paths only; the others are copies of the first."""

    products: Any
    count: int

    def mv(self, u: Tensor) -> Tensor:
        """Return the products of every row."""
        return _filled(self.products.mv(u[: self.count]), len(u) - self.count)

    def rmv(self, p: Tensor) -> Tensor:
        """Return the products with the transposed matrices."""
        return _filled(self.products.rmv(p[: self.count]), len(p) - self.count)


def _filled(rows: Tensor, missing: int) -> Tensor:
    """Return a copy with so many copies of the first row behind."""
    return torch.cat((rows, rows[:1].expand(missing, *rows.shape[1:])))
