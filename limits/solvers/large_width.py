"""Training of mean-field ResNets as depth, hidden width and embedding dimension all grow."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limits.activations import Activation, as_activation
from limits.exceptions import LimitsError, NonFiniteStateError, ShapeError
from limits.parallel import Progress, Ticker
from limits.paths.base import check_count, check_positive
from limits.randomness import Stream, check_seed
from limits.solvers.collocation import Collocation
from limits.solvers.neurons import Neurons, Particles, SecondMoments

__all__ = ["LargeWidthDescent", "LargeWidthLimit"]


@dataclass(frozen=True, eq=False)
class LargeWidthDescent:
    """The limit's whole training: outputs, losses and hidden states after every step.

    Parameters
    ----------
    outputs : Tensor
        f(x) before every step and after the last, shape ``(step, input, target)``.
    standard_errors : Tensor
        Of `outputs`, over independent sets of particles; zero where the solution is exact.
    losses : Tensor
        Mean square error over inputs and targets, shape ``(step,)``.
    times : Tensor
        Layer times of the nodes, shape ``(time,)``.
    states, cotangents : Tensor
        Coordinates of h and of B = D N dLoss/dh in the span of the embeddings, features first,
        targets after them; shape ``(step, time, input, feature)``.
    """

    outputs: Tensor
    standard_errors: Tensor
    losses: Tensor
    times: Tensor
    states: Tensor
    cotangents: Tensor

    def embedded(self, embedding: Tensor, readout: Tensor) -> Tensor:
        """Return the hidden states (W_E, W_U) c of networks with these embeddings.

        Parameters
        ----------
        embedding, readout : Tensor
            W_E and W_U, shapes ``(path, features, width)`` and ``(path, width, targets)``.

        Returns
        -------
        Tensor
            Shape ``(step, time, path, input, width)``.
        """
        rows = torch.cat((embedding, readout.mT), dim=-2).to(self.states)
        return self.states.unsqueeze(2) @ rows


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
    others by quasi-Monte Carlo over the neurons, with the spread over independent sets as
    standard error.

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
        Neurons at every node; powers of two suit Sobol points.
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
        check_count(self.particles, "particles")
        check_count(self.replicates, "replicates")
        if self.replicates < 2:
            raise LimitsError(
                "a standard error needs at least two replicates, found replicates=1. Use 4."
            )

    @property
    def exact(self) -> bool:
        """Whether the activation is linear and no neuron is drawn."""
        return self._s.name == "identity"

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
    ) -> LargeWidthDescent:
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
        SolverError
            If the training diverges. Lower the learning rate.
        """
        x, y = _checked(inputs, targets)
        check_count(steps, "steps")
        check_positive(learning_rate, "learning_rate", 1.0)
        root = _root(gram, x.shape[1] + y.shape[1], x)
        embedding, readout = root[:, : x.shape[1]], root[:, x.shape[1] :]
        rates = (learning_rate * self.eta_u, learning_rate * self.eta_v)
        stream = Stream(check_seed(seed), "large-width")
        count = 1 if self.exact else self.replicates
        ticker = Ticker(count * steps, "training", progress)
        runs = [
            self._run(x @ embedding.mT, y, readout, rates, steps, stream.child(str(i)), ticker)
            for i in range(count)
        ]
        states, cotangents = (torch.stack(part) for part in zip(*runs, strict=True))
        outputs = states[:, :, -1] @ readout
        spread = outputs.std(dim=0) / count**0.5 if count > 1 else torch.zeros_like(outputs[0])
        mean = outputs.mean(dim=0)
        losses = (outputs - y).square().mean(dim=(0, 2, 3))
        times = Collocation(self.nodes).times
        return LargeWidthDescent(
            mean, spread, losses, times, states.mean(dim=0), cotangents.mean(dim=0)
        )

    def _run(
        self,
        start: Tensor,
        y: Tensor,
        readout: Tensor,
        rates: tuple[float, float],
        steps: int,
        stream: Stream,
        ticker: Ticker,
    ) -> tuple[Tensor, Tensor]:
        depth = Collocation(self.nodes)
        neurons = self._neurons(start, stream)
        h = start.expand(self.nodes, -1, -1)
        b = torch.zeros_like(h)
        kept: list[tuple[Tensor, Tensor]] = []
        for step in range(steps + 1):
            h = depth.forward(neurons.push, h)
            end = (h[-1] @ readout - y) @ readout.mT
            # The solution of the last step, with its new end, is nearer than a constant.
            b = depth.backward(lambda p, h=h: neurons.pull(h, p), b - b[-1:] + end)
            kept.append((h, b))
            if step < steps:
                neurons.descend(h, b, rates)
                ticker()
        states, cotangents = zip(*kept, strict=True)
        return torch.stack(states), torch.stack(cotangents)

    def _neurons(self, start: Tensor, stream: Stream) -> Neurons:
        features, scales = start.shape[1], (self.sigma_u, self.sigma_v)
        if self.exact:
            return SecondMoments.initial(self.nodes, features, scales, start)
        drawn = Particles.drawn(self.nodes, self.particles, features, scales, self._s, stream)
        return Particles(drawn.u.to(start), drawn.v.to(start), self._s)


def _checked(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if inputs.ndim != 2 or targets.ndim != 2 or len(inputs) != len(targets) or not len(inputs):
        raise ShapeError(
            "inputs and targets must have shapes (input, feature) and (input, target), found "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}. Use y[:, None] for one target."
        )
    if not (torch.isfinite(inputs).all() and torch.isfinite(targets).all()):
        raise NonFiniteStateError("inputs or targets hold NaN or infinite values. Clean the data.")
    return inputs.to(torch.float64), targets.to(torch.float64)


def _root(gram: Tensor | None, size: int, like: Tensor) -> Tensor:
    """Return the symmetric R with R R = gram: W acts as orthogonal columns times R."""
    if gram is None:
        return torch.eye(size).to(like)
    if gram.shape != (size, size) or not torch.allclose(gram, gram.mT):
        raise ShapeError(
            f"gram must be the symmetric matrix W^T W / D of all {size} embedding columns, found "
            f"shape {tuple(gram.shape)}. Use W = torch.cat((W_E, W_U), dim=1)."
        )
    values, vectors = torch.linalg.eigh(gram.to(like))
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
