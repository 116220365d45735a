"""A user's own training steps inside a check."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from limits.exceptions import LimitsError
from limits.randomness import Stream
from limits.user_models.check.watching.probes import Probe

__all__ = ["MakeStep", "Step", "own_random_numbers", "train"]

Step: TypeAlias = Callable[[], object]
MakeStep: TypeAlias = Callable[[nn.Module, int], Step]


@contextmanager
def own_random_numbers(seed: int, depth: int, draw: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python for a while, then restore them.

    Batches and dropout of a user's step are drawn from them.
    """
    generator = Stream(seed, f"depth-check/step/{depth}").generator(draw)
    word = int(torch.randint(2**31, (), generator=generator, device="cpu"))
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(word)
            np.random.seed(word)  # noqa: NPY002
            random.seed(word)
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def train(
    model: nn.Module, depth: int, probe: Probe, make_step: MakeStep, steps: int
) -> dict[int, float]:
    """Make the steps and return the relative change of the last state of every stream by the first.

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
    return {stream: _relative(first[stream] - state, state) for stream, state in before.items()}


def _relative(change: Tensor, state: Tensor) -> float:
    norms = [torch.linalg.vector_norm(each, dtype=torch.float64) for each in (change, state)]
    return float(norms[0] / norms[1])
