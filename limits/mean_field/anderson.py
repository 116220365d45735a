"""Anderson's acceleration of fixed-point iterations, many systems side by side."""

import torch
from torch import Tensor

__all__ = ["Anderson"]

# Relative to the squares of the differences: below it they are noise of rounding.
_RIDGE = 1e-13


class Anderson:
    """Mixes the last few iterates of x = g(x), so that iterations converge faster, or at all.

    Parameters
    ----------
    memory : int
        Differences of iterates that are kept.

    References
    ----------
    Walker and Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49
    (2011).

    Examples
    --------
    >>> mix, x = Anderson(2), torch.ones(1, 2, dtype=torch.float64)
    >>> matrix = torch.tensor([[0.0, -2.0], [1.0, 0.5]], dtype=torch.float64)
    >>> for _ in range(5):
    ...     x = mix(x, x @ matrix.mT)
    >>> bool(x.abs().max() < 1e-6)
    True
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._last: tuple[Tensor, Tensor] | None = None
        self._steps: list[tuple[Tensor, Tensor]] = []

    def __call__(self, point: Tensor, image: Tensor) -> Tensor:
        """Return the next points, given g(point) = image, both ``(system, unknown)``."""
        residual = image - point
        if self._last is not None:
            self._steps.append((residual - self._last[0], image - self._last[1]))
            del self._steps[: -self._memory]
        self._last = (residual, image)
        if not self._steps:
            return image
        moved = torch.stack([step[0] for step in self._steps], dim=1)
        images = torch.stack([step[1] for step in self._steps], dim=1)
        gram = moved @ moved.mT
        diagonal = torch.diagonal(gram, dim1=1, dim2=2)
        # The sum keeps systems solvable that have converged to the last bit.
        diagonal.add_(_RIDGE * diagonal.sum(dim=1, keepdim=True) + torch.finfo(gram.dtype).tiny)
        weights = torch.linalg.solve(gram, moved @ residual.unsqueeze(2))
        return image - (images * weights).sum(dim=1)
