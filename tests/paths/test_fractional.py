"""Fractional Gaussian noise: its covariance without sampling, and then with."""

import math
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import limits
from limits.closed_forms import fractional_autocovariance
from limits.paths.fractional import circulant_amplitudes, noise_from_normals
from limits.randomness import Stream
from tests.helpers import unit_normals

HURSTS = (0.05, 0.1, 0.25, 0.35, 0.5, 0.6, 0.75, 0.9, 0.97, 0.99)
LENGTHS = (2, 3, 5, 16, 31, 64, 100, 200)


@cache
def exact_autocovariance(lag: int, hurst: float) -> float:
    """Return ((j + 1)^2H - 2 j^2H + (j - 1)^2H) / 2, in forty digits, rounded once."""
    with localcontext() as context:
        context.prec = 40
        power = 2 * Decimal(hurst)
        terms = [Decimal(abs(lag + step)) ** power for step in (1, 0, -1)]
        return float((terms[0] - 2 * terms[1] + terms[2]) / 2)


def toeplitz(depth: int, hurst: float) -> Tensor:
    """Return the covariance of `depth` consecutive values of unit variance."""
    row = torch.tensor([exact_autocovariance(j, hurst) for j in range(depth)], dtype=torch.float64)
    index = torch.arange(depth)
    return row[(index[:, None] - index).abs()]


def linear_map(depth: int, hurst: float, *, width: int = 1, read_at: int | None = None) -> Tensor:
    """Return A, one row per normal of a draw and one column per entry of all order-one weights."""
    n_normals = 2 * depth * width**2
    with unit_normals(Stream):
        sample = limits.FractionalPath(width, hurst=hurst).sample(
            depth=depth, n_paths=n_normals, seed=0
        )
        weights = sample.at_depth(depth if read_at is None else read_at).layer_weights
    return weights.transpose(0, 1).reshape(n_normals, -1)


# --- the autocovariance -------------------------------------------------------------------------


@pytest.mark.parametrize("hurst", HURSTS)
def test_autocovariance_agrees_with_forty_digits_at_every_lag(hurst: float) -> None:
    lags = [0, 1, 2, 3, 10, 57, 200, 1000, 10**5, 2**20]
    exact = np.array([exact_autocovariance(lag, hurst) for lag in lags])
    found = fractional_autocovariance(lags, hurst)
    # Relative: the textbook difference of powers is wrong in the first digit at 2^20.
    np.testing.assert_allclose(found, exact, rtol=2e-9, atol=1e-16)
    np.testing.assert_array_equal(fractional_autocovariance([-3, -57], hurst), found[[3, 5]])


@pytest.mark.parametrize("hurst", [0.05, 0.2, 0.4])
def test_rough_autocovariance_sums_to_minus_one_half(hurst: float) -> None:
    terms = 2**20
    total = fractional_autocovariance(np.arange(1, terms), hurst).sum()
    # The sum telescopes: to (J^2H - (J - 1)^2H) / 2 - 1/2, of order H J^(2H - 1).
    assert total + 0.5 == pytest.approx(
        -(terms ** (2 * hurst)) / 2 * math.expm1(2 * hurst * math.log1p(-1 / terms)), rel=1e-4
    )


# --- the draw, fed with unit vectors ------------------------------------------------------------


@pytest.mark.parametrize("hurst", HURSTS)
def test_covariance_of_the_noise_is_exact(hurst: float) -> None:
    for depth in LENGTHS:
        A = noise_from_normals(torch.eye(2 * depth, dtype=torch.float64), depth, hurst)
        torch.testing.assert_close(A.T @ A, toeplitz(depth, hurst), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hurst", HURSTS)
def test_covariance_of_layer_weights_is_exact(hurst: float) -> None:
    for depth in (1, 2, 16, 31, 200):
        A = linear_map(depth, hurst)
        torch.testing.assert_close(A.T @ A, toeplitz(depth, hurst), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hurst", [0.1, 0.7])
def test_entries_of_a_matrix_are_independent_of_variance_one_over_width(hurst: float) -> None:
    depth, width = 6, 3
    A = linear_map(depth, hurst, width=width)
    entries = torch.eye(width**2, dtype=torch.float64)
    exact = torch.kron(toeplitz(depth, hurst), entries) / width
    torch.testing.assert_close(A.T @ A, exact, rtol=0, atol=1e-12)


def test_entries_that_are_drawn_in_several_groups_stay_independent() -> None:
    # 2 * depth numbers an entry, 2^15 a group: these four entries take two groups.
    depth, width = 5000, 2
    sample = limits.FractionalPath(width, hurst=0.7).sample(depth=depth, n_paths=16, seed=0)
    series = sample.layer_weights.permute(1, 2, 3, 0).reshape(16, width**2, depth)
    # Increments of the series are nearly white, so that correlations are small: 1/sqrt(80000).
    steps = series.diff(dim=-1)
    for a in range(width**2):
        for b in range(a):
            product = (steps[:, a] * steps[:, b]).mean() / steps.square().mean()
            # Spread over 8 seeds: 0.0039; the most over pairs and seeds 0.0102.
            assert abs(float(product)) < 0.02


@pytest.mark.parametrize("hurst", HURSTS)
@pytest.mark.parametrize(("depth", "read_at"), [(200, 40), (64, 8), (30, 15), (12, 1)])
def test_coarse_noise_has_the_law_of_noise_drawn_coarse(
    hurst: float, depth: int, read_at: int
) -> None:
    A = linear_map(depth, hurst, read_at=read_at)
    # Order-one weights at both depths, so the covariance is the same r, with no factor left.
    torch.testing.assert_close(A.T @ A, toeplitz(read_at, hurst), rtol=0, atol=1e-12)


@pytest.mark.parametrize("hurst", HURSTS)
def test_sums_of_increments_scale_by_the_ratio_of_depths(hurst: float) -> None:
    depth, ratio = 120, 5
    A = noise_from_normals(torch.eye(2 * depth, dtype=torch.float64), depth, hurst)
    sums = A.unflatten(1, (depth // ratio, ratio)).sum(dim=2)
    exact = ratio ** (2 * hurst) * toeplitz(depth // ratio, hurst)
    torch.testing.assert_close(sums.T @ sums, exact, rtol=0, atol=2e-12 * ratio ** (2 * hurst))


def test_at_one_half_the_layers_are_independent() -> None:
    A = linear_map(64, 0.5)
    torch.testing.assert_close(A.T @ A, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-13)


# --- eigenvalues --------------------------------------------------------------------------------


def smallest_eigenvalue(depth: int, hurst: float) -> float:
    """Return the smallest eigenvalue of the circulant row, before anything is clipped."""
    half = fractional_autocovariance(np.arange(depth + 1), hurst)
    return float(np.fft.rfft(np.concatenate([half, half[depth - 1 : 0 : -1]])).real.min())


@pytest.mark.parametrize("hurst", [0.01, 0.05, 0.3, 0.6, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("log_depth", [1, 5, 10, 16])
def test_embedding_has_no_negative_eigenvalue(hurst: float, log_depth: int) -> None:
    assert smallest_eigenvalue(2**log_depth, hurst) >= 0
    assert float(circulant_amplitudes(2**log_depth, hurst).min()) >= 0


@pytest.mark.parametrize("hurst", [0.05, 0.9, 0.97, 0.99])
def test_embedding_has_no_negative_eigenvalue_at_a_million_layers(hurst: float) -> None:
    assert smallest_eigenvalue(2**20, hurst) >= 0


def test_embedding_keeps_every_eigenvalue_once() -> None:
    depth, hurst = 50, 0.9
    # Their mean is r(0) = 1; a Nyquist eigenvalue replaced by the zeroth one gives 1.226.
    squares = circulant_amplitudes(depth, hurst).square()
    total = 2 * squares.sum() - squares[0] - squares[depth]
    assert float(total) / (2 * depth) == pytest.approx(1, abs=1e-12)


# --- the draw, statistically --------------------------------------------------------------------


@pytest.mark.parametrize("hurst", [0.2, 0.7, 0.95])
def test_drawn_layer_weights_have_their_variance_and_correlation(hurst: float) -> None:
    width, n_paths = 4, 512
    sample = limits.FractionalPath(width, hurst=hurst).sample(depth=32, n_paths=n_paths, seed=3)
    V = sample.layer_weights * math.sqrt(width)
    samples = V.permute(1, 2, 3, 0).reshape(-1, 32)
    found = samples.T @ samples / len(samples)
    # 8192 independent series. Over 8 seeds the largest difference of an entry was 0.035 to 0.049
    # (H = 0.2), 0.033 to 0.045 (0.7), 0.031 to 0.050 (0.95), the mean variance 0.985 to 1.017.
    assert float((found - toeplitz(32, hurst)).abs().max()) < 0.06
    assert float(found.diagonal().mean()) == pytest.approx(1, abs=0.03)


def test_inner_path_has_the_same_law_and_is_independent() -> None:
    sample = limits.FractionalPath(4, hurst=0.8).sample(depth=16, n_paths=256, seed=0)
    outer, inner = sample.layer_weights * 2, sample.inner.layer_weights * 2
    assert float(inner.square().mean()) == pytest.approx(1, abs=0.05)
    # Over 8 seeds: the mean product within 0.0045 of zero, the variance within 0.016 of one.
    assert abs(float((outer * inner).mean())) < 0.01


# --- reading ------------------------------------------------------------------------------------


def test_shallower_readings_compose() -> None:
    sample = limits.FractionalPath(3, hurst=0.3).sample(depth=48, n_paths=5, seed=1)
    direct, detour = sample.at_depth(6), sample.at_depth(24).at_depth(6)
    torch.testing.assert_close(direct.increments, detour.increments, rtol=0, atol=1e-15)
    sums = sample.increments.unflatten(0, (6, 8)).sum(dim=1)
    torch.testing.assert_close(direct.increments, sums, rtol=0, atol=1e-14)


def test_increments_are_layer_weights_over_depth_to_the_hurst_index() -> None:
    sample = limits.FractionalPath(3, hurst=0.3).sample(depth=48, n_paths=5, seed=1)
    for depth in (48, 12):
        reading = sample.at_depth(depth)
        torch.testing.assert_close(
            reading.layer_weights, reading.increments * depth**0.3, rtol=1e-13, atol=0
        )


@pytest.mark.parametrize("width", [1, 3])
def test_first_paths_of_a_longer_draw_are_the_same(width: int) -> None:
    path = limits.FractionalPath(width, hurst=0.7)
    few = path.sample(depth=32, n_paths=5, seed=9).increments
    many = path.sample(depth=32, n_paths=40, seed=9).increments
    assert torch.equal(few, many[:, :5])


@pytest.mark.parametrize("depth", [32, 64, 1000])
def test_threads_change_no_bit(depth: int) -> None:
    threads = torch.get_num_threads()
    draws = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        sample = limits.FractionalPath(2, hurst=0.7).sample(depth=depth, n_paths=48, seed=0)
        draws.append(sample.increments)
    torch.set_num_threads(threads)
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


def test_single_precision_reads_the_same_path() -> None:
    path, net = limits.FractionalPath(4, hurst=0.7), limits.ResNet("tanh")
    h0 = torch.linspace(-1, 1, 4, dtype=torch.float64)[None]
    double = net(h0, path.sample(depth=256, n_paths=16, seed=2)).terminal
    sample = path.sample(depth=256, n_paths=16, seed=2, dtype=torch.float32)
    single = net(h0.float(), sample).terminal
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


def test_chunks_change_no_number() -> None:
    path, net = limits.FractionalPath(2, hurst=0.7), limits.ResNet("tanh")
    studies = [
        limits.convergence_study(
            net, path, depths=(4, 8, 16), n_paths=70, seed=0, chunk=chunk, reference=64
        )
        for chunk in (16, 48, None)
    ]
    for other in studies[1:]:
        np.testing.assert_array_equal(studies[0].path_errors, other.path_errors)


def test_different_indices_are_different_draws() -> None:
    tags = {
        limits.FractionalPath(2, hurst=hurst).sample(depth=depth, n_paths=2, seed=0).tag
        for hurst in (0.3, 0.7, 0.71)
        for depth in (8, 16)
    }
    assert len(tags) == 6
    sample = limits.FractionalPath(2, hurst=0.7).sample(depth=16, n_paths=2, seed=0)
    assert sample.at_depth(4).tag == sample.tag


def test_family_index_and_critical_exponent_follow_the_hurst_index() -> None:
    rows = {
        hurst: (path.family, path.index, path.critical_beta)
        for hurst in (0.2, 0.5, 0.8)
        for path in [limits.FractionalPath(2, hurst=hurst)]
    }
    assert rows == {
        0.2: ("antipersistent", 0.2, 0.5),
        0.5: ("brownian", 0.5, 0.5),
        0.8: ("persistent", 0.8, 0.8),
    }
