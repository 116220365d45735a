"""The error of a network against its own limit, as depth grows."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from limits._typing import Progress, State
from limits.checks import check_progress
from limits.equations import depth_limit
from limits.errors.metrics import (
    Functional,
    alone,
    check_errors,
    check_functional_is_finite,
    path_errors_of_part,
    weak_differences,
)
from limits.errors.orders import fit_order, fit_weak_order
from limits.estimates import Estimate
from limits.exceptions import LimitsError
from limits.networks.fused import Fused
from limits.networks.log_scale import restored
from limits.networks.propagate import Recorder, march
from limits.networks.resnet import ResNet
from limits.networks.states import as_states
from limits.parallel import Ticker, map_chunks, shares
from limits.paths import WeightPath, WeightSample
from limits.randomness import Stream
from limits.scalars import plain_numbers
from limits.studies.convergence.plan import (
    Plan,
    check_error,
    checked_depths,
    exact_errors,
    expected_order,
    net_label,
)
from limits.studies.convergence.reference import Deep, Reference, drawn_depth, name_of, resolve
from limits.studies.convergence.result import ConvergenceStudy, ErrorKind
from limits.trajectory import Trajectory

__all__ = ["convergence_study"]


@plain_numbers
@torch.no_grad()
def convergence_study(
    net: ResNet,
    path: WeightPath,
    *,
    depths: Sequence[int],
    n_paths: int,
    seed: int,
    h0: Tensor | None = None,
    error: ErrorKind = "strong",
    functional: Functional | None = None,
    reference: Reference | None = None,
    p: int = 2,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    lazy: bool = False,
    chunk: int | None = None,
    progress: Progress | None = None,
) -> ConvergenceStudy:
    """Measure the error of a network against its limit on one set of weight paths.

    All depths advance together through one pass over the finest path, so the memory needed does
    not grow with depth, and every error is a distance between trajectories with the same path
    behind them.

    Parameters
    ----------
    net : ResNet
        The network.
    path : WeightPath
        The law of its weights.
    depths : sequence of int
        At least three depths, for example ``(8, 16, 32, 64, 128)``.
    n_paths : int
        Independent weight draws.
    seed : int
        Non-negative integer; fixes every number of the result.
    h0 : Tensor, optional
        Inputs ``(input, width)`` in `dtype`; one standard normal input from the seed when left
        out.
    error : {"strong", "uniform", "weak"}
        (E|h_L - H_1|^p)^(1/p), the same for the largest distance over layer times, or
        |E phi(h_L) - E phi(H_1)|.
    functional : callable, optional
        phi for weak errors, from ``(path, input, width)`` to ``(path, input)``.
    reference : int, float or solver, optional
        A depth: the same network, that deep, on the same paths. A float: the exact expectation
        (weak errors). A solver of the limit. Left out: the closed form where there is one,
        `MidpointExtrapolation` or dopri8 for an ODE, Euler at sixteen times the deepest for an SDE.
    p : {1, 2}
        The norm.
    dtype, device
        Precision and place of products and sums.
    lazy : bool
        Draw the weights lazily: the same law at O(width) instead of O(width^2) per layer, with
        other numbers than the dense draw of the seed. For `BrownianPath`.
    chunk : int, optional
        Paths in memory at once per thread; changes no number.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    ConvergenceStudy
        With ``.errors``, ``.order``, ``.to_dataset()``.

    Raises
    ------
    NoLimitError
        If the network explodes at its exponent.
    CouplingError
        If only laws converge and `error` is path by path.
    DepthMismatchError, ShapeError, DTypeError, LimitsError
        If the arguments do not fit together.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Theorems 4, 9.

    Examples
    --------
    >>> import limits
    >>> study = convergence_study(
    ...     limits.ResNet("tanh"), limits.BrownianPath(4), depths=(4, 8, 16), n_paths=64, seed=0
    ... )
    >>> len(study.errors), study.expected_order
    (3, 0.5)
    """
    limit = depth_limit(net, path)
    limit.check_exists()
    ladder = checked_depths(depths)
    plan = Plan(limit, ladder, resolve(limit, ladder, reference, error), error, functional, p)
    check_error(plan)
    check_progress(progress)
    sample = path.sample(
        depth=drawn_depth(ladder, plan.reference),
        n_paths=n_paths,
        seed=seed,
        dtype=dtype,
        device=device,
        lazy=lazy,
    )
    if sample.lazy is not None and isinstance(plan.reference, Deep | float):
        # All depths are asked in one pass, and nobody asks again.
        sample = replace(sample, lazy=sample.lazy.for_one_call())
    states = as_states(_default_input(sample) if h0 is None else h0, sample).detach()
    waits_in_turns = chunk is not None or sample.device.type != "cpu"
    ranges = shares(sample.chunks(chunk), small=waits_in_turns)
    label = f"{path.label}, {net_label(net)}"
    ticker = Ticker(len(ranges) * max(plan.ladder), label, progress)
    parts = map_chunks(
        lambda first, count: _chunk_errors(
            plan, sample.part(first, count), states[first : first + count], ticker
        ),
        ranges,
    )
    errors = torch.cat(parts, dim=1)
    if plan.functional is None:
        check_errors(errors)
    else:
        check_functional_is_finite(errors)
    return _assemble(plan, errors.numpy(), sample, states)


def _chunk_errors(plan: Plan, part: WeightSample, states: State, ticker: Ticker) -> Tensor:
    """Return the errors of one chunk of paths, shape ``(depth, path)``, float64 on the CPU."""
    networks = _advance(plan, part, states, ticker)
    reference = _reference(plan, part, states, networks)
    rows = [_distance(plan, networks[depth], reference) for depth in plan.depths]
    return torch.stack(rows).double().cpu()


def _advance(
    plan: Plan, part: WeightSample, states: State, ticker: Ticker
) -> dict[int, Trajectory]:
    keep = "all" if plan.error == "uniform" else "terminal"
    common = math.lcm(*plan.depths)
    strides = {depth: max(1, depth // common) for depth in plan.ladder}
    steppers = {
        depth: net.stepper(states, part.at_depth(depth)) for depth, net in plan.networks.items()
    }
    if fused := Fused.of(part, list(steppers.values())):
        ends = keep == "terminal"
        kept = fused.advance(steppers, {d: d if ends else strides[d] for d in plan.ladder})
        ticker(max(plan.ladder))
        return {
            depth: Trajectory.of(part.at_depth(depth), restored(*kept[depth]))
            for depth in plan.ladder
        }
    recorders = {depth: Recorder(keep) for depth in plan.ladder}
    for depth, stepper in steppers.items():
        recorders[depth].record(stepper.h, stepper.exponents, endpoint=True)
    inner = plan.limit.net.vector_field.has_inner
    for depth, index in march(steppers, part, inner=inner):
        last = index + 1 == depth
        if last or (index + 1) % strides[depth] == 0:
            stepper = steppers[depth]
            recorders[depth].record(stepper.h, stepper.exponents, endpoint=last)
        if depth == max(plan.ladder):
            ticker()
    return {
        depth: Trajectory.of(part.at_depth(depth), recorders[depth].states()[0])
        for depth in plan.ladder
    }


def _reference(
    plan: Plan, part: WeightSample, states: State, networks: dict[int, Trajectory]
) -> Trajectory | float:
    if isinstance(plan.reference, Deep):
        return networks[plan.reference.depth]
    if isinstance(plan.reference, int | float):
        return float(plan.reference)
    keep = "all" if plan.error == "uniform" else "terminal"
    # An adaptive solver at tolerances below single precision needs double precision.
    exact = replace(part, dtype=torch.float64)
    return plan.reference.solve(plan.limit, states.double(), exact, keep=keep)


def _distance(plan: Plan, network: Trajectory, reference: Trajectory | float) -> Tensor:
    if plan.functional is not None:
        one = alone(plan.functional)
        return weak_differences(network, reference, functional=one, finite=False)
    if not isinstance(reference, Trajectory):
        raise LimitsError("a path-by-path error needs a trajectory as its reference.")
    time = "uniform" if plan.error == "uniform" else "terminal"
    return path_errors_of_part(network, reference, p=plan.p, time=time)


def _assemble(
    plan: Plan, errors: np.ndarray, sample: WeightSample, states: State
) -> ConvergenceStudy:
    limit, p, n = plan.limit, plan.p, sample.n_paths
    if plan.error == "weak":
        order = fit_weak_order(errors, depths=plan.depths, seed=sample.seed)
        means = errors.mean(axis=1)
        spreads = errors.std(axis=1, ddof=1) / math.sqrt(n)
        estimates = [
            Estimate(abs(float(m)), float(s), n) for m, s in zip(means, spreads, strict=True)
        ]
    else:
        order = fit_order(errors, depths=plan.depths, p=p, seed=sample.seed)
        estimates = [Estimate.of_power_mean(row, p) for row in errors]
    return ConvergenceStudy(
        depths=plan.depths,
        errors=tuple(estimates),
        order=order,
        path_errors=errors,
        closed_form=exact_errors(plan, states),
        expected_order=expected_order(plan),
        error_kind=plan.error,
        limit=limit.kind,
        equation=limit.equation,
        network=net_label(limit.net),
        path=limit.path.label,
        reference=name_of(limit, plan.reference),
        p=p,
        seed=sample.seed,
        width=sample.width,
        n_inputs=states.shape[1],
    )


def _default_input(sample: WeightSample) -> Tensor:
    normals = Stream(sample.seed, f"h0/width={sample.width}").normals(0, 1, sample.width)
    return normals.to(sample.device, sample.dtype)
