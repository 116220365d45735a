"""Limits in law, dH = c Sigma(H)^(1/2) dB + drift, for one or several inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from limits._typing import State
from limits.activations import ACTIVATIONS
from limits.closed_forms.fractional import rough_relu_rates
from limits.equations.kernels import arc_cosine, gaussian_kernel, gaussian_magnitude
from limits.exceptions import NoLimitError
from limits.kernels.isotropic import IsotropicLaw
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES
from limits.networks.blocks import Block, Inner, Outer, block_label, reflects
from limits.networks.resnet import ResNet
from limits.paths import WeightPath

__all__ = ["Isotropic", "isotropic_of", "root"]

_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Isotropic:
    """dH^a = c / sqrt(width) sum_b R_ab(H) dB^b - c^2 `decay` H^a dt, R R^T = `gram`(H).

    Parameters
    ----------
    gram : callable
        E<g(h^a), g(h^b)>, from ``(path, input, width)`` to ``(path, input, input)``.
    magnitude : callable
        (E|g(h)|^2)^(1/2) of every input alone, from ``(path, input, width)`` to
        ``(path, input, 1)``: the root of `gram` for one input, without its matrix products.
    coefficient : float
        The c.
    width : int
        Size d of the hidden state.
    decay : float
        Rate of a linear drift towards zero.
    most_inputs : int or None
        How many inputs have a known joint law; None for any number.
    reflected : bool
        Whether states are reflected at the boundary of the orthant.
    coded : IsotropicLaw or None
        The Gram matrix as kernels know it, where they do; without what is said above.
    """

    gram: Callable[[State], Tensor]
    magnitude: Callable[[State], Tensor]
    coefficient: float
    width: int
    decay: float = 0.0
    most_inputs: int | None = None
    reflected: bool = False
    coded: IsotropicLaw | None = None

    @property
    def law(self) -> IsotropicLaw | None:
        """The whole equation as kernels know it, where they do."""
        rate = self.decay * self.coefficient**2
        if self.coded is None:
            return None
        return replace(self.coded, scale=self.scale, decay=rate, reflected=self.reflected)

    @property
    def scale(self) -> float:
        """The c / sqrt(width) in front of the diffusion."""
        return self.coefficient / math.sqrt(self.width)

    def diffuse(self, h: State, noise: State) -> State:
        """Return c / sqrt(width) R(h) noise."""
        if h.shape[1] == 1:
            return self.magnitude(h) * noise * self.scale
        return root(self.gram(h)) @ noise * self.scale

    def drift(self, h: State) -> State:
        """Return the drift per unit of layer time."""
        return h * (-self.decay * self.coefficient**2)

    def step(self, h: State, noise: State, duration: float, *, out: State | None = None) -> State:
        """Return h after one Euler step, h + drift duration + c / sqrt(width) R(h) noise.

        Projected onto the orthant where the limit is reflected.

        Parameters
        ----------
        h : Tensor
            States, shape ``(path, input, width)``.
        noise : Tensor
            dB of variance `duration`, of the shape of `h`.
        duration : float
            Length of the step in layer time.
        out : Tensor, optional
            Where to put the result, `h` itself allowed; ignored where autograd records.
        """
        kept = 1 - self.decay * self.coefficient**2 * duration
        if h.shape[1] == 1:
            factor, driver = self.magnitude(h), noise
        else:
            factor, driver = h.new_ones(()), root(self.gram(h)) @ noise
        # An activation with parameters of its own is recorded too, and what is must stay.
        recorded = any(each.requires_grad for each in (h, factor, driver))
        out = None if recorded and torch.is_grad_enabled() else out
        moved = torch.mul(h, kept, out=out) if self.decay else h
        moved = torch.addcmul(moved, factor, driver, value=self.scale, out=out)
        return torch.clamp_min(moved, 0, out=out) if self.reflected else moved


def isotropic_of(net: ResNet, path: WeightPath) -> Isotropic:
    """Return the isotropic limit of a network.

    Raises
    ------
    NoLimitError
        If its coefficient is not known in closed form.
    """
    block = net.vector_field
    if path.family == "antipersistent":
        if not (isinstance(block, Inner) and block.rectifies):
            raise NoLimitError(
                f"the coefficient of the limit at H = {path.index:g} < 1/2 is known for relu "
                'without bias only. Use block="res-3", or simulate the network.'
            )
        strength, decay = rough_relu_rates(path.index, path.width)

        return Isotropic(
            partial(_rough, strength),
            partial(_rough_size, strength),
            net.coefficient,
            path.width,
            decay,
            most_inputs=1,
            coded=IsotropicLaw("identity", strength),
        )
    if not block.has_inner:
        return Isotropic(
            partial(_outer, block),
            partial(_outer_size, block),
            net.coefficient,
            path.width,
            reflected=reflects(block),
            coded=_coded(block),
        )
    if not isinstance(block, Inner):
        raise NoLimitError(
            f"E<g(h^a), g(h^b)> over the inner weights of {block_label(block)} is not known. "
            "Use res-2 or res-3, or simulate the network."
        )
    kernel = partial(gaussian_kernel, block)
    if path.family == "iid" and not block.rectifies:
        raise NoLimitError(
            f"E|s(W h + b)|^2 under {path.label} weights has no closed form for "
            f"{block.activation.name}. Use BrownianPath, or relu."
        )
    return Isotropic(
        arc_cosine_of if block.rectifies else kernel,
        _arc_cosine_size if block.rectifies else partial(gaussian_magnitude, block),
        net.coefficient,
        path.width,
        most_inputs=1 if path.family == "iid" else None,
        coded=IsotropicLaw("identity", 0.5, arc_cosine=True) if block.rectifies else None,
    )


# Functions of their own, with what they depend on, so that an equation can travel.
def _rough(strength: float, h: State) -> Tensor:
    return strength * (h @ h.mT)


def _rough_size(strength: float, h: State) -> Tensor:
    return math.sqrt(strength) * _norm(h)


def _outer(block: Block, h: State) -> Tensor:
    values = block.field(h, None)
    return values @ values.mT


def _outer_size(block: Block, h: State) -> Tensor:
    return _norm(block.field(h, None))


def _coded(block: Block) -> IsotropicLaw | None:
    """Return the law of a block without inner weights; kernels know activations by name."""
    if reflects(block):
        return IsotropicLaw("identity")
    if not isinstance(block, Outer):
        return None
    for name in ACTIVATION_CODES:
        if block.activation is ACTIVATIONS[name]:
            return IsotropicLaw(name)
    return None


def arc_cosine_of(h: State) -> Tensor:
    """Return the arc-cosine kernel of the inputs."""
    return arc_cosine(h @ h.mT)


def _arc_cosine_size(h: State) -> Tensor:
    return math.sqrt(0.5) * _norm(h)


def _norm(h: State) -> Tensor:
    return torch.linalg.vector_norm(h, dim=-1, keepdim=True)


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
