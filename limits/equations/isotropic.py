"""The limit in law of i.i.d. weights, dH = c Sigma(H)^(1/2) dB, for one or several inputs."""

import math

import torch
from torch import Tensor

from limits._typing import State
from limits.networks.blocks import Pointwise
from limits.networks.resnet import ResNet

__all__ = ["arc_cosine", "gram", "root"]

_RANK_TOLERANCE = 1e-12


def gram(net: ResNet, h: State) -> Tensor:
    """Return E<g(h^a), g(h^b)>, shape ``(path, input, input)``.

    res-1: the inner products of s(h). res-3: the arc-cosine kernel of relu.
    """
    block = net.vector_field
    if isinstance(block, Pointwise):
        values = block.field(h, None)
        return values @ values.mT
    return arc_cosine(h @ h.mT)


def arc_cosine(products: Tensor) -> Tensor:
    """Return E<relu(W a), relu(W b)> from the inner products of the inputs.

    |a||b| (sin f + (pi - f) cos f) / (2 pi) for Gaussian W of variance 1 / width, f the angle
    between a and b; |a|^2 / 2 on the diagonal.

    Examples
    --------
    >>> arc_cosine(torch.eye(2, dtype=torch.float64)).diagonal()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    norms = products.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = norms.unsqueeze(-1) * norms.unsqueeze(-2)
    cosine = (products / scale.clamp_min(torch.finfo(products.dtype).tiny)).clamp(-1, 1)
    angle = torch.acos(cosine)
    kernel = scale * (torch.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
    diagonal = torch.diag_embed(norms.square() / 2)
    off = 1 - torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
    return kernel * off + diagonal


def root(matrix: Tensor) -> Tensor:
    """Return a lower triangular R with R R^T = `matrix`, singular matrices included.

    Triangular, so that an input's noise does not depend on which inputs follow it; parallel
    inputs give a singular matrix, where a pivot that vanishes is left out.

    Examples
    --------
    >>> root(torch.ones(1, 2, 2))
    tensor([[[1., 0.],
             [1., 0.]]])
    """
    if matrix.shape[-1] == 1:
        return matrix.clamp_min(0).sqrt()
    size = matrix.shape[-1]
    floor = _RANK_TOLERANCE * matrix.diagonal(dim1=-2, dim2=-1)
    columns: list[Tensor] = []
    rest = matrix
    for j in range(size):
        pivot = rest[..., j, j]
        usable = pivot > floor[..., j]
        safe = torch.where(usable, pivot, torch.ones_like(pivot)).sqrt()
        column = torch.where(usable.unsqueeze(-1), rest[..., :, j] / safe.unsqueeze(-1), 0.0)
        below = (torch.arange(size, device=matrix.device) >= j).to(matrix.dtype)
        column = column * below
        columns.append(column)
        rest = rest - column.unsqueeze(-1) * column.unsqueeze(-2)
    return torch.stack(columns, dim=-1)
