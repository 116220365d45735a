"""A user's own training steps inside a check."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from limits.exceptions import LimitsError
from limits.studies.depth_check.probes import Probe

__all__ = ["MakeStep", "Step", "train"]

Step: TypeAlias = Callable[[], object]
MakeStep: TypeAlias = Callable[[nn.Module, int], Step]


def train(model: nn.Module, depth: int, probe: Probe, make_step: MakeStep, steps: int) -> float:
    """Make the steps and return the relative change of the last hidden state by the first one.

    Raises
    ------
    LimitsError
        If the user's step fails, or changes no parameter.
    """
    before = probe.features(model)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    try:
        step = make_step(model, depth)
        step()
        first = probe.features(model)
        for _ in range(steps - 1):
            step()
    except LimitsError:
        raise
    except Exception as error:
        raise LimitsError(
            f"make_step failed at depth {depth}: {type(error).__name__}: {error}. It must return a "
            "function without arguments that makes one training step."
        ) from error
    if all(map(torch.equal, weights, model.parameters())):
        raise LimitsError(
            f"the training step at depth {depth} changed no parameter. Let make_step(model, depth) "
            "return a function that calls backward() and optimiser.step() on model's parameters."
        )
    norms = [
        torch.linalg.vector_norm(each, dtype=torch.float64) for each in (first - before, before)
    ]
    return float(norms[0] / norms[1])
