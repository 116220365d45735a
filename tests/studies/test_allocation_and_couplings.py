"""The parts of an infinite-depth expectation: weights, bias, allocation, couplings."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import limits
from limits.equations.isotropic import isotropic_of
from limits.studies.infinite_depth.couplings import IsotropicCoupling, PathCoupling
from limits.studies.infinite_depth.levels import (
    Extrapolation,
    Tally,
    allocation,
    moments,
    trusted_variances,
)
from tests.helpers import normal_inputs

LINEAR, TANH = limits.ResNet("identity"), limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")
WIDTH = 3
BROWNIAN = limits.BrownianPath(WIDTH)
SMOOTH = limits.SmoothPath(WIDTH)
H0 = torch.ones(1, WIDTH, dtype=torch.float64)


def norm(h: Tensor) -> Tensor:
    return h.norm(dim=-1)


@pytest.fixture(autouse=True)
def _one_thread(_threads: None) -> None:
    """States here are small, and threads that wait for one another cost more than they save."""
    torch.set_num_threads(1)


# --- weights and bias ---------------------------------------------------------------------------


def level_means(limit: float, *constants: float, n_levels: int = 6) -> list[float]:
    """Means of the levels of an error c_1 / L + c_2 / L^2 + ..."""
    depths = 2.0 ** np.arange(n_levels)
    partial = limit + sum(c / depths**k for k, c in enumerate(constants, start=1))
    return [float(each) for each in np.diff(partial, prepend=0.0)]


@given(c1=st.floats(-9, 9), c2=st.floats(-9, 9), n_levels=st.integers(3, 12))
def test_extrapolation_removes_the_first_two_terms(c1: float, c2: float, n_levels: int) -> None:
    means = level_means(1.0, c1, c2, n_levels=n_levels)
    assert Extrapolation().value(means) == pytest.approx(1.0, abs=1e-12)
    assert Extrapolation(eliminates=False).value(means) == pytest.approx(sum(means), abs=1e-12)


@pytest.mark.parametrize("power", [2.0, 2.5, 3.0])
def test_bias_is_never_below_what_is_left(power: float) -> None:
    for n_levels in range(5, 10):
        depths = 2.0 ** np.arange(n_levels)
        means = list(np.diff(1 + depths**-power, prepend=0.0))
        left = abs(Extrapolation().value(means) - 1)
        bias, _ = Extrapolation().bias(means, [0.0] * n_levels)
        assert left <= bias * (1 + 1e-9) + 1e-15
        assert bias < 20 * left + 1e-12


@pytest.mark.parametrize("order", [0.4, 0.7, 1.0])
def test_bias_without_elimination_is_the_geometric_rest(order: float) -> None:
    depths = 2.0 ** np.arange(7)
    means = list(np.diff(1 + depths**-order, prepend=0.0))
    bias, _ = Extrapolation(order, eliminates=False).bias(means, [0.0] * 7)
    assert bias == pytest.approx(depths[-1] ** -order, rel=1e-12)


def test_change_that_vanishes_by_chance_does_not_end_the_search() -> None:
    rule, means = Extrapolation(), level_means(1.0, 0.0, 0.0, 8.0)
    honest, _ = rule.bias(means, [0.0] * 6)
    assert honest > abs(rule.value(means) - 1)
    # The last mean is moved to where the last change is zero.
    means[-1] -= (rule.value(means) - rule.value(means[:-1])) / rule.weights(6)[-1]
    assert rule.value(means) == pytest.approx(rule.value(means[:-1]), abs=1e-14)
    bias, _ = rule.bias(means, [0.0] * 6)
    assert bias == pytest.approx(honest, rel=1e-9)


@pytest.mark.thorough
def test_doubt_of_the_bias_is_its_standard_error() -> None:
    rule, generator = Extrapolation(), np.random.default_rng(0)
    errors = np.array([0.3, 0.1, 0.03, 0.02, 0.01])
    values = [rule.value(list(noise)) - rule.value(list(noise[:-1]))
              for noise in generator.normal(size=(20_000, 5)) * errors]  # fmt: skip
    _, doubt = rule.bias([0.0] * 5, list(errors))
    assert doubt == pytest.approx(float(np.std(values)) / 3, rel=0.03)


# --- allocation ---------------------------------------------------------------------------------


def tally_of(depth: int, coarse: int | None, spread: float) -> Tally:
    tally = Tally(depth, coarse)
    tally.add([moments(spread * torch.tensor([-1.0, 1.0] * 50, dtype=torch.float64))])
    return tally


def test_moments_add_up_whatever_the_parts() -> None:
    values = normal_inputs(1000, seed=3) + 100
    whole, parted = Tally(1, None), Tally(1, None)
    whole.add([moments(values)])
    parted.add([moments(part) for part in values.split(96)])
    assert parted.count == whole.count == 1000
    assert parted.mean == pytest.approx(float(values.mean()), rel=1e-13)
    assert parted.variance == pytest.approx(float(values.var()), rel=1e-10)
    apart = values - values.mean()
    event = float(apart.pow(4).sum() / apart.square().sum())
    assert whole.event == pytest.approx(event, rel=1e-10)
    assert parted.event == pytest.approx(event, rel=1e-10)
    assert parted.events == pytest.approx(float(apart.square().sum()) / event, rel=1e-10)


def test_allocation_meets_the_standard_error_at_the_least_cost() -> None:
    spreads = (1.0, 0.5, 0.4, 0.2)
    tallies = [tally_of(2**k, 2 ** (k - 1) if k else None, s) for k, s in enumerate(spreads)]
    weights, target = (1.0, 1.0, 2 / 3, 8 / 3), 0.01

    def reached(counts: np.ndarray) -> float:
        variances = trusted_variances(tallies)
        parts = [w**2 * v / n for w, v, n in zip(weights, variances, counts, strict=True)]
        return math.sqrt(sum(parts))

    costs = np.array([tally.cost for tally in tallies])
    best = np.array(allocation(tallies, weights, target))
    assert reached(best) == pytest.approx(target, rel=1e-3)
    generator = np.random.default_rng(0)
    for _ in range(200):
        other = best * np.exp(0.2 * generator.normal(size=4))
        other *= (reached(other) / target) ** 2
        assert other @ costs >= (best @ costs) * (1 - 1e-3)


def test_level_without_a_visible_variance_is_not_trusted() -> None:
    tallies = [tally_of(1, None, 1.0), tally_of(2, 1, 1.0), tally_of(4, 2, 0.0)]
    counts = allocation(tallies, (1.0, 1.0, 1.0), 0.1)
    assert counts[2] == pytest.approx(counts[1] * math.sqrt(6 / 12 / 4), rel=0.01)


def met(times: int, n: int, depth: int = 1, coarse: int | None = None) -> Tally:
    """Return a level that met an event of size 1/2 so many times in n draws."""
    tally = Tally(depth, coarse)
    values = torch.zeros(n, dtype=torch.float64)
    values[:times] = 0.5
    tally.add([moments(values)])
    return tally


def test_events_of_an_indicator_are_counted() -> None:
    assert met(20, 10_000).events == pytest.approx(20, rel=0.01)
    assert met(20, 10_000).event == pytest.approx(0.25, rel=0.01)
    assert met(0, 64).events == met(0, 64).event == 0


def test_variance_of_few_events_includes_what_was_missed() -> None:
    (variance,) = trusted_variances([met(25, 10_000)])
    assert variance == pytest.approx(0.25 * (25 + 2 * 5 + 3) / 10_000, rel=0.01)
    (nothing,) = trusted_variances([met(0, 10_000)])
    assert nothing == pytest.approx(0.25 * 3 / 10_000, rel=1e-12)


def test_level_that_met_nothing_expects_events_as_large_as_elsewhere() -> None:
    small, large = met(0, 1000, 2, 1), met(40, 1000)
    assert trusted_variances([large, small])[1] == pytest.approx(large.event * 3 / 1000)


# --- couplings ----------------------------------------------------------------------------------


def isotropic(net: limits.ResNet, h0: Tensor = H0, seed: int = 0) -> IsotropicCoupling:
    width = h0.shape[1]
    equation = isotropic_of(net, limits.BrownianPath(width))
    return IsotropicCoupling(equation, norm, h0, "test", seed)


def on_path(path: limits.WeightPath, seed: int = 0) -> PathCoupling:
    return PathCoupling(TANH, path, norm, H0, seed)


@pytest.mark.parametrize("depth", [1, 2, 4, 64, 320])
def test_draws_do_not_depend_on_how_many_are_made_at_once(depth: int) -> None:
    pairs = isotropic(TANH, normal_inputs(2, 8))
    coarse = depth // 2 or None
    whole = pairs.differences(depth, coarse, 0, 100)
    assert torch.equal(whole[:37], pairs.differences(depth, coarse, 0, 37))
    assert torch.equal(whole[37:], pairs.differences(depth, coarse, 37, 63))
    assert len(whole.unique()) == len(whole)


@pytest.mark.parametrize("count", [1, 2])
def test_isotropic_draws_are_euler_schemes_on_one_noise_and_its_mirror_image(count: int) -> None:
    pairs = isotropic(TANH, normal_inputs(count, WIDTH))
    pairs = replace(pairs, equation=replace(pairs.equation, decay=0.7))
    noise = [each.double() / math.sqrt(8) for each in pairs._steps(8, 0, 16)]

    def terminal(sign: float, steps: list[Tensor]) -> Tensor:
        h = pairs.h0.expand(16, -1, -1)
        for step in steps:
            h = h + sign * pairs.equation.diffuse(h, step) - 0.7 * h / len(steps)
        return norm(h).mean(dim=1)

    halved = [a + b for a, b in zip(noise[::2], noise[1::2], strict=True)]
    deep = (terminal(1, noise) + terminal(-1, noise)) / 2
    shallow = (terminal(1, halved) + terminal(-1, halved)) / 2
    assert torch.allclose(pairs.differences(8, None, 0, 16), deep, atol=1e-12)
    assert torch.allclose(pairs.differences(8, 4, 0, 16), deep - shallow, atol=1e-12)


def test_path_draws_are_networks_on_one_draw_and_its_mirror_image() -> None:
    pairs = on_path(BROWNIAN)
    found = pairs.differences(8, 4, 16, 32)

    seeds = []

    class Recorded(limits.BrownianPath):
        def sample(self, **arguments):
            seeds.append(arguments["seed"])
            return super().sample(**arguments)

    recorded = Recorded(WIDTH)
    assert torch.equal(found, on_path(recorded).differences(8, 4, 16, 32))
    sample = recorded.sample(depth=8, n_paths=48, seed=seeds[0])
    weights = sample.increments
    expected = torch.zeros(32, dtype=torch.float64)
    for depth, sign in ((8, 1), (8, -1), (4, 1), (4, -1)):
        h = H0.expand(48, -1, -1)
        for step in weights.unflatten(0, (depth, -1)).sum(dim=1):
            h = h + sign * torch.einsum("pij,pnj->pni", step, torch.tanh(h))
        expected += (norm(h)[16:, 0]) / (2 if depth == 8 else -2)
    assert torch.allclose(found, expected, atol=1e-12)


# Correlations over 8 seeds: at most 0.08 in size.
@pytest.mark.parametrize("path", [BROWNIAN, SMOOTH, limits.FractionalPath(WIDTH, hurst=0.7)])
def test_levels_are_independent(path: limits.WeightPath) -> None:
    levels = [on_path(path), isotropic(TANH)] if path is BROWNIAN else [on_path(path)]
    for pairs in levels:
        rows = [pairs.differences(depth, None, 0, 1024) for depth in (2, 4, 8)]
        correlations = torch.corrcoef(torch.stack(rows)) - torch.eye(3)
        assert correlations.abs().max() < 0.13


@pytest.mark.parametrize("pairs", [isotropic(TANH), on_path(BROWNIAN), on_path(SMOOTH)])
def test_mirror_images_cancel_what_is_odd(pairs: IsotropicCoupling | PathCoupling) -> None:
    # At depth one the state is linear in the draw, so that its components have no fluctuation.
    linear = type(pairs)(**{**vars(pairs), "functional": lambda h: h.sum(dim=-1)})
    values = linear.differences(1, None, 0, 32)
    assert torch.allclose(values, values.new_full((), float(H0.sum())), atol=1e-12)


# Ratios of consecutive variances over 8 seeds: 1.7 to 2.3, for smooth weights 3.8 to 4.9.
@pytest.mark.thorough
def test_deeper_levels_have_smaller_variances() -> None:
    for pairs in (isotropic(LINEAR), on_path(BROWNIAN), on_path(SMOOTH)):
        spreads = [float(pairs.differences(2 * d, d, 0, 4096).var()) for d in (8, 16, 32)]
        assert spreads[0] > 1.4 * spreads[1] > 1.4 * 1.4 * spreads[2]
