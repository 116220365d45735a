"""Gauss-Legendre collocation on [0, 1]: nodes, weights and integrals of their polynomials."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from limits.checks import checked_array
from limits.modes import kept

__all__ = ["Collocation", "gauss_collocation"]


@dataclass(frozen=True)
class Collocation:
    """Nodes s_j and what turns values at the nodes into integrals of their interpolant.

    Parameters
    ----------
    nodes, weights : Tensor
        Shape ``(node,)``, float64. The weights integrate over [0, 1].
    matrix : Tensor
        Integrals from 0 to node i of the polynomial that is one at node j, ``(node, node)``.
    """

    nodes: Tensor
    weights: Tensor
    matrix: Tensor

    def integrals(self, times: ArrayLike) -> Tensor:
        """Return integrals from 0 to each time, shape ``(time, node)``."""
        found = _integrals(checked_array(times, "times"), len(self.nodes))
        return torch.from_numpy(found)


@kept(32)
def gauss_collocation(count: int) -> Collocation:
    """Return the scheme of Gauss-Legendre nodes, of order 2 * count at s = 1.

    References
    ----------
    Hairer, Lubich, Wanner, *Geometric Numerical Integration* (2006), Section II.1.3.

    Examples
    --------
    >>> scheme = gauss_collocation(2)
    >>> scheme.nodes
    tensor([0.2113, 0.7887], dtype=torch.float64)
    >>> round(float(scheme.weights @ scheme.nodes**3), 12)
    0.25
    """
    points, weights = legendre.leggauss(count)
    nodes = (points + 1) / 2
    matrix = _integrals(nodes, count)
    return Collocation(*map(torch.from_numpy, (nodes, weights / 2, matrix)))


def _integrals(times: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    points, weights = legendre.leggauss(count)
    degrees = np.arange(count)
    # Values at Gauss nodes to coefficients: the Legendre polynomials are orthogonal there.
    coefficients = (legendre.legvander(points, count - 1) * weights[:, None]).T
    coefficients *= (2 * degrees[:, None] + 1) / 2
    at = legendre.legvander(2 * times - 1, count)
    primitive = np.empty((len(times), count))
    primitive[:, 0] = times
    primitive[:, 1:] = (at[:, 2:] - at[:, :-2]) / (2 * (2 * degrees[1:] + 1))
    return primitive @ coefficients
