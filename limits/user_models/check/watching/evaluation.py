"""Models without what is random in them: dropout off, or evaluation mode as a whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from limits.exceptions import LimitsError

__all__ = ["difference_of_passes", "in_evaluation", "refuse_noise", "without_dropout"]

_ALLOWED_DIFFERENCE = 1e-3


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Switch dropout layers to evaluation for a while; everything else keeps its mode."""
    kinds = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention)
    with _evaluating([each for each in model.modules() if isinstance(each, kinds)]):
        yield


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Switch everything but batch normalisation to evaluation for a while.

    Batch normalisation in evaluation divides by running averages, which a new model has not seen.
    """
    kind = nn.modules.batchnorm._BatchNorm
    with _evaluating([each for each in model.modules() if not isinstance(each, kind)]):
        yield


@contextmanager
def _evaluating(modules: list[nn.Module]) -> Iterator[None]:
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def difference_of_passes(
    features: Callable[[nn.Module], dict[int, Tensor]], model: nn.Module
) -> float:
    """Return the relative difference of the last states of two forward passes on one batch.

    0 where it is below the noise of parallel sums, or where states overflow.
    """
    first, second = features(model), features(model)
    worst = 0.0
    for stream, state in first.items():
        if not bool(torch.isfinite(state).all()):
            continue
        norm = float(torch.linalg.vector_norm(state, dtype=torch.float64))
        other = float(torch.linalg.vector_norm(state - second[stream], dtype=torch.float64))
        worst = max(worst, other / norm if norm > 0 else 0.0)
    return worst if worst > _ALLOWED_DIFFERENCE else 0.0


def refuse_noise(model: nn.Module, difference: float) -> None:
    """Say that a model is random even in evaluation mode.

    Raises
    ------
    LimitsError
        With the difference.
    """
    raise LimitsError(
        f"{type(model).__name__} is not deterministic: two forward passes on the same batch differ "
        f"by {difference:.1%}, without dropout layers and in evaluation mode too. Switch off what "
        "else is random in it: let noise ask for self.training, so that .eval() ends it."
    )
