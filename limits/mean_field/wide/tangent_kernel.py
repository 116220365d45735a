"""The neural tangent kernel of a two-layer block, averaged over Gaussian neurons."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.activations import Activation
from limits.exceptions import LimitsError, SolverError
from limits.gaussian import trapezoid
from limits.modes import recording

__all__ = ["TangentKernel", "check_smooth"]

_REACH = 5.5
# Steps in p and q. Poles of tanh at distance pi/2 leave exp(-pi^2 / step), 2e-11, times what three
# derivatives add: 1e-5 of a slope.
_STEP = 0.4
_FEWEST = 33
_MOST = 513
# Nodes of all pairs that are evaluated together; slopes hold about ten arrays of this length.
_TOGETHER = 2**19

_Factors = tuple[tuple[Tensor, Tensor], ...]


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
        """Return Theta of all pairs, shape ``(..., past, now)``.

        Raises
        ------
        SolverError
            If states are too large for the quadrature. Lower the learning rate, the inputs or
            sigma_u.
        """
        s, slope = self.activation.value, self.activation.derivative
        products, (first, second) = self._means(
            past, now, lambda p, q: ((s(p), s(q)), (slope(p), slope(q)))
        )
        return self.eta_v * first + self._inner * products * second

    def slopes(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of Theta with respect to <g, h> and to <h, h> / 2.

        The gradient in h is the first times g plus the second times h. Integration by parts
        moves them onto the activation, so that equal states are no special case. Raises as
        `values` does.
        """

        def factors(p: Tensor, q: Tensor) -> _Factors:
            s0, s1, s2, _ = _derivatives(self.activation, p)
            _, r1, r2, r3 = _derivatives(self.activation, q)
            return (s1, r1), (s2, r2), (s0, r2), (s1, r3)

        products, (first, second, outer, inner) = self._means(past, now, factors)
        variance = self.sigma_u**2
        along = (self.eta_v * variance + self._inner) * first
        along = along + self._inner * variance * products * second
        own = self.eta_v * variance * outer + self._inner * variance * products * inner
        return along, own

    @property
    def _inner(self) -> float:
        return self.eta_u * self.sigma_v**2

    def _means(
        self, past: Tensor, now: Tensor, factors: Callable[[Tensor, Tensor], _Factors]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return <g, h> and, for each pair of factors, the mean of their product."""
        products = past @ now.mT
        own = past.square().sum(-1).sqrt().unsqueeze(-1)
        along = products / own.clamp_min(1e-150)
        across = (now.square().sum(-1).unsqueeze(-2) - along.square()).clamp_min(0).sqrt()
        nodes, weights = self._trapezoid(past, now)
        size = max(1, _TOGETHER // len(nodes) ** 2)
        parts = [
            # The first variable alone makes p, both make q.
            [
                ((of_now @ weights) * of_past.squeeze(-1)) @ weights
                for of_past, of_now in factors(
                    (lengths[:, None] * nodes).unsqueeze(-1),
                    ahead[:, None, None] * nodes.unsqueeze(-1) + aside[:, None, None] * nodes,
                )
            ]
            for lengths, ahead, aside in zip(
                *(
                    (self.sigma_u * each).expand_as(products).reshape(-1).split(size)
                    for each in (own, along, across)
                ),
                strict=True,
            )
        ]
        return products, [torch.cat(each).view_as(products) for each in zip(*parts, strict=True)]

    def _trapezoid(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        """Return nodes and weights of the standard normal law, close enough for these states."""
        lengths = [float(each.detach().norm(dim=-1).max()) for each in (past, now) if each.numel()]
        count, spread = _FEWEST, self.sigma_u * max(lengths)
        if self.activation.name != "identity":
            wanted = 2 * _REACH * spread / _STEP
            if not wanted < _MOST:
                raise SolverError(
                    f"states of size {max(lengths):.3g} give pre-activations of spread "
                    f"{spread:.3g}, and their averages take {wanted:.0f} nodes where {_MOST} are "
                    "allowed. The training has probably diverged: lower the learning rate; or "
                    "lower the inputs or sigma_u."
                )
            # In jumps, so that small changes of the states keep the rule.
            count = max(_FEWEST, 16 * math.ceil(wanted / 16) + 1)
        return trapezoid(_REACH, count, now.dtype, now.device)


def check_smooth(activation: Activation) -> None:
    """Raise if an activation is piecewise linear: its second derivative is no function.

    Raises
    ------
    LimitsError
        If it has kinks. Use "tanh" or "gelu".
    """
    points = torch.linspace(-3, 3, 61, dtype=torch.float64, device="cpu")
    _, first, second, _ = _derivatives(activation, points)
    if float(second.abs().max()) == 0 and float(first.max() - first.min()) > 0:
        raise LimitsError(
            f"the tangent kernel's equations differentiate the activation three times, and "
            f'{activation.name} has kinks. Use "tanh" or "gelu".'
        )


@recording
def _derivatives(activation: Activation, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return s, s', s'' and s''' entry by entry."""
    # A copy: what inference mode has made cannot be differentiated.
    point = x.detach().clone().requires_grad_()
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
