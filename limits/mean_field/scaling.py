"""The constants of the mean-field parameterisation, which networks share with their limit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict

from torch import Tensor

from limits.activations import Activation, as_activation
from limits.checks import check_choice, check_count, check_positive

__all__ = ["Constants", "Convention", "MeanFieldScaling", "Rule"]

Convention = Literal["residual", "initialisation"]


class Constants(TypedDict, total=False):
    """What `MeanFieldScaling.of` takes beside D, for all who pass it on; each has a default."""

    activation: str | Callable[[Tensor], Tensor] | Activation
    alpha: float
    convention: Convention
    sigma_u: float
    sigma_v: float
    eta_u: float | None
    eta_v: float | None


@dataclass(frozen=True)
class Rule:
    """The constants of forward pass and update.

    Parameters
    ----------
    scale : float
        Factor before the mean over the neurons of all layers.
    rate_u, rate_v : float
        What multiplies (1/D) h s'(p) (v.b) and b s(p) in a step of gradient descent.
    """

    scale: float
    rate_u: float
    rate_v: float


@dataclass(frozen=True)
class MeanFieldScaling:
    """Everything about a mean-field network but its depth and hidden width.

    Parameters
    ----------
    embedding_dim : int
        D.
    activation : Activation
        The s.
    alpha : float
        Richness of training.
    convention : {"residual", "initialisation"}
        What alpha multiplies.
    sigma_u, sigma_v : float
        Spread of the initial weights in units of sqrt(D).
    eta_u, eta_v : float
        Learning rates in units of D.

    Examples
    --------
    >>> MeanFieldScaling.of(4, alpha=2.0, convention="initialisation").rule(1.0)
    Rule(scale=1.0, rate_u=1.0, rate_v=4.0)
    """

    embedding_dim: int
    activation: Activation
    alpha: float
    convention: Convention
    sigma_u: float
    sigma_v: float
    eta_u: float
    eta_v: float

    @classmethod
    def of(
        cls,
        embedding_dim: int,
        *,
        activation: str | Callable[[Tensor], Tensor] | Activation = "tanh",
        alpha: float = 1.0,
        convention: Convention = "residual",
        sigma_u: float = 1.0,
        sigma_v: float = 1.0,
        eta_u: float | None = None,
        eta_v: float | None = None,
    ) -> "MeanFieldScaling":
        """Check the constants and fill in the default learning rates."""
        check_count(embedding_dim, "embedding_dim")
        check_choice(convention, "convention", Convention)
        for name, number in (("alpha", alpha), ("sigma_u", sigma_u), ("sigma_v", sigma_v)):
            check_positive(number, name, 1.0)
        lazy = convention == "initialisation" and alpha > 1
        eta_u = (alpha**-2 if lazy else 1.0) if eta_u is None else eta_u
        eta_v = 1.0 if eta_v is None else eta_v
        for name, rate in (("eta_u", eta_u), ("eta_v", eta_v)):
            if rate != 0:
                check_positive(rate, name, 1.0)
        return cls(
            embedding_dim, as_activation(activation), float(alpha), convention,
            sigma_u=float(sigma_u), sigma_v=float(sigma_v),
            eta_u=float(eta_u), eta_v=float(eta_v),
        )  # fmt: skip

    @property
    def constants(self) -> Constants:
        """All of it but D, as `of` takes it."""
        return Constants(
            activation=self.activation, alpha=self.alpha, convention=self.convention,
            sigma_u=self.sigma_u, sigma_v=self.sigma_v, eta_u=self.eta_u, eta_v=self.eta_v,
        )  # fmt: skip

    @property
    def residual_alpha(self) -> float:
        """What of alpha stands before the blocks."""
        return self.alpha if self.convention == "residual" else 1.0

    @property
    def spreads(self) -> tuple[float, float]:
        """Standard deviations of the initial entries of u and v."""
        root = self.embedding_dim**0.5
        return self.sigma_u * root, self.alpha / self.residual_alpha * self.sigma_v * root

    def rule(self, learning_rate: float) -> Rule:
        """Return the factor of the forward pass and the learning rates of u and v."""
        check_positive(learning_rate, "learning_rate", 1.0)
        rate = learning_rate * self.embedding_dim / self.residual_alpha
        return Rule(self.residual_alpha, self.eta_u * rate, self.eta_v * rate)
