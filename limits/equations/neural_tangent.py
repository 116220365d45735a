"""The neural tangent kernel of a two-layer block, averaged over Gaussian neurons."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits.activations import Activation

__all__ = ["TangentKernel"]

_NODES = 33
_REACH = 5.5


@dataclass(frozen=True)
class TangentKernel:
    """Theta(g, h) = eta_v K_0 + eta_u sigma_v^2 <g, h> K_1.

    K_0 = E[s(p) s(q)] and K_1 = E[s'(p) s'(q)] for p = u . g and q = u . h with
    u ~ N(0, sigma_u^2): v moves along the first, u along the second.

    Parameters
    ----------
    activation : Activation
        The s, three times differentiable.
    sigma_u, sigma_v : float
        Spread of the neurons.
    eta_u, eta_v : float
        Learning rates.

    Examples
    --------
    >>> from limits.activations import as_activation
    >>> kernel = TangentKernel(as_activation("identity"), 1.0, 1.0, 1.0, 1.0)
    >>> g, h = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[3.0, 1.0]]).double()
    >>> bool(torch.isclose(kernel.values(g, h), torch.tensor(10.0).double()))
    True
    """

    activation: Activation
    sigma_u: float
    sigma_v: float
    eta_u: float
    eta_v: float

    def values(self, past: Tensor, now: Tensor) -> Tensor:
        """Return Theta of all pairs, shape ``(..., past, now)``."""
        products, p, q, weights = self._pairs(past, now)
        s, slope = self.activation.value, self.activation.derivative
        return self.eta_v * _mean(s(p), s(q), weights) + self._inner * products * _mean(
            slope(p), slope(q), weights
        )

    def slopes(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of Theta with respect to <g, h> and to <h, h> / 2.

        The gradient in h is the first times g plus the second times h. Integration by parts
        moves them onto the activation, so that equal states are no special case.
        """
        products, p, q, weights = self._pairs(past, now)
        s0, s1, s2, _ = _derivatives(self.activation, p)
        _, r1, r2, r3 = _derivatives(self.activation, q)
        variance = self.sigma_u**2
        first = _mean(s1, r1, weights)
        along = (self.eta_v * variance + self._inner) * first
        along = along + self._inner * variance * products * _mean(s2, r2, weights)
        own = self.eta_v * variance * _mean(s0, r2, weights)
        own = own + self._inner * variance * products * _mean(s1, r3, weights)
        return along, own

    @property
    def _inner(self) -> float:
        return self.eta_u * self.sigma_v**2

    def _pairs(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return <g, h>, and p and q on the nodes of a quadrature in two variables."""
        nodes, weights = _trapezoid(now)
        products = past @ now.mT
        own = past.square().sum(-1).sqrt().unsqueeze(-1)
        along = products / own.clamp_min(1e-150)
        across = (now.square().sum(-1).unsqueeze(-2) - along.square()).clamp_min(0).sqrt()
        p = self.sigma_u * own.unsqueeze(-1).unsqueeze(-1) * nodes.unsqueeze(-1)
        q = self.sigma_u * (
            along[..., None, None] * nodes.unsqueeze(-1) + across[..., None, None] * nodes
        )
        return products, p, q, weights


def _trapezoid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the standard normal law.

    Equidistant nodes: their error is exponential in the number, that of Gauss-Hermite in its
    root only, because tanh has poles.
    """
    nodes = torch.linspace(-_REACH, _REACH, _NODES, dtype=like.dtype, device=like.device)
    weights = torch.exp(-nodes.square() / 2)
    return nodes, weights / weights.sum()


def _mean(of_past: Tensor, of_now: Tensor, weights: Tensor) -> Tensor:
    """Return E[of_past of_now]; the first varies along one variable, the second along both."""
    inner = (of_now @ weights) * of_past.squeeze(-1)
    return inner @ weights


def _derivatives(activation: Activation, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return s, s', s'' and s''' entry by entry."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        first = activation.derivative(point)
        second = _entrywise(first, point)
        third = _entrywise(second, point)
        value = activation.value(point)
    return value.detach(), first.detach(), second.detach(), third.detach()


def _entrywise(values: Tensor, point: Tensor) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(point)
    (slope,) = torch.autograd.grad(values.sum(), point, create_graph=True)
    return slope
