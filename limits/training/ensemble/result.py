"""What the training of an ensemble returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from limits.exceptions import LimitsError, NonFiniteStateError
from limits.paths import TrainedPath, WeightPath
from limits.scalars import plain_numbers

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["Configuration", "TrainedEnsemble"]


@plain_numbers
@dataclass(frozen=True)
class Configuration:
    """One network to train.

    Parameters
    ----------
    path : WeightPath
        Law of the initial weights across layers; its width is the network's.
    learning_rate : float
        Of Adam, at the start.
    beta : float, optional
        Scaling exponent; the path's critical exponent when left out.
    seed : int
        Of the weights, the embedding, the readout and the order of the data. Configurations of
        equal path and seed begin with the same weights and see the same batches.
    """

    path: WeightPath
    learning_rate: float
    beta: float | None = None
    seed: int = 0

    @property
    def exponent(self) -> float:
        """The beta, the path's critical exponent when none was given."""
        return self.path.critical_beta if self.beta is None else float(self.beta)


@plain_numbers
@dataclass(frozen=True, eq=False)
class TrainedEnsemble:
    """Configurations after training, in the order in which they were given.

    Parameters
    ----------
    configurations : tuple of Configuration
        What was trained.
    losses : Tensor
        Cross-entropy in nats on each minibatch before the step on it, shape
        ``(configuration, step)``; NaN after a configuration diverged.
    diverged_at : tuple of int or None
        Step (from 0) whose loss was not finite or exploded, ``len(losses)`` steps if only the
        test outputs were not finite; None for the others.
    accuracy : Tensor
        Share of test inputs classified correctly, shape ``(configuration,)``; NaN where diverged.
    weights : Tensor or None
        Order-one weights V_k as they were in the end, or when a configuration diverged, shape
        ``(configuration, layer, width, width)``, if they were to be kept.
    depth : int
        Number of layers.
    test_loss : Tensor
        Mean cross-entropy of the test inputs in nats, shape ``(configuration,)``, float64; NaN
        where diverged.
    """

    configurations: tuple[Configuration, ...]
    losses: Tensor
    diverged_at: tuple[int | None, ...]
    accuracy: Tensor
    weights: Tensor | None
    depth: int
    test_loss: Tensor

    @property
    def diverged(self) -> np.ndarray:
        """Which configurations diverged, shape ``(configuration,)``."""
        return np.array([step is not None for step in self.diverged_at])

    def as_path(self, configuration: int, *, index: float) -> TrainedPath:
        """Return the trained weights of one configuration as a path.

        Parameters
        ----------
        configuration : int
            Its position.
        index : float
            Regularity of the weights across layers, see `limits.TrainedPath`.

        Raises
        ------
        LimitsError
            If weights were not kept. Train with ``keep_weights=True``.
        NonFiniteStateError
            If the configuration diverged.
        """
        if self.weights is None:
            raise LimitsError("the weights were not kept. Train with keep_weights=True.")
        step = self.diverged_at[configuration]
        if step is not None:
            raise NonFiniteStateError(
                f"configuration {configuration} diverged at step {step}. Choose one whose "
                "diverged_at is None, or train with a smaller learning rate."
            )
        return TrainedPath(self.weights[configuration], index=index)

    def to_dataset(self) -> "Dataset":
        """Return losses, accuracies and divergences with named axes; -1 means no divergence."""
        from xarray import Dataset

        chosen = self.configurations
        steps = [-1 if step is None else step for step in self.diverged_at]
        return Dataset(
            {
                "loss": (("configuration", "step"), self.losses.numpy()),
                "accuracy": ("configuration", self.accuracy.numpy()),
                "test_loss": ("configuration", self.test_loss.numpy()),
                "diverged_at": ("configuration", np.array(steps)),
                "beta": ("configuration", [each.exponent for each in chosen]),
                "learning_rate": ("configuration", [each.learning_rate for each in chosen]),
                "seed": ("configuration", [each.seed for each in chosen]),
                "path": ("configuration", [each.path.label for each in chosen]),
            },
            attrs={"depth": self.depth},
        )

    def __repr__(self) -> str:
        best = f", best accuracy {np.nanmax(self.accuracy):.3f}" if not self.diverged.all() else ""
        return (
            f"TrainedEnsemble({len(self.configurations)} configurations, depth {self.depth}, "
            f"{self.losses.shape[1]} steps, {int(self.diverged.sum())} diverged{best})"
        )
