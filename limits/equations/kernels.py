"""Gaussian expectations over inner weights."""

import math

import torch
from torch import Tensor

from limits._typing import State
from limits.gaussian import hermite
from limits.networks.blocks import Inner

__all__ = ["arc_cosine", "gaussian_kernel", "gaussian_magnitude"]


def arc_cosine(products: Tensor) -> Tensor:
    """Return E<relu(W a), relu(W b)> from the inner products of the inputs.

    |a||b| (sin f + (pi - f) cos f) / (2 pi) for Gaussian W of variance 1 / width, f the angle
    between a and b; |a|^2 / 2 on the diagonal.

    References
    ----------
    Cho and Saul, "Kernel methods for deep learning", NeurIPS 2009 (degree one).

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


def gaussian_kernel(block: Inner, h: State) -> Tensor:
    """Return E<s(W h^a + b), s(W h^b + b)> for Gaussian W, by Gauss-Hermite quadrature.

    Accurate to rounding for smooth activations of moderate inputs.
    """
    width = h.shape[-1]
    products = h @ h.mT / width
    nodes, weights = hermite(h.dtype, h.device)
    size = products.shape[-1]
    rows = []
    for a in range(size):
        entries = [_pair(block, products, a, b, nodes, weights) for b in range(size)]
        rows.append(torch.stack(entries, dim=-1))
    return torch.stack(rows, dim=-2) * width


def gaussian_magnitude(block: Inner, h: State) -> Tensor:
    """Return (E|s(W h + b)|^2)^(1/2) for Gaussian W, ``(path, input, 1)``.

    The square root of the diagonal of `gaussian_kernel`, with one quadrature instead of two.
    """
    nodes, weights = hermite(h.dtype, h.device)
    width = h.shape[-1]
    spread = torch.linalg.vector_norm(h, dim=-1, keepdim=True) / math.sqrt(width)
    squares = block.activation.value(spread * nodes + block.bias).square()
    return (width * (squares * weights).sum(dim=-1, keepdim=True)).sqrt()


def _pair(block: Inner, products: Tensor, a: int, b: int, nodes: Tensor, weights: Tensor) -> Tensor:
    """E s(x + bias) s(y + bias) for centred Gaussians with the covariance of inputs a and b."""
    first = products[..., a, a].clamp_min(0).sqrt()
    safe = first.clamp_min(torch.finfo(first.dtype).tiny)
    slope = products[..., a, b] / safe
    rest = (products[..., b, b] - slope.square()).clamp_min(0).sqrt()
    x = first[..., None] * nodes
    y = slope[..., None, None] * nodes[:, None] + rest[..., None, None] * nodes
    outer = block.activation.value(x + block.bias) * weights
    inner = (block.activation.value(y + block.bias) * weights).sum(dim=-1)
    return (outer * inner).sum(dim=-1)
