"""Where hidden states of infinitely many neurons live, and what follows them in training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limits.checks import check_finite, check_real
from limits.exceptions import ShapeError

__all__ = ["LimitDescent", "Span"]

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class LimitDescent:
    """The training of a limit: outputs, losses and hidden states before every step.

    Parameters
    ----------
    outputs : Tensor
        f(x) before step 0, 1, ... and after the last, shape ``(step, input, target)``.
    standard_errors : Tensor
        Of `outputs`, over independent sets of particles; zero where the solution is exact.
    losses : Tensor
        Mean square error over inputs and targets, shape ``(step,)``.
    times : Tensor
        Layer times of `states` and `cotangents`, shape ``(time,)``.
    states, cotangents : Tensor
        Coordinates of h and of B = D N dLoss/dh, shape ``(step, time, input, feature)``: in
        the span of the embeddings, features first, targets after them; without embeddings
        the states themselves divided by D^(1/2).
    depth_errors : Tensor, optional
        RMS difference of outputs that twice the nodes make, shape ``(step,)``, where it was
        measured: beside the standard errors, of which it knows nothing.
    """

    outputs: Tensor
    standard_errors: Tensor
    losses: Tensor
    times: Tensor
    states: Tensor
    cotangents: Tensor
    depth_errors: Tensor | None = None

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
class Span:
    """Coordinates c in which <h, h'> / D is c . c', and a neuron has i.i.d. normal entries.

    Parameters
    ----------
    start : Tensor
        Coordinates of h_0, shape ``(input, feature)``.
    readout : Tensor
        The matrix from coordinates to outputs.
    pull : Tensor
        The matrix from errors f - y to coordinates of B at the last layer.
    targets : Tensor
        Shape ``(input, target)``.
    """

    start: Tensor
    readout: Tensor
    pull: Tensor
    targets: Tensor

    @classmethod
    def of(
        cls, inputs: Tensor, targets: Tensor, *, embeddings: bool, gram: Tensor | None = None
    ) -> "Span":
        """Return the coordinates of a problem.

        Raises
        ------
        ShapeError
            If shapes do not fit each other.
        NonFiniteStateError
            If the data hold NaN or infinite values.
        """
        x, y = _checked(inputs, targets)
        if not embeddings:
            if x.shape != y.shape:
                raise ShapeError(
                    "without embeddings inputs and targets are equally long, found "
                    f"{x.shape[1]} and {y.shape[1]}. Use embeddings=True."
                )
            root = x.shape[1] ** 0.5
            unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
            return cls(x / root, unit * root, unit / root, y)
        rows = _root(gram, x.shape[1] + y.shape[1], x)
        readout = rows[:, x.shape[1] :]
        return cls(x @ rows[:, : x.shape[1]].mT, readout, readout.mT, y)

    def slope(self, end: Tensor) -> Tensor:
        """Return the coordinates of B at the last layer, those of h being `end`."""
        return (end @ self.readout - self.targets) @ self.pull


def _checked(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    for tensor, name in ((inputs, "inputs"), (targets, "targets")):
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"{name} must be a tensor of shape (input, ...), found {type(tensor).__name__}. "
                f"Use torch.as_tensor({name}, dtype=torch.float64)."
            )
        check_real(tensor, f"the tensor of {name}")
    if inputs.ndim != 2 or targets.ndim != 2 or len(inputs) != len(targets) or not len(inputs):
        raise ShapeError(
            "inputs and targets must have shapes (input, feature) and (input, target), found "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}. Use y[:, None] for one target."
        )
    for tensor, name in ((inputs, "inputs"), (targets, "targets")):
        check_finite(tensor, f"the tensor of {name}")
    return inputs.detach().to(torch.float64), targets.detach().to(torch.float64)


def _root(gram: Tensor | None, size: int, like: Tensor) -> Tensor:
    """Return R with R^T R = gram: W acts as orthogonal columns times R.

    The symmetric one, or one with fewer rows where there are more columns than dimensions.
    """
    if gram is None:
        return torch.eye(size, dtype=like.dtype, device=like.device)
    check_finite(gram, "gram")
    if gram.shape != (size, size) or not torch.allclose(gram, gram.mT):
        raise ShapeError(
            f"gram must be the symmetric matrix W^T W / D of all {size} embedding columns, found "
            f"shape {tuple(gram.shape)}. Use W = torch.cat((W_E, W_U), dim=1)."
        )
    values, vectors = torch.linalg.eigh(gram.to(like))
    present = values > _NEGLIGIBLE * values[-1]
    rows = values[present].sqrt().unsqueeze(-1) * vectors[:, present].mT
    return vectors @ rows if bool(present.all()) else rows
