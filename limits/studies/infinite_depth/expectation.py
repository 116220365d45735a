"""Expectations of infinitely deep networks, without choosing a depth."""

from dataclasses import replace

import torch
from torch import Tensor

from limits._typing import Progress
from limits.checks import (
    check_beta_length,
    check_choice,
    check_count,
    check_positive,
    check_progress,
    is_number,
)
from limits.equations import DepthLimit, depth_limit
from limits.equations.isotropic import Isotropic, isotropic_of
from limits.errors.metrics import Functional, check_functional, functional_values
from limits.exceptions import LimitsError, NoLimitError
from limits.networks.blocks import block_label
from limits.networks.resnet import ResNet
from limits.networks.states import as_states
from limits.paths import TrainedPath, WeightPath
from limits.scalars import plain_numbers
from limits.scaling import check_representable
from limits.studies.convergence.plan import net_label
from limits.studies.infinite_depth.couplings import (
    CouplingName,
    IsotropicCoupling,
    PairCoupling,
    PathCoupling,
)
from limits.studies.infinite_depth.levels import Extrapolation
from limits.studies.infinite_depth.refinement import AdaptiveLevels
from limits.studies.infinite_depth.result import InfiniteDepthExpectation, two_sided_quantile

__all__ = ["infinite_depth_expectation"]


@plain_numbers
@torch.no_grad()
def infinite_depth_expectation(
    net: ResNet,
    path: WeightPath,
    functional: Functional,
    *,
    h0: Tensor,
    tolerance: float,
    seed: int,
    confidence: float | None = None,
    coupling: CouplingName | None = None,
    first_depth: int = 1,
    budget: float = 1e10,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> InfiniteDepthExpectation:
    """Estimate E phi(H_1) of the limit of a network by multilevel Monte Carlo over depth.

    E phi(H_1) = E phi(h_L0) + sum_l E[phi(h_2L) - phi(h_L)], L = 2^l L0, with coupled pairs whose
    variance falls with depth, so that most of the work is done by shallow networks. Where the
    weak error has an expansion in 1/L its first two terms are eliminated. Levels and draws are
    added until standard error and estimated bias together are at most `tolerance`: the size of
    an error, not a bound on it, which a tenth to a quarter of the values miss. With `confidence`
    the value lies within the tolerance with that probability, at about the square of the quantile
    in work.

    Parameters
    ----------
    net : ResNet
        The network.
    path : WeightPath
        The law of its weights.
    functional : callable
        phi, from ``(path, input, width)`` to ``(path, input)``; inputs are averaged.
    h0 : Tensor
        Inputs ``(input, width)`` in `dtype`.
    tolerance : float
        Bound on standard_error + bias, in the units of phi; with `confidence` on z standard
        errors + bias, z the two-sided normal quantile.
    seed : int
        Non-negative integer; fixes every number of the result.
    confidence : float, optional
        Probability, in (0, 1), with which the value is to lie within the tolerance.
    coupling : {"isotropic", "path"}, optional
        What a deep and a shallow network share: the noise of the isotropic limit in law, or the
        weight path. Left out: isotropic wherever there is such a limit, since it takes one
        normal per unit and layer instead of a matrix and has the smaller variance.
    first_depth : int
        Depth L0 of the first level.
    budget : float
        Most layer evaluations; one evaluates a layer for one draw and all inputs.
    dtype, device
        Precision and place of the states.
    progress : callable, optional
        Called as ``progress(done, total, label)``, anew for every round of draws.

    Returns
    -------
    InfiniteDepthExpectation
        With ``.value``, ``.standard_error``, ``.bias``, ``.interval``, ``.levels``.

    Raises
    ------
    NoLimitError
        If depth to infinity has no limit, or none that networks of two depths share. The message
        names the exponent, coupling or solver to use.
    LimitsError
        If the tolerance would cost more than the budget. The message says how much.
    ShapeError, DTypeError, NonFiniteStateError
        If the arguments do not fit together, or phi returns the wrong shape or is not finite.

    References
    ----------
    Giles, "Multilevel Monte Carlo path simulation", Operations Research 56 (2008); Lemaire and
    Pages, "Multilevel Richardson-Romberg extrapolation", Bernoulli 23 (2017).

    Examples
    --------
    >>> import math, torch, limits
    >>> found = limits.infinite_depth_expectation(
    ...     limits.ResNet("identity"),
    ...     limits.BrownianPath(8),
    ...     lambda h: h.square().sum(dim=-1),
    ...     h0=torch.eye(1, 8, dtype=torch.float64),
    ...     tolerance=0.05,
    ...     seed=0,
    ... )
    >>> found.interval[0] < math.e < found.interval[1]
    True
    """
    limit = depth_limit(net, path)
    _check(functional, tolerance, coupling, first_depth, budget, progress)
    quantile = 1.0 if confidence is None else two_sided_quantile(_probability(confidence))
    limit.check_exists()
    _refuse_without_law(limit)
    # A draw of one path carries the checks of seed, precision, device and inputs.
    check_representable(net.coefficient**2, dtype)
    one = path.sample(depth=1, n_paths=1, seed=seed, dtype=dtype, device=device)
    states = limit.start(as_states(h0, one))[0].detach()
    check_beta_length(net.beta, len(states))
    label = f"{path.label}, {net_label(net)}"
    described = (limit.equation, net_label(net), path.label, seed, path.width, len(states))
    if limit.kind == "identity":
        value = float(functional_values(functional, states.unsqueeze(0)))
        return InfiniteDepthExpectation(
            value, 0.0, 0.0, tolerance, (), "exact", *described, confidence
        )
    pairs, rule = _couple(limit, functional, states, seed, coupling)
    search = AdaptiveLevels(pairs, rule, tolerance, quantile, first_depth, budget, progress, label)
    value, error, bias, levels = search.run()
    return InfiniteDepthExpectation(
        value, error, bias, tolerance, levels, pairs.name, *described, confidence
    )


def _check(
    functional: object,
    tolerance: float,
    coupling: CouplingName | None,
    first_depth: object,
    budget: float,
    progress: object,
) -> None:
    check_functional(functional)
    check_positive(tolerance, "tolerance", 1e-3)
    check_positive(budget, "budget", 1e10)
    check_count(first_depth, "first_depth")
    if coupling is not None:
        check_choice(coupling, "coupling", CouplingName)
    check_progress(progress)


def _probability(confidence: object) -> float:
    if not is_number(confidence) or not 0 < float(confidence) < 1:
        raise LimitsError(
            f"confidence must be a probability between 0 and 1, found {confidence!r}. Use for "
            "example confidence=0.95, or leave it out to bound standard error + bias."
        )
    return float(confidence)


def _refuse_without_law(limit: DepthLimit) -> None:
    if isinstance(limit.path, TrainedPath):
        raise NoLimitError(
            "weights of one trained network have no law to take an expectation over. Solve its "
            "limit with TorchDiffEq and apply the functional to the solution."
        )
    if limit.theorem.driver == "nothing":
        raise NoLimitError(
            f"the limit on {limit.path.label} weights is deterministic ({limit.equation}). Solve "
            "it with TorchDiffEq and apply the functional to the solution."
        )


def _couple(
    limit: DepthLimit,
    functional: Functional,
    states: Tensor,
    seed: int,
    coupling: CouplingName | None,
) -> tuple[PairCoupling, Extrapolation]:
    law = depth_limit(limit.net, limit.path, form="law")
    has_path = limit.form == "path"
    if coupling != "path" and law.form == "law":
        try:
            equation = _joint(law, len(states))
        except NoLimitError:
            if coupling == "isotropic" or not has_path:
                raise
        else:
            stream = f"{limit.path.label}/width={limit.path.width}"
            pairs = IsotropicCoupling(equation, functional, states, stream, seed)
            return pairs, _rule(law)
    if coupling == "isotropic":
        raise NoLimitError(
            f"{limit.path.label} weights have no isotropic limit ({limit.equation}). Leave out "
            'coupling, or use coupling="path".'
        )
    if not has_path:
        raise NoLimitError(
            f"{block_label(limit.net.block)} on {limit.path.label} weights converges in law only, "
            'so networks of two depths on one path stay apart. Use coupling="isotropic".'
        )
    if limit.kind == "young":
        # The corrected network has the same limit, and approaches it faster.
        corrected = replace(limit.net, block=limit.block, corrected=True)
        order = depth_limit(corrected, limit.path).order or 0.5
        return PathCoupling(corrected, limit.path, functional, states, seed), Extrapolation(
            order, eliminates=False
        )
    return PathCoupling(limit.net, limit.path, functional, states, seed), _rule(limit)


def _rule(limit: DepthLimit) -> Extrapolation:
    """Reflection leaves a bias of order 1/2 where there is noise, and no expansion in 1/L."""
    if limit.reflected:
        return Extrapolation(limit.order or 0.5, eliminates=False)
    return Extrapolation()


def _joint(limit: DepthLimit, n_inputs: int) -> Isotropic:
    equation = isotropic_of(limit.net, limit.path)
    if equation.most_inputs is not None and n_inputs > equation.most_inputs:
        raise NoLimitError(
            f"the joint limit of {n_inputs} inputs has no closed form for {limit.path.label} "
            f"weights, only that of {equation.most_inputs}. Pass one input at a time."
        )
    return equation
