"""Run a depth check for the command line, which knows names only."""

from collections.abc import Callable, Sequence
from typing import Any

from limits.studies import DepthCheck, depth_check

__all__ = ["run_check"]


def run_check(
    make_model: Callable[[int], Any],
    *,
    depths: Sequence[int],
    inputs: Any,
    n_seeds: int,
    betas: Sequence[float],
    branch: str | None,
    make_step: Callable[..., Any] | None,
    steps: int,
    seed: int,
    progress: Callable[[float, float, str], None],
) -> DepthCheck:
    """Return the check of a factory that was found by its name."""
    return depth_check(
        make_model,
        depths=depths,
        inputs=inputs,
        n_seeds=n_seeds,
        betas=betas or None,
        branch=branch,
        make_step=make_step,
        steps=steps,
        seed=seed,
        progress=progress,
    )
