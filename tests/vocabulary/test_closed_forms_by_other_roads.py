"""Closed forms of fractional, wide and independent weights against answers found otherwise."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import limits
from limits import closed_forms

# --- fractional weights -------------------------------------------------------------------------


def test_autocovariance_at_one_half_is_white_and_near_one_is_flat() -> None:
    # expm1 and log1p are rounded differently on processors without AVX-512: one unit of 1.
    white = closed_forms.fractional_autocovariance(range(4), 0.5)
    np.testing.assert_allclose(white, [1, 0, 0, 0], rtol=0, atol=np.finfo(float).eps)
    nearly = closed_forms.fractional_autocovariance([1, 10, 1000], 0.9999)
    np.testing.assert_allclose(nearly, 1, atol=2e-3)


@pytest.mark.parametrize("hurst", [0.1, 0.3, 0.7, 0.95])
def test_autocovariances_add_up_to_the_variance_of_the_sum(hurst: float) -> None:
    for n in (2, 10, 500):
        r = closed_forms.fractional_autocovariance(np.arange(n), hurst)
        total = n * r[0] + 2 * float(((n - np.arange(1, n)) * r[1:]).sum())
        assert total == pytest.approx(n ** (2 * hurst), rel=1e-11)


@pytest.mark.parametrize("hurst", [0.6, 0.75])
def test_young_constant_is_half_the_mean_of_a_lognormal(hurst: float) -> None:
    mean, _ = quad(lambda x: math.exp(x - x * x / 2) / math.sqrt(2 * math.pi), -12, 14)
    for depth in (1, 64, 10**6):
        error = float(closed_forms.young_linear_error(depth, hurst))
        assert error == pytest.approx(mean / 2 * depth ** (1 - 2 * hurst), rel=1e-10)


def test_young_error_of_one_layer_is_exact_in_the_mean_square_sense_only_asymptotically() -> None:
    # E|exp(X) - 1 - X| = e^(1/2) - 1 at L = 1, where the leading term says e^(1/2) / 2.
    gap, _ = quad(
        lambda x: (math.exp(x) - 1 - x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi), -12, 14
    )
    assert gap == pytest.approx(math.exp(0.5) - 1)
    assert float(closed_forms.young_linear_error(1, 0.7)) == pytest.approx(math.exp(0.5) / 2)


def test_drift_of_rough_weights_vanishes_at_one_layer_and_grows_to_its_limit() -> None:
    rates = closed_forms.rough_drift(2.0 ** np.arange(0, 40, 4), 0.2, 5)
    assert rates[0] == 0
    assert (np.diff(rates) > 0).all()
    assert rates[-1] == pytest.approx(0.1, rel=1e-6)
    assert float(closed_forms.rough_drift(np.inf, 0.2, 5)) == 0.1


def test_rough_relu_rates_meet_independent_weights_at_one_half() -> None:
    # r = 0 at H = 1/2, so the series is empty; what is left is Var relu(Z), not E relu(Z)^2:
    # the mean of relu(W h) adds up along the path and averages out only below 1/2.
    strength, decay = closed_forms.rough_relu_rates(0.5, 16)
    assert strength == pytest.approx(0.5 - 1 / (2 * math.pi))
    assert decay == pytest.approx(1 / (64 * math.pi))


@pytest.mark.parametrize(("hurst", "strength"), [(0.1, 0.419), (0.2, 0.394), (0.35, 0.359)])
def test_rough_relu_law_follows_from_its_rates(hurst: float, strength: float) -> None:
    width = 16
    found, decay = closed_forms.rough_relu_rates(hurst, width)
    assert found == pytest.approx(strength, abs=5e-4)
    law = closed_forms.rough_relu_law(hurst, width)
    # Ito for log|H|^2 of dH = (c / d)^(1/2) |H| dB - decay H dt.
    drift = found - 2 * decay - 2 * found / width
    assert law.mean == pytest.approx(drift, rel=1e-12)
    assert law.variance == pytest.approx(4 * found / width, rel=1e-12)


# --- infinite width -----------------------------------------------------------------------------


def relu_kernel(c: float) -> float:
    """Return 2 E relu(X) relu(Y) of unit normals of correlation c, over the quadrant's angles."""
    value, _ = quad(lambda a: math.cos(a) * math.cos(a - math.acos(c)), math.acos(c) - math.pi / 2,
                    math.pi / 2)  # fmt: skip
    return 2 * value / math.pi


@pytest.mark.parametrize("initial", [-0.9, 0.0, 0.3, 0.8])
def test_correlation_starts_at_half_the_gap_of_the_kernel(initial: float) -> None:
    step = 1e-5
    slope = (float(closed_forms.relu_correlation(step, initial)) - initial) / step
    assert slope == pytest.approx((relu_kernel(initial) - initial) / 2, abs=1e-4)


def test_correlation_is_a_flow() -> None:
    direct = closed_forms.relu_correlation(1.0, -0.2)
    half = float(closed_forms.relu_correlation(0.5, -0.2))
    assert float(closed_forms.relu_correlation(0.5, half)) == pytest.approx(float(direct), abs=1e-8)


def test_correlation_rises_towards_one_and_keeps_the_order_of_its_starts() -> None:
    times = np.linspace(0, 1, 11)
    curves = np.stack([closed_forms.relu_correlation(times, c) for c in (-0.9, 0.0, 0.5, 0.99)])
    assert curves.shape == (4, 11)
    np.testing.assert_allclose(curves[:, 0], [-0.9, 0.0, 0.5, 0.99], atol=1e-12)
    assert (np.diff(curves, axis=1) > 0).all()
    assert (np.diff(curves, axis=0) > 0).all()
    assert (curves <= 1).all()
    assert float(closed_forms.relu_correlation(1.0, 1.0)) == 1.0


def test_correlation_takes_times_that_do_not_start_at_zero() -> None:
    alone = float(closed_forms.relu_correlation(0.7, 0.1))
    among = closed_forms.relu_correlation([0.2, 0.7, 0.9], 0.1)[1]
    assert float(among) == pytest.approx(alone, abs=1e-6)


# --- independent weights ------------------------------------------------------------------------


@pytest.mark.parametrize("coefficient", [1.0, 0.5])
def test_weak_errors_are_gaps_between_second_moments(coefficient: float) -> None:
    depth = 2.0 ** np.arange(1, 8)
    scale = coefficient / np.sqrt(depth)
    np.testing.assert_allclose(
        closed_forms.linear_weak_error(depth, coefficient=coefficient),
        math.exp(coefficient**2) - (1 + scale**2) ** depth,
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        closed_forms.relu_weak_error(depth, coefficient=coefficient),
        math.exp(coefficient**2 / 2) - (1 + scale**2 / 2) ** depth,
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        closed_forms.linear_strong_error(depth, coefficient=coefficient) ** 2,
        closed_forms.linear_weak_error(depth, coefficient=coefficient),
        rtol=1e-9,
    )


def test_relu_weak_error_has_the_constant_of_theory() -> None:
    assert float(closed_forms.relu_weak_error(2**14)) * 2**14 == pytest.approx(
        math.exp(0.5) / 8, rel=1e-3
    )


def test_second_moments_survive_depths_and_scales_of_any_size() -> None:
    assert float(closed_forms.linear_second_moment(10**9)) == pytest.approx(math.e, rel=1e-8)
    assert float(closed_forms.relu_second_moment(10**9)) == pytest.approx(math.exp(0.5), rel=1e-8)
    assert float(closed_forms.linear_second_moment(1000, 1e-9)) == pytest.approx(1, abs=1e-14)


def test_everything_takes_arrays_and_is_public() -> None:
    depth = np.array([4, 8])
    assert closed_forms.young_linear_error(depth, 0.7).shape == (2,)
    assert closed_forms.rough_drift(depth, 0.2, 4).shape == (2,)
    assert closed_forms.linear_nested_strong_error(depth, 16).shape == (2,)
    assert limits.closed_forms is closed_forms
    for name in ("rough_relu_law", "relu_correlation", "log_norm_law", "LogNormal"):
        assert callable(getattr(closed_forms, name))
        assert getattr(closed_forms, name).__doc__


def test_nested_error_of_two_depths_is_measured_exactly_by_their_difference() -> None:
    width, coefficient = 3, 0.8
    sample = limits.BrownianPath(width).sample(depth=16, n_paths=4000, seed=0)
    net = limits.ResNet("identity", coefficient=coefficient)
    h0 = torch.eye(width, dtype=torch.float64)
    error = limits.strong_error(net(h0, sample.at_depth(4)), net(h0, sample))
    exact = float(closed_forms.linear_nested_strong_error(4, 16, coefficient=coefficient))
    assert abs(error.value - exact) < 4 * error.standard_error
    assert error.standard_error < 0.02 * exact


@pytest.mark.parametrize("hurst", [0.3, 0.7])
def test_the_border_of_fractional_relu_networks_is_that_of_small_networks(hurst):
    """|h_L - h_0|^2 of two depths, 4000 networks at a scale at which states hardly move.

    The change of the exponent over 8 seeds has a deviation of 0.006 or less.
    """
    shallow, deep = 8, 32
    path = limits.FractionalPath(4, hurst=hurst)
    sample = path.sample(depth=deep, n_paths=4000, seed=0)
    h0 = torch.ones(1, 4, dtype=torch.float64)
    net = limits.ResNet("relu", block="res-3", beta=0.0, coefficient=1e-3)
    squares = [
        float((net(h0, sample.at_depth(depth)).terminal - h0).square().sum(dim=-1).mean())
        for depth in (shallow, deep)
    ]
    found = math.log(squares[1] / squares[0]) / (2 * math.log(deep / shallow))
    expected = closed_forms.fractional_relu_border(hurst, shallow, deep)
    assert abs(found - expected) < 0.025
    assert abs(max(hurst, 0.5) - expected) > 0.01


@pytest.mark.parametrize(("hurst", "limit"), [(0.2, 0.5), (0.7, 0.7), (0.9, 0.9)])
def test_the_border_of_fractional_relu_networks_tends_to_the_theorem(hurst, limit):
    border = closed_forms.fractional_relu_border
    gaps = [limit - border(hurst, 2**k, 2 ** (k + 2)) for k in (6, 12, 18)]
    assert gaps[0] > 1.2 * gaps[1] > 1.44 * gaps[2] > 0
    assert gaps[2] < 0.015
