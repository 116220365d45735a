"""The standard normal law: its density, its distribution, and two rules for averages under it.

Take `hermite` for polynomials and functions that are smooth on the scale of one standard
deviation. Take `trapezoid` where they are not, such as an activation that saturates under a large
radius or has poles close by: its error falls exponentially in the number of nodes, that of
Gauss-Hermite with the root of the number.
"""

import math

import numpy as np
import torch
from torch import Tensor

from limits.modes import kept

__all__ = ["density", "distribution", "hermite", "trapezoid"]

_HERMITE_NODES = 64


def density(x: Tensor) -> Tensor:
    """Return exp(-x^2 / 2) / sqrt(2 pi), entry by entry.

    Examples
    --------
    >>> float(density(torch.tensor(0.0, dtype=torch.float64)))
    0.398942
    """
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def distribution(x: Tensor) -> Tensor:
    """Return P(Z <= x), entry by entry.

    By erf, which rounds every entry of a tensor alike: a number does not depend on how many are
    computed with it.

    Examples
    --------
    >>> float(distribution(torch.tensor(0.0)))
    0.5
    """
    return (1 + torch.erf(x * math.sqrt(0.5))) / 2


@kept(8)
def hermite(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return 64 Gauss-Hermite nodes and weights, exact for polynomials of degree 127.

    Examples
    --------
    >>> nodes, weights = hermite(torch.float64, torch.device("cpu"))
    >>> round(float((weights * nodes**2).sum()), 12)
    1.0
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_HERMITE_NODES)
    weights /= weights.sum()
    return (
        torch.as_tensor(nodes, dtype=dtype, device=device),
        torch.as_tensor(weights, dtype=dtype, device=device),
    )


@kept(8)
def trapezoid(
    reach: float, count: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return `count` equidistant nodes from -`reach` to `reach`, weights that sum to one.

    Examples
    --------
    >>> nodes, weights = trapezoid(9.0, 721, torch.float64, torch.device("cpu"))
    >>> round(float((weights * torch.cos(nodes)).sum() - math.exp(-0.5)), 12)
    0.0
    """
    nodes = torch.linspace(-reach, reach, count, dtype=torch.float64, device="cpu")
    weights = torch.exp(-nodes.square() / 2)
    return nodes.to(device, dtype), (weights / weights.sum()).to(device, dtype)
