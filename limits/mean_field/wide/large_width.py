"""Training of mean-field ResNets as depth, hidden width and embedding dimension all grow."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limits._typing import Progress
from limits.activations import Activation, as_activation
from limits.checks import check_count, check_positive, check_progress, check_seed
from limits.mean_field.mean_ode.equation import MeanODE
from limits.mean_field.mean_ode.solver import ParticleTransport
from limits.mean_field.wide.exact import SecondMoments, follow
from limits.mean_field.wide.picard import Picard
from limits.mean_field.wide.span import LimitDescent, Span
from limits.parallel import Ticker
from limits.scalars import plain_numbers

__all__ = ["LargeWidthLimit"]

# Far below the error of any set of particles.
_TOLERANCE = 1e-9


@plain_numbers
@dataclass(frozen=True)
class LargeWidthLimit:
    """The limit L, M, D -> infinity of a mean-field ResNet with frozen embeddings, in training.

    The network is h_0 = W_E x, h_l = h_{l-1} + (1/LM) V_l s(U_l^T h_{l-1} / D),
    f(x) = W_U^T h_L / D, with i.i.d. standard normal embeddings, U ~ N(0, D sigma_u^2),
    V ~ N(0, D sigma_v^2) and full-batch gradient descent on the mean of |f - y|^2 / 2 over inputs,
    with raw rates ``learning_rate`` eta L M D.

    As L and M grow, the hidden states become deterministic and stay in the span of the D x r
    matrix W = (W_E, W_U), r = features + targets: h = W c. A Gaussian neuron meets them through
    W^T u / D and W^T v / D only, normals of covariance sigma^2 W^T W / D, and so the training is
    a Mean ODE in r dimensions that knows of D through the Gram matrix of the embeddings alone.
    As D grows that matrix tends to the identity, at the rate D^(-1/2).

    A linear network keeps its neurons Gaussian and is solved exactly through second moments;
    others are handed to `limits.ParticleTransport`, which states standard errors over
    independent sets of neurons and the error of its nodes.

    Parameters
    ----------
    activation : str or callable
        The s.
    sigma_u, sigma_v : float
        Spread of the initial weights in units of sqrt(D).
    eta_u, eta_v : float
        Learning rates of u and v in units of D.
    nodes : int
        Points in layer time.
    particles : int
        Neurons at every node: twice a power of two.
    replicates : int
        Independent sets of particles, at least two.

    References
    ----------
    Chaintron, Chizat and Maass, "ResNets of all shapes and sizes", arXiv:2603.18168 (2026).

    Examples
    --------
    >>> x, y = torch.tensor([[1.5]]), torch.tensor([[1.0]])
    >>> out = LargeWidthLimit("tanh", particles=1024).descend(x, y, steps=3, seed=0)
    >>> [round(float(f), 2) for f in out.outputs.flatten()]
    [0.0, 0.83, 0.97, 0.99]
    """

    activation: str | Callable[[Tensor], Tensor] | Activation = "tanh"
    sigma_u: float = 1.0
    sigma_v: float = 1.0
    eta_u: float = 1.0
    eta_v: float = 1.0
    nodes: int = 10
    particles: int = 4096
    replicates: int = 4
    _s: Activation = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_s", as_activation(self.activation))
        for name in ("sigma_u", "sigma_v", "eta_u", "eta_v"):
            check_positive(getattr(self, name), name, 1.0)
        self._solver()

    @property
    def exact(self) -> bool:
        """Whether the activation is linear and no neuron is drawn."""
        return self._s.name == "identity"

    @torch.no_grad()
    def descend(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        steps: int,
        learning_rate: float = 1.0,
        seed: int,
        gram: Tensor | None = None,
        progress: Progress | None = None,
    ) -> LimitDescent:
        """Follow gradient descent from the random initialisation.

        Parameters
        ----------
        inputs : Tensor
            Shape ``(input, feature)``.
        targets : Tensor
            Shape ``(input, target)``.
        steps : int
            Gradient steps.
        learning_rate : float
            Factor of both rates.
        seed : int
            Of the particles.
        gram : Tensor, optional
            W^T W / D of given embeddings W = (W_E, W_U), for the limit L, M -> infinity at
            that D; the identity when left out.
        progress : callable, optional
            Called as ``progress(done, total, label)``; counts gradient steps.

        Raises
        ------
        ShapeError
            If shapes do not fit each other.
        SolverError, NonFiniteStateError
            If the training diverges. Lower the learning rate.
        """
        span = Span.of(inputs, targets, embeddings=True, gram=gram)
        check_count(steps, "steps")
        check_progress(progress)
        check_positive(learning_rate, "learning_rate", 1.0)
        check_seed(seed)
        if not self.exact:
            return self._transport(span, steps, learning_rate, seed, progress)
        scales = (self.sigma_u, self.sigma_v)
        rates = (learning_rate * self.eta_u, learning_rate * self.eta_v)
        law = SecondMoments.initial(self.nodes, span.start, scales=scales, rates=rates)
        ticker = Ticker(steps + 1, "training", progress)
        return follow(law, span, Picard(self.nodes, tolerance=1e-13), steps, ticker)

    def _solver(self) -> ParticleTransport:
        return ParticleTransport(self.particles, self.nodes, self.replicates, tolerance=_TOLERANCE)

    def _transport(
        self, span: Span, steps: int, learning_rate: float, seed: int, progress: Progress | None
    ) -> LimitDescent:
        """Solve the Mean ODE of the coordinates c = h / r^(1/2), a state of length r."""
        size, n = span.start.shape[1], len(span.start)
        root = size**0.5
        unit = root * torch.eye(size, dtype=torch.float64, device="cpu")
        limit = MeanODE(
            size, embedding=unit, readout=root * span.readout,
            activation=self._s, sigma_u=self.sigma_u, sigma_v=self.sigma_v,
            eta_u=self.eta_u, eta_v=self.eta_v,
        )  # fmt: skip
        every = range(steps + 1)
        solution = self._solver().solve(
            limit, span.start, span.targets, steps=steps, seed=seed,
            learning_rate=learning_rate, keep=every, keep_states=True, progress=progress,
        )  # fmt: skip
        times = Picard(self.nodes).times
        return LimitDescent(
            outputs=solution.outputs,
            standard_errors=solution.replicates.std(dim=1) / self.replicates**0.5,
            losses=solution.losses,
            times=times,
            states=torch.stack([solution.states(step, times) for step in every]) / root,
            cotangents=torch.stack([solution.gradients(step, times) for step in every]) * root * n,
            depth_errors=solution.depth_errors,
        )
