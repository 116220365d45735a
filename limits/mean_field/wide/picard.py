"""Differential equations in layer time, solved at all nodes at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from limits.checks import check_count
from limits.exceptions import SolverError
from limits.mean_field.anderson import Anderson

__all__ = ["Picard"]

_SWEEPS = 200
_MEMORY = 6


@dataclass(frozen=True)
class Picard:
    """Picard's iteration on Chebyshev nodes of [0, 1], with Anderson's acceleration.

    The right-hand side is asked at the nodes only, and for all of them together. That suits
    equations whose right-hand side is an average over particles that live at fixed layer times:
    a method of steps would need particles at every stage.

    Parameters
    ----------
    nodes : int
        Number of nodes, both ends among them; the error falls faster than any power of it for
        solutions that are analytic in layer time.
    tolerance : float
        Iterate until no entry moves by more than so many times the largest.

    References
    ----------
    Trefethen, *Approximation Theory and Approximation Practice* (2013), Chapter 8; Walker and
    Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 49 (2011).

    Examples
    --------
    >>> start = torch.ones(1, dtype=torch.float64)
    >>> solution = Picard(12).forward(lambda h: h, start.expand(12, 1))
    >>> bool(abs(solution[-1] - torch.e) < 1e-9)
    True
    """

    nodes: int
    tolerance: float = 1e-11

    def __post_init__(self) -> None:
        check_count(self.nodes, "nodes")
        if self.nodes < 2:
            raise SolverError("the iteration needs its two ends, found nodes=1. Use at least 2.")

    @property
    def times(self) -> Tensor:
        """Layer times of the nodes, from 0 to 1, float64."""
        return torch.from_numpy(_rule(self.nodes)[0].copy())

    @property
    def weights(self) -> Tensor:
        """Weights of the integral over [0, 1] of a function known at the nodes."""
        return torch.from_numpy(_rule(self.nodes)[1][-1].copy())

    def forward(self, slope: Callable[[Tensor], Tensor], guess: Tensor) -> Tensor:
        """Solve dh/ds = slope(h) from h(0) = ``guess[0]``; first axis: node."""
        return self._solve(slope, guess, guess[:1], torch.from_numpy(_rule(self.nodes)[1]))

    def backward(self, slope: Callable[[Tensor], Tensor], guess: Tensor) -> Tensor:
        """Solve db/ds = slope(b) from b(1) = ``guess[-1]``; first axis: node."""
        integral = torch.from_numpy(_rule(self.nodes)[1])
        return self._solve(slope, guess, guess[-1:], integral - integral[-1:])

    def _solve(
        self, slope: Callable[[Tensor], Tensor], guess: Tensor, end: Tensor, integral: Tensor
    ) -> Tensor:
        integral, found, moved = integral.to(guess), guess, float("inf")
        # Plain iteration diverges where the right-hand side is steep, as late in a training.
        mix = Anderson(_MEMORY)
        for _ in range(_SWEEPS):
            swept = end + torch.tensordot(integral, slope(found), dims=1)
            moved = float((swept - found).abs().max())
            if moved <= self.tolerance * max(float(swept.abs().max()), 1e-300):
                return swept
            if not moved < 1e100:
                break
            found = mix(found.reshape(1, -1), swept.reshape(1, -1)).view_as(swept)
        raise SolverError(
            f"the iteration in layer time still moves by {moved:.1e} after {_SWEEPS} sweeps or "
            f"overflowed, with {self.nodes} nodes. The training step has probably diverged: lower "
            "the learning rate."
        )


@lru_cache(maxsize=32)
def _rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes on [0, 1] and the matrix of integrals from 0 to each of them."""
    points = -np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    points[0], points[-1] = -1.0, 1.0
    coefficients = np.linalg.inv(chebyshev.chebvander(points, nodes - 1))
    primitives = np.stack([chebyshev.chebint(row, lbnd=-1) for row in coefficients.T], axis=1)
    return (points + 1) / 2, chebyshev.chebvander(points, nodes) @ primitives / 2
