"""Weak errors: exact moments, paired differences, functionals and what they refuse."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import limits
from limits.closed_forms import (
    linear_second_moment,
    linear_weak_error,
    relu_correlation,
    relu_second_moment,
    relu_weak_error,
)

LINEAR = limits.ResNet("identity")
RES3 = limits.ResNet("relu", block="res-3")
DEPTHS = (4, 8, 16, 32, 64)
WIDTH = 8


def squared_norm(h: Tensor) -> Tensor:
    return h.square().sum(dim=-1)


def basis(width: int = WIDTH) -> Tensor:
    """Inputs whose squared norms fluctuate nearly independently: their mean costs few paths."""
    return torch.eye(width, dtype=torch.float64)


# --- the linear network, |h|^2 ------------------------------------------------------------------


@pytest.fixture(scope="module")
def coupled() -> limits.ConvergenceStudy:
    return limits.convergence_study(
        LINEAR,
        limits.BrownianPath(WIDTH),
        depths=DEPTHS,
        n_paths=4000,
        seed=0,
        h0=basis(),
        error="weak",
        functional=squared_norm,
        reference=256,
    )


# Orders over 8 seeds: 1.026 to 1.073, each with an interval of about +-0.075.
@pytest.mark.thorough
def test_linear_network_has_weak_order_one(coupled: limits.ConvergenceStudy) -> None:
    assert coupled.expected_order == 1
    assert abs(coupled.order.value - 1) < 0.1
    assert coupled.order.high - coupled.order.low < 0.2


# The most over 8 seeds and five depths: 1.4 standard errors.
@pytest.mark.thorough
def test_linear_network_has_the_exact_weak_error_at_every_depth(
    coupled: limits.ConvergenceStudy,
) -> None:
    exact = linear_second_moment(256) - linear_second_moment(DEPTHS)
    for error, value in zip(coupled.errors, exact, strict=True):
        assert error.standard_error < 0.1 * value + 0.01
        assert abs(error.value - value) < 4 * error.standard_error


def test_linear_network_has_the_exact_weak_error_against_the_number_e() -> None:
    study = limits.convergence_study(
        LINEAR,
        limits.BrownianPath(WIDTH),
        depths=DEPTHS,
        n_paths=4000,
        seed=1,
        h0=basis(),
        error="weak",
        functional=squared_norm,
        reference=math.e,
    )
    assert study.reference == "exact value 2.71828"
    # Signed differences: an absolute value would hide that a noisy mean is on the wrong side.
    means = study.path_errors.mean(axis=1)
    for mean, error, value in zip(means, study.errors, linear_weak_error(DEPTHS), strict=True):
        assert abs(mean + value) < 4 * error.standard_error
        assert error.standard_error < 0.02


def test_weak_error_of_the_linear_network_has_the_constant_e_over_two() -> None:
    depths = 2.0 ** np.arange(2, 12)
    errors = linear_weak_error(depths)
    assert errors[-1] * depths[-1] == pytest.approx(math.e / 2, rel=1e-3)
    # The local order climbs from 0.86 between 4 and 8 to 1; a fit over 4 to 64 finds 0.95.
    slopes = -np.diff(np.log2(errors))
    assert (np.diff(slopes) > 0).all()
    assert slopes[-1] == pytest.approx(1, abs=1e-3)


# --- other laws and blocks ----------------------------------------------------------------------


@pytest.mark.parametrize("law", ["rademacher", "uniform"])
def test_weights_that_are_not_gaussian_have_the_same_second_moment(law: str) -> None:
    path, depth, n_paths = limits.IIDPath(4, law=law), 8, 4000
    out = LINEAR(basis(4), path.sample(depth=depth, n_paths=n_paths, seed=0))
    error = limits.weak_error(out, float(linear_second_moment(depth)), functional=squared_norm)
    assert error.value < 4 * error.standard_error
    assert error.standard_error < 0.05


# At most 1.9 standard errors over 8 seeds, standard error 0.004 to 0.005.
def test_res3_has_its_exact_second_moment_at_every_depth() -> None:
    sample = limits.BrownianPath(WIDTH).sample(depth=16, n_paths=4000, seed=0)
    h0 = torch.cat([basis(), -basis()])
    for depth in (2, 4, 16):
        out = RES3(h0, sample.at_depth(depth))
        error = limits.weak_error(out, float(relu_second_moment(depth)), functional=squared_norm)
        assert error.standard_error < 0.01
        assert error.value < 4 * error.standard_error
    # Two depths share their paths, but the inner weights make the pair hardly more precise.
    a, b = (RES3(h0, sample.at_depth(depth)) for depth in (4, 16))
    gap = limits.weak_error(a, b, functional=squared_norm)
    exact = float(relu_weak_error(4) - relu_weak_error(16))
    assert abs(gap.value - exact) < 4 * gap.standard_error


@pytest.mark.thorough
def test_correlation_of_two_inputs_follows_the_kernel_equation() -> None:
    # Each path has inputs of its own, or all paths would share the chance correlations of two.
    width, n_paths, initial = 512, 16, 0.3
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, n_paths, width, generator=generator)
    first = first / first.norm(dim=-1, keepdim=True)
    second = second - (second * first).sum(dim=-1, keepdim=True) * first
    second = second / second.norm(dim=-1, keepdim=True)
    second = initial * first + math.sqrt(1 - initial**2) * second
    h0 = torch.stack([first, second], dim=1) * math.sqrt(width)
    sample = limits.BrownianPath(width).sample(
        depth=100, n_paths=n_paths, seed=0, dtype=torch.float32
    )
    states = limits.ResNet("relu")(h0, sample, keep="all").values
    cosines = torch.nn.functional.cosine_similarity(states[:, :, 0], states[:, :, 1], dim=-1)
    exact = relu_correlation([0.25, 0.5, 1.0], initial)
    # Over 8 seeds the differences at t = 1 were -0.017 to 0.010, with a spread of 0.009.
    for t, value in zip((0.25, 0.5, 1.0), exact, strict=True):
        assert abs(float(cosines[round(100 * t)].mean()) - value) < 0.02
    # Which moves by four times that, so that standing still would fail.
    assert exact[-1] - initial > 0.08


# --- pairing ------------------------------------------------------------------------------------


def test_paired_difference_is_exact_path_by_path() -> None:
    sample = limits.BrownianPath(4).sample(depth=16, n_paths=50, seed=0)
    a, b = LINEAR(basis(4), sample.at_depth(4)), LINEAR(basis(4), sample)
    differences = (squared_norm(a.terminal) - squared_norm(b.terminal)).mean(dim=1)
    found = limits.weak_error(a, b, functional=squared_norm)
    assert found.value == pytest.approx(abs(float(differences.mean())), rel=1e-12)
    assert found.standard_error == pytest.approx(float(differences.std()) / 50**0.5, rel=1e-12)
    assert found.n == 50


def test_pairing_shrinks_the_standard_error() -> None:
    path = limits.BrownianPath(4)
    sample = path.sample(depth=64, n_paths=500, seed=0)
    other = path.sample(depth=64, n_paths=500, seed=1)
    coarse = LINEAR(basis(4), sample.at_depth(32))
    paired = limits.weak_error(coarse, LINEAR(basis(4), sample), functional=squared_norm)
    unpaired = limits.weak_error(coarse, LINEAR(basis(4), other), functional=squared_norm)
    assert paired.standard_error < unpaired.standard_error / 3


def test_unpaired_standard_error_adds_both_variances() -> None:
    path = limits.BrownianPath(4)
    a = LINEAR(basis(4), path.sample(depth=8, n_paths=200, seed=0))
    b = LINEAR(basis(4), path.sample(depth=8, n_paths=300, seed=1))
    first, second = (squared_norm(each.terminal).mean(dim=1) for each in (a, b))
    found = limits.weak_error(a, b, functional=squared_norm)
    variance = float(first.var()) / 200 + float(second.var()) / 300
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-12)
    assert found.value == pytest.approx(abs(float(first.mean() - second.mean())), rel=1e-12)
    assert found.n == 200


def test_coupled_solutions_of_a_law_form_are_paired_too() -> None:
    path = limits.BrownianPath(6)
    limit = limits.depth_limit(RES3, path)
    noise = limit.sample(depth=64, n_paths=2000, seed=0)
    h0 = basis(6)[:1]
    fine = limits.EulerMaruyama().solve(limit, h0, noise)
    coarse = limits.EulerMaruyama(steps=8).solve(limit, h0, noise)
    gap = limits.weak_error(coarse, fine, functional=squared_norm)
    exact = (1 + 1 / 128) ** 64 - (1 + 1 / 16) ** 8
    assert gap.standard_error < 0.01
    assert abs(gap.value - exact) < 4 * gap.standard_error


def test_inputs_are_averaged_within_a_path() -> None:
    sample = limits.BrownianPath(4).sample(depth=8, n_paths=40, seed=0)
    out = LINEAR(basis(4), sample)
    together = limits.weak_error(out, 2.0, functional=squared_norm)
    alone = [
        limits.weak_error(LINEAR(row[None], sample), 0.0, functional=squared_norm).value
        for row in basis(4)
    ]
    assert together.value == pytest.approx(abs(np.mean(alone) - 2.0), rel=1e-12)


# --- refusals -----------------------------------------------------------------------------------


def test_functional_that_keeps_or_drops_an_axis_is_refused() -> None:
    out = LINEAR(basis(4)[:2], limits.BrownianPath(4).sample(depth=4, n_paths=3, seed=0))
    wrong = (lambda h: h, lambda h: h.sum(), lambda h: h.sum(dim=1), lambda h: 1.0)
    for functional in wrong:
        with pytest.raises(limits.ShapeError, match=r"\(3, 2\).*Reduce the last axis"):
            limits.weak_error(out, 0.0, functional=functional)


def test_functional_that_overflows_is_refused() -> None:
    out = LINEAR(basis(4), limits.BrownianPath(4).sample(depth=4, n_paths=3, seed=0))
    with pytest.raises(
        limits.NonFiniteStateError,
        match=r"out of 12\. .*finite on these states",
    ):
        limits.weak_error(out, 0.0, functional=lambda h: squared_norm(h) / 0)


@pytest.mark.thorough
def test_study_of_weak_errors_keeps_the_sign_of_every_path(
    coupled: limits.ConvergenceStudy,
) -> None:
    assert (coupled.path_errors < 0).any()
    assert (coupled.path_errors > 0).any()
    # (1 + 1/L)^L grows with L, so that the mean difference is negative.
    assert (coupled.path_errors.mean(axis=1) < 0).all()
    again = limits.ConvergenceStudy.from_dataset(coupled.to_dataset())
    np.testing.assert_array_equal(again.path_errors, coupled.path_errors)
    assert again.error_kind == "weak"
