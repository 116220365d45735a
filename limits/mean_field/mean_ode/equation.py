"""The Mean ODE: what the whole training of a mean-field network becomes at infinite depth."""

from typing import Unpack

from torch import Tensor

from limits.checks import check_finite, check_real
from limits.exceptions import DTypeError, ShapeError
from limits.mean_field.resnet import MeanFieldResNet
from limits.mean_field.scaling import Constants, MeanFieldScaling
from limits.mean_field.weights import MeanFieldWeights
from limits.modes import keeps_dtypes
from limits.scalars import plain_numbers

__all__ = ["MeanODE"]


@plain_numbers
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
        embedding: Tensor | None = None,
        readout: Tensor | None = None,
        **constants: Unpack[Constants],
    ) -> None:
        self.scaling = MeanFieldScaling.of(embedding_dim, **constants)
        self.embedding = None if embedding is None else embedding.detach().clone()
        self.readout = None if readout is None else readout.detach().clone()
        if embedding is not None or readout is not None:
            self._check_embeddings()

    @classmethod
    def of(
        cls, net: MeanFieldResNet, weights: MeanFieldWeights | None = None, *, path: int = 0
    ) -> "MeanODE":
        """Return the limit of a network; with embeddings, of those of one path of a draw."""
        embedding = readout = None
        if net.features is not None:
            if weights is None or weights.embedding is None or weights.readout is None:
                raise ShapeError(
                    f"the network embeds {net.features} features, and its limit depends on the "
                    "embeddings. Pass MeanODE.of(net, weights, path=0)."
                )
            embedding, readout = weights.embedding[path], weights.readout[path]
        constants = net.scaling.constants
        return cls(net.embedding_dim, embedding=embedding, readout=readout, **constants)

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.scaling.embedding_dim

    @keeps_dtypes
    def start(self, x: Tensor) -> Tensor:
        """Return h(0) of inputs ``(input, features)``."""
        length = self.embedding_dim if self.embedding is None else len(self.embedding)
        self._check(x, length, "x")
        return x.detach().clone() if self.embedding is None else x @ self.embedding

    @keeps_dtypes
    def read(self, h: Tensor) -> Tensor:
        """Return the outputs of states h(1), whose last axis is the width."""
        return h if self.readout is None else h @ self.readout / self.embedding_dim

    @keeps_dtypes
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

    def _check_embeddings(self) -> None:
        pair, width = (self.embedding, self.readout), self.embedding_dim
        for each, name in zip(pair, ("embedding", "readout"), strict=True):
            if each is not None:
                check_finite(each, name)
        found = [() if each is None else tuple(each.shape) for each in pair]
        if found[0][-1:] != (width,) or found[1][:1] != (width,):
            raise ShapeError(
                f"embedding must be (features, {width}) and readout ({width}, outputs), found "
                f"{found[0] or None} and {found[1] or None}. Pass both, or neither."
            )

    def _check(self, x: Tensor, length: int, name: str) -> None:
        if isinstance(x, Tensor):
            check_real(x, name)
        if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != length or not len(x):
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(
                f"{name} must be a tensor of shape (input, {length}) with at least one input, "
                f"found {found}. Use torch.as_tensor({name})."
            )
        if not x.is_floating_point():
            raise DTypeError(f"{name} is {x.dtype}, not a floating type. Use {name}.double().")
        check_finite(x, name)
        if self.embedding is not None and x.dtype != self.embedding.dtype:
            raise DTypeError(
                f"{name} is {x.dtype}, the embedding is {self.embedding.dtype}. Use "
                f"{name}.to({self.embedding.dtype})."
            )
