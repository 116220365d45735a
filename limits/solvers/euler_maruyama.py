"""Our own batched Euler-Maruyama scheme."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import Keep, State
from limits.equations import DepthLimit, Driver, NoiseSample
from limits.equations.isotropic import gram, root
from limits.exceptions import NonFiniteStateError
from limits.networks.inputs import layer_times
from limits.networks.propagate import Stepper, run
from limits.networks.resnet import ResNet
from limits.parallel import map_chunks
from limits.paths import WeightSample
from limits.solvers.preparation import as_trajectory, constant, prepare
from limits.trajectory import Trajectory, join_paths

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True)
class EulerMaruyama:
    """Euler's scheme on the grid of the draw, H_{k+1} = H_k + c dX_k g(H_k).

    Batched over paths and inputs; for an ODE limit it is the explicit Euler scheme, for a limit
    in law H_{k+1} = H_k + (c / sqrt(width)) R(H_k) dB_k. At the critical exponent this *is* the
    network of depth `steps`.

    Parameters
    ----------
    steps : int, optional
        Number of steps, a divisor of the drawn depth; the sample's depth when left out.

    References
    ----------
    Kloeden and Platen, *Numerical Solution of Stochastic Differential Equations* (1992),
    Section 10.2: strong order 1/2.

    Examples
    --------
    >>> import torch, limits
    >>> path, net = limits.BrownianPath(8), limits.ResNet("tanh")
    >>> sample = path.sample(depth=64, n_paths=16, seed=0)
    >>> h0 = torch.ones(1, 8, dtype=torch.float64)
    >>> solution = EulerMaruyama().solve(limits.depth_limit(net, path), h0, sample)
    >>> bool(torch.allclose(solution.terminal, net(h0, sample).terminal))
    True
    """

    steps: int | None = None

    def solve(
        self, limit: DepthLimit, h0: Tensor, sample: Driver, *, keep: Keep = "terminal"
    ) -> Trajectory:
        """Solve a limit on the draw that drives it.

        Parameters
        ----------
        limit : DepthLimit
            From `depth_limit`.
        h0 : Tensor
            ``(input, width)`` or ``(path, input, width)``.
        sample : WeightSample or NoiseSample
            The draw: weights for a path form, ``limit.sample(...)`` for a law form.
        keep : {"terminal", "all"}
            Keep the first and last state, or all.

        Raises
        ------
        NoLimitError
            If the network explodes.
        CouplingError, ShapeError, DTypeError, DepthMismatchError
            If the arguments do not fit together.
        NonFiniteStateError
            If the solution overflows.
        """
        states, driver = prepare(limit, h0, sample, self.steps, keep)
        if limit.kind == "identity":
            return constant(states, driver, keep)

        def solve_chunk(first: int, count: int) -> Trajectory:
            chosen = states[first : first + count]
            if isinstance(driver, WeightSample):
                return _on_weights(limit.net, chosen, driver, first, keep)
            return _on_noise(limit.net, chosen, driver, first, keep)

        threads = not h0.requires_grad
        out = join_paths(map_chunks(solve_chunk, driver.chunks(), threads=threads))
        bad = int((~torch.isfinite(out.terminal)).any(dim=-1).any(dim=-1).sum())
        if bad:
            raise NonFiniteStateError(
                f"the Euler scheme with {driver.depth} steps overflowed in {bad} of "
                f"{driver.n_paths} paths. Use more steps, or an activation of linear growth."
            )
        return out


def _on_weights(
    net: ResNet, states: State, driver: WeightSample, first: int, keep: Keep
) -> Trajectory:
    stepper = Stepper(net.vector_field, net.coefficient, states, abs(net.coefficient))
    layers = driver.layers(first_path=first, n_paths=len(states), inner=stepper.block.has_inner)
    values, _ = run(stepper, layers, keep_all=keep == "all").states()
    times = layer_times(driver.depth, keep_all=keep == "all")
    return as_trajectory(driver, times, values, {"depth": driver.depth})


def _on_noise(
    net: ResNet, states: State, driver: NoiseSample, first: int, keep: Keep
) -> Trajectory:
    scale = net.coefficient / math.sqrt(driver.width)
    h, kept = states, [states]
    for noise in driver.steps(first_path=first, n_paths=len(states), n_inputs=states.shape[1]):
        h = torch.add(h, root(gram(net, h)) @ noise, alpha=scale)
        if keep == "all":
            kept.append(h)
    values = torch.stack(kept if keep == "all" else [states, h])
    times = layer_times(driver.depth, keep_all=keep == "all")
    return as_trajectory(driver, times, values, {"depth": driver.depth})
