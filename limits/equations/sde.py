"""SDE limits as objects that torchsde can integrate."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.checks import check_real
from limits.equations.isotropic import Isotropic
from limits.modes import keeps_dtypes
from limits.networks.resnet import ResNet
from limits.paths import DenseIncrement

__all__ = ["IsotropicSDE", "MatrixSDE"]


@dataclass(eq=False)
class MatrixSDE:
    """dH = c dX g(H), X = B / sqrt(width), for a standard Brownian motion B of width^2 channels.

    Every input of a path shares the matrix noise, so the noise type is general: of torchsde's
    Itô methods only ``euler`` applies. Pass ``bm=`` to ``sdeint``; the diffusion tensor is
    never formed.

    Parameters
    ----------
    net : ResNet
        Gives g and c.
    width : int
        Size d of the hidden state.
    duration : float
        Length of torchsde's time interval: 1, or the depth when time is counted in layers.
    """

    net: ResNet
    width: int
    duration: float = 1.0

    noise_type = "general"
    sde_type = "ito"

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift, zero."""
        return torch.zeros_like(y)

    @keeps_dtypes
    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the diffusion applied to `v`, shape ``(path, input * width)``."""
        check_real(y, "y")
        scale = self.net.coefficient / math.sqrt(self.width * self.duration)
        increment = DenseIncrement(v.unflatten(1, (self.width, self.width)), scale)
        h = y.unflatten(1, (-1, self.width))
        return increment.mv(self.net.vector_field.field(h, None)).flatten(1)


@dataclass(eq=False)
class IsotropicSDE:
    """A limit in law, dH^a = c / sqrt(width) sum_b R_ab(H) dB^b + drift.

    Not torchsde's "diagonal" noise: every component of R depends on all of H.

    Parameters
    ----------
    equation : Isotropic
        Diffusion and drift.
    duration : float
        As in `MatrixSDE`.
    """

    equation: Isotropic
    duration: float = 1.0

    noise_type = "general"
    sde_type = "ito"

    @keeps_dtypes
    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift, shape ``(path, input * width)``."""
        h = y.unflatten(1, (-1, self.equation.width))
        return (self.equation.drift(h) / self.duration).flatten(1)

    @keeps_dtypes
    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the diffusion applied to `v`, shape ``(path, input * width)``."""
        check_real(y, "y")
        h, noise = (each.unflatten(1, (-1, self.equation.width)) for each in (y, v))
        return (self.equation.diffuse(h, noise) / math.sqrt(self.duration)).flatten(1)
