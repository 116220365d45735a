"""Euler steps of a limit in law: compiled where kernels know the equation, else one by one."""

import torch
from torch.autograd.forward_ad import unpack_dual

from limits._typing import Keep, State
from limits.equations import DepthLimit, NoiseSample
from limits.equations.isotropic import Isotropic, isotropic_of
from limits.kernels.isotropic import IsotropicLaw, euler_steps, has_steps
from limits.parallel import check_wanted, compiled_shares
from limits.trajectory import Trajectory

__all__ = ["ranges_on_noise", "steps_on_noise"]


def ranges_on_noise(limit: DepthLimit, states: State, driver: NoiseSample) -> list[tuple[int, int]]:
    """Split paths into ranges for the threads: of compiled loops, or of small operations."""
    if _compiled(isotropic_of(limit.net, limit.path), states) is None:
        return driver.shares()
    if states.is_cuda:
        return [(0, driver.n_paths)]
    return compiled_shares(driver.n_paths, driver.drawn_depth * states[0].numel())


def steps_on_noise(
    limit: DepthLimit, states: State, driver: NoiseSample, first: int, keep: Keep
) -> Trajectory:
    """Take all steps of Euler's scheme for a range of paths.

    Parameters
    ----------
    limit : DepthLimit
        In law.
    states : Tensor
        Where these paths begin, ``(path, input, width)``.
    driver : NoiseSample
        The noise of all paths.
    first : int
        Number of the first path.
    keep : {"terminal", "all"}
        Keep the first and last state, or all.
    """
    equation = isotropic_of(limit.net, limit.path)
    law = _compiled(equation, states)
    if law is None:
        return _one_by_one(equation, states, driver, first, keep)
    depth, source = driver.depth, driver.source(states.shape[1])
    n_states = depth + 1 if keep == "all" else 2
    values = torch.empty(n_states, *states.shape, dtype=states.dtype, device=states.device)
    values[0] = states
    h = states.clone(memory_format=torch.contiguous_format)
    euler_steps(
        h,
        law,
        source.stream.key,
        drawn_depth=driver.drawn_depth,
        ratio=driver.drawn_depth // depth,
        path=first,
        record=values[1:],
        times=range(1, depth + 1) if keep == "all" else (depth,),
        between=check_wanted,
    )
    return Trajectory.of(driver, values)


def _compiled(equation: Isotropic, states: State) -> IsotropicLaw | None:
    """Return what kernels are told, if they can do what is asked: they know no derivatives."""
    law = equation.law
    followed = states.requires_grad or unpack_dual(states).tangent is not None
    return law if law is not None and not followed and has_steps(law, states) else None


def _one_by_one(
    equation: Isotropic, states: State, driver: NoiseSample, first: int, keep: Keep
) -> Trajectory:
    # Autograd and a record of all states need every state in a buffer of its own.
    fresh = keep == "all" or states.requires_grad
    h, kept = states if fresh else states.clone(), [states]
    for noise in driver.steps(first_path=first, n_paths=len(states), n_inputs=states.shape[1]):
        h = equation.step(h, noise, 1 / driver.depth, out=None if fresh else h)
        if keep == "all":
            kept.append(h)
    return Trajectory.of(driver, torch.stack(kept if keep == "all" else [states, h]))
