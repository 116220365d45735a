"""The Mean ODE: what the whole training of a mean-field network becomes at infinite depth."""

from collections.abc import Callable

from torch import Tensor

from limits.activations import Activation
from limits.exceptions import DTypeError, NonFiniteStateError, ShapeError
from limits.mean_field.resnet import MeanFieldResNet
from limits.mean_field.scaling import Convention, MeanFieldScaling
from limits.mean_field.weights import MeanFieldWeights

__all__ = ["MeanODE"]


class MeanODE:
    """dh/ds = alpha E[v s(u.h/D)], with a law of neurons (u, v) at every s that descends.

    The gradient b of the loss |y - target|^2 / (2 N D), or / (2 N) with embeddings, solves
    db/ds = -(alpha/D) E[u s'(u.h/D) (v.b)] backwards from b(1). At step 0 neurons are Gaussian
    and independent of s; in a step each one moves as it would in a network: u by
    -eta_u (eta/alpha) h s'(p) (v.b) and v by -eta_v D (eta/alpha) b s(p), p = u.h/D, with h and
    b at its own s. `limits.ParticleTransport` solves it.

    Parameters
    ----------
    embedding_dim : int
        D, the size of the state.
    activation, alpha, convention, sigma_u, sigma_v, eta_u, eta_v
        As in `limits.MeanFieldResNet`.
    embedding, readout : Tensor, optional
        W_E ``(features, width)`` and W_U ``(width, outputs)``: h(0) = x W_E, y = h(1) W_U / D.
        Both or neither.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), Section 2.

    Examples
    --------
    >>> import torch
    >>> from limits.mean_field import ParticleTransport
    >>> x = torch.eye(4, dtype=torch.float64)
    >>> solver = ParticleTransport(particles=256, nodes=4, replicates=4)
    >>> solution = solver.solve(MeanODE(4), x, -x, steps=20, seed=0)
    >>> solution.at(20).shape
    torch.Size([4, 4])
    >>> bool(solution.losses[20] < 0.7 * solution.losses[0])
    True
    """

    def __init__(
        self,
        embedding_dim: int,
        *,
        activation: str | Callable[[Tensor], Tensor] | Activation = "tanh",
        alpha: float = 1.0,
        convention: Convention = "residual",
        sigma_u: float = 1.0,
        sigma_v: float = 1.0,
        eta_u: float | None = None,
        eta_v: float | None = None,
        embedding: Tensor | None = None,
        readout: Tensor | None = None,
    ) -> None:
        self.scaling = MeanFieldScaling.of(
            embedding_dim, activation=activation, alpha=alpha, convention=convention,
            sigma_u=sigma_u, sigma_v=sigma_v, eta_u=eta_u, eta_v=eta_v,
        )  # fmt: skip
        self._set_embeddings(embedding, readout)

    @classmethod
    def of(
        cls, net: MeanFieldResNet, weights: MeanFieldWeights | None = None, *, path: int = 0
    ) -> "MeanODE":
        """Return the limit of a network; with embeddings, of those of one path of a draw."""
        limit = cls.__new__(cls)
        limit.scaling = net.scaling
        embedding = readout = None
        if net.features is not None:
            if weights is None or weights.embedding is None or weights.readout is None:
                raise ShapeError(
                    f"the network embeds {net.features} features, and its limit depends on the "
                    "embeddings. Pass MeanODE.of(net, weights, path=0)."
                )
            embedding, readout = weights.embedding[path], weights.readout[path]
        limit._set_embeddings(embedding, readout)
        return limit

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.scaling.embedding_dim

    def start(self, x: Tensor) -> Tensor:
        """Return h(0) of inputs ``(input, features)``."""
        length = self.embedding_dim if self.embedding is None else len(self.embedding)
        self._check(x, length, "x")
        return x if self.embedding is None else x @ self.embedding

    def read(self, h: Tensor) -> Tensor:
        """Return the outputs of states h(1), whose last axis is the width."""
        return h if self.readout is None else h @ self.readout / self.embedding_dim

    def slope(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return b(1), shaped like h(1)."""
        error = outputs - targets
        pulled = error if self.readout is None else error @ self.readout.mT
        return pulled / (error.shape[-2] * self.embedding_dim)

    def check_targets(self, targets: Tensor, x: Tensor) -> None:
        """Raise unless every input, which `start` has checked, has a target of its kind."""
        length = self.embedding_dim if self.readout is None else self.readout.shape[-1]
        self._check(targets, length, "targets")
        if len(targets) != len(x):
            raise ShapeError(
                f"there are {len(x)} inputs and {len(targets)} targets. Pass one per input."
            )
        if targets.dtype != x.dtype or targets.device != x.device:
            raise DTypeError(
                f"targets are {targets.dtype} on {targets.device}, x is {x.dtype} on {x.device}. "
                "Use targets.to(x)."
            )

    def _set_embeddings(self, embedding: Tensor | None, readout: Tensor | None) -> None:
        self.embedding, self.readout = embedding, readout
        if embedding is None and readout is None:
            return
        width = self.embedding_dim
        if embedding is None or readout is None or (embedding.shape[-1], len(readout)) != (
            width, width,
        ):  # fmt: skip
            found = [None if each is None else tuple(each.shape) for each in (embedding, readout)]
            raise ShapeError(
                f"embedding must be (features, {width}) and readout ({width}, outputs), found "
                f"{found[0]} and {found[1]}. Pass both, or neither."
            )

    def _check(self, x: Tensor, length: int, name: str) -> None:
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != length:
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"{name} must have shape (input, {length}), found {found}.")
        if not x.is_floating_point():
            raise DTypeError(f"{name} is {x.dtype}, not a floating type. Use {name}.double().")
        if not bool(x.isfinite().all()):
            raise NonFiniteStateError(f"{name} has NaN or infinite entries. Clean the data first.")
        if self.embedding is not None and x.dtype != self.embedding.dtype:
            raise DTypeError(
                f"{name} is {x.dtype}, the embedding is {self.embedding.dtype}. Use "
                f"{name}.to({self.embedding.dtype})."
            )
