"""Training of mean-field ResNets whose weights hardly move: the neural tangent ODE."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limits._typing import Progress
from limits.activations import Activation, as_activation
from limits.checks import check_count, check_positive, check_progress
from limits.mean_field.wide.exact import follow
from limits.mean_field.wide.picard import Picard
from limits.mean_field.wide.span import LimitDescent, Span
from limits.mean_field.wide.tangent_kernel import TangentKernel, check_smooth
from limits.parallel import Ticker
from limits.scalars import plain_numbers

__all__ = ["LazyLimit"]


@plain_numbers
@dataclass(frozen=True)
class LazyLimit:
    """The limit alpha -> infinity after L, M -> infinity: weights move by O(1/alpha), outputs do.

    dh_k/ds = -(1/N) sum_{j<k} Theta(h_j, h_k) B_j and
    dB_k/ds = (1/N) sum_{j<k} grad_h Theta(h_j, h_k) <B_j, B_k>, the sums over earlier steps and
    their N inputs: the block of every layer is linear in its weights' displacement, and Theta
    is its neural tangent kernel at initialisation. The hidden states move along the depth by
    O(1), so that the training is not that of a linear model; no neuron is left in it, and it is
    solved without sampling. Products are <h, h'> / D.

    It is what `limits.MeanFieldResNet` tends to at large alpha with the rates of the convention
    ``"residual"``, at a distance 1/alpha + 1/L + alpha/(LM)^(1/2).

    Parameters
    ----------
    activation : str or callable
        The s, three times differentiable.
    sigma_u, sigma_v : float
        Spread of the initial weights in units of sqrt(D).
    eta_u, eta_v : float
        Learning rates of u and v in units of D.
    embeddings : bool
        Whether frozen embeddings lead from inputs to hidden states and on to outputs, in the
        limit D -> infinity; without them h_0 is the input, the output is h_L and D its length.
    nodes : int
        Points in layer time.

    Raises
    ------
    LimitsError
        If the activation has kinks, as "relu". Use "tanh" or "gelu".

    Notes
    -----
    The k-th step asks for nodes k N^2 averages over two normal variables, N inputs, on a grid
    of q^2 points; q is 33 and more, in proportion to sigma_u |h| / D^(1/2), 113 at 4. Time is
    proportional to nodes k N^2 q^2; memory is 2^19 points at a time for the grid and, for all
    pairs, a few arrays (node, past, now) of nodes k N^2 numbers.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), Section 3 (lazy limit).

    Examples
    --------
    >>> x, y = torch.tensor([[1.5, 0.0]]), torch.tensor([[1.5, 1.0]])
    >>> out = LazyLimit("tanh").descend(x, y, steps=4)
    >>> bool((out.losses.diff() < 0).all())
    True
    """

    activation: str | Callable[[Tensor], Tensor] | Activation = "tanh"
    sigma_u: float = 1.0
    sigma_v: float = 1.0
    eta_u: float = 1.0
    eta_v: float = 1.0
    embeddings: bool = False
    nodes: int = 8
    _s: Activation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_s", as_activation(self.activation))
        check_smooth(self._s)
        for name in ("sigma_u", "sigma_v", "eta_u", "eta_v"):
            check_positive(getattr(self, name), name, 1.0)

    @torch.no_grad()
    def descend(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        steps: int,
        learning_rate: float = 1.0,
        progress: Progress | None = None,
    ) -> LimitDescent:
        """Follow gradient descent; its k-th step costs k times what the first does.

        Parameters
        ----------
        inputs, targets : Tensor
            Shapes ``(input, feature)`` and ``(input, target)``; equally long without embeddings.
        steps : int
            Gradient steps.
        learning_rate : float
            Factor of both rates.
        progress : callable, optional
            Called as ``progress(done, total, label)``; counts gradient steps.

        Raises
        ------
        ShapeError
            If shapes do not fit each other.
        SolverError
            If the training diverges, or states grow too large for the averages over neurons.
            Lower the learning rate.
        """
        span = Span.of(inputs, targets, embeddings=self.embeddings)
        check_count(steps, "steps")
        check_progress(progress)
        check_positive(learning_rate, "learning_rate", 1.0)
        kernel = TangentKernel(
            self._s, self.sigma_u, self.sigma_v,
            self.eta_u * learning_rate, self.eta_v * learning_rate,
        )  # fmt: skip
        ticker = Ticker(steps + 1, "training", progress)
        law = _Displaced(kernel, self.nodes, span.start)
        return follow(law, span, Picard(self.nodes), steps, ticker)


class _Displaced:
    """Neurons linear in their displacement, which states and cotangents of all steps make."""

    def __init__(self, kernel: TangentKernel, nodes: int, start: Tensor) -> None:
        self._kernel = kernel
        self._past = self._fallen = start.new_empty(nodes, 0, start.shape[-1])

    def push(self, h: Tensor) -> Tensor:
        """Return what the displacement adds; undisplaced neurons add nothing in the mean."""
        return -(self._kernel.values(self._past, h).mT @ self._fallen) / h.shape[1]

    def pull(self, h: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the right-hand side of the backward equation, which is linear in b."""
        past, fallen = self._past, self._fallen
        along, own = self._kernel.slopes(past, h)

        def slope(b: Tensor) -> Tensor:
            products = fallen @ b.mT
            carried = (along * products).mT @ past
            return (carried + (own * products).sum(dim=1).unsqueeze(-1) * h) / h.shape[1]

        return slope

    @torch.no_grad()
    def descend(self, h: Tensor, b: Tensor) -> None:
        """Displace every neuron."""
        self._past = torch.cat((self._past, h), dim=1)
        self._fallen = torch.cat((self._fallen, b), dim=1)
