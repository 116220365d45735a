import math

import numpy as np
import pytest
import torch

import limits
from limits.randomness import Stream
from tests.helpers import unit_normals
from tests.problems import kernel

KERNELS = ("rbf", "rbf-derivative", "matern-5/2")
# The Matérn spectrum has a heavy tail, which is cut where 1e-8 of the variance is left.
TOLERANCE = {"rbf": 1e-12, "rbf-derivative": 1e-12, "matern-5/2": 2e-8}
# Both ends, nodes of a few depths, and times that are no node of anything.
TIMES = torch.tensor(
    sorted([*np.linspace(0, 1, 17), *(1 / 3, 1 / math.pi, 0.4142, 0.9999, 1e-5)]),
    dtype=torch.float64,
)


def linear_map(path: limits.SmoothPath, times: torch.Tensor) -> torch.Tensor:
    """Return A with one row per normal of the draw, one column per entry of V at `times`."""
    n_normals = path.features(times[:1]).shape[1] * path.width**2
    with unit_normals(Stream):
        sample = path.sample(depth=8, n_paths=n_normals, seed=0)
        return sample.weights_at(times).permute(1, 0, 2, 3).reshape(n_normals, -1)


@pytest.mark.parametrize("length_scale", [0.03, 0.1, 0.25, 1, 3.0])
@pytest.mark.parametrize("name", KERNELS)
def test_covariance_is_the_kernel_at_any_two_times(name, length_scale):
    path = limits.SmoothPath(1, length_scale=length_scale, kernel=name)
    A = linear_map(path, TIMES)
    exact = kernel(name, length_scale, TIMES[:, None] - TIMES)
    torch.testing.assert_close(A.T @ A, exact, rtol=0, atol=TOLERANCE[name])


@pytest.mark.parametrize("name", KERNELS)
def test_entries_are_independent_of_variance_one_over_width(name):
    path = limits.SmoothPath(2, length_scale=0.5, kernel=name)
    times = TIMES[::4]
    A = linear_map(path, times)
    covariance = kernel(name, 0.5, times[:, None] - times) / 2
    exact = torch.kron(covariance, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(A.T @ A, exact, rtol=0, atol=TOLERANCE[name])


@pytest.mark.parametrize("depth", [8, 100])
def test_layer_weights_have_the_kernel_of_their_nodes(depth):
    # The network's reading, where the one above is an adaptive solver's.
    path = limits.SmoothPath(1, length_scale=0.1)
    n_normals = path.features(TIMES[:1]).shape[1]
    with unit_normals(Stream):
        sample = path.sample(depth=depth, n_paths=n_normals, seed=0)
        A = sample.layer_weights.reshape(depth, n_normals)
    nodes = torch.arange(depth, dtype=torch.float64) / depth
    exact = kernel("rbf", 0.1, nodes[:, None] - nodes)
    torch.testing.assert_close(A @ A.T, exact, rtol=0, atol=1e-12)


def test_inner_and_outer_weights_are_uncorrelated():
    path = limits.SmoothPath(1, length_scale=0.3)
    size = path.features(TIMES[:1]).shape[1]
    with unit_normals(Stream):
        sample = path.sample(depth=4, n_paths=2 * size, seed=0)
        outer, inner = (each.weights_at(TIMES)[..., 0, 0] for each in (sample, sample.inner))
    exact = kernel("rbf", 0.3, TIMES[:, None] - TIMES)
    torch.testing.assert_close(inner @ inner.T, exact, rtol=0, atol=1e-12)
    torch.testing.assert_close(outer @ outer.T, exact, rtol=0, atol=1e-12)
    assert float((outer @ inner.T).abs().max()) == 0


def test_rbf_derivative_is_the_limit_of_normalised_increments():
    # (Z(t + 1/L) - Z(t)) / sd has the covariance (2 k(r) - k(r + 1/L) - k(r - 1/L)) / sd^2.
    lags = torch.linspace(0, 1, 41, dtype=torch.float64)
    step = 1e-3

    def rbf(r):
        return kernel("rbf", 0.1, r)

    variance = 2 - 2 * math.exp(-((step / 0.1) ** 2) / 2)
    increments = (2 * rbf(lags) - rbf(lags + step) - rbf(lags - step)) / variance
    torch.testing.assert_close(increments, kernel("rbf-derivative", 0.1, lags), rtol=0, atol=5e-5)


@pytest.mark.parametrize("depth", [1, 6, 16, 17, 100])
@pytest.mark.parametrize("name", KERNELS)
def test_layer_weights_are_the_path_at_the_left_ends_of_the_layers(name, depth):
    path = limits.SmoothPath(3, length_scale=0.2, kernel=name)
    sample = path.sample(depth=depth, n_paths=20, seed=1)
    times = torch.arange(depth, dtype=torch.float64) / depth
    torch.testing.assert_close(
        sample.layer_weights, sample.weights_at(times), rtol=1e-12, atol=1e-13
    )
    for k in {0, depth // 2, depth - 1}:
        torch.testing.assert_close(
            sample.layer_weights[k], sample.weights_at(k / depth), rtol=1e-12, atol=1e-13
        )


def test_increments_are_weights_over_depth():
    sample = limits.SmoothPath(3).sample(depth=12, n_paths=16, seed=0)
    for depth in (12, 4):
        read = sample.at_depth(depth)
        torch.testing.assert_close(read.increments, read.layer_weights / depth, rtol=1e-14, atol=0)


def test_weights_at_takes_a_number_or_a_vector_of_times():
    sample = limits.SmoothPath(3).sample(depth=4, n_paths=20, seed=0)
    together = sample.weights_at(TIMES)
    assert together.shape == (len(TIMES), 20, 3, 3)
    for i in (0, 7, len(TIMES) - 1):
        alone = sample.weights_at(TIMES[i])
        assert alone.shape == (20, 3, 3)
        torch.testing.assert_close(alone, together[i], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(sample.weights_at(float(TIMES[i])), alone, rtol=0, atol=0)
    assert sample.weights_at(TIMES[:1]).shape == (1, 20, 3, 3)
    assert sample.weights_at(1).shape == (20, 3, 3)


def test_weights_at_have_the_sample_s_precision():
    path = limits.SmoothPath(3)
    single, double = (
        path.sample(depth=4, n_paths=20, seed=0, dtype=dtype).weights_at(0.3)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-6, atol=1e-7)


def test_weights_at_of_a_part_are_those_of_the_whole():
    sample = limits.SmoothPath(3).sample(depth=4, n_paths=64, seed=0)
    assert torch.equal(sample.part(32, 20).weights_at(0.3), sample.weights_at(0.3)[32:52])


def test_draw_is_one_function_whatever_the_depth_it_was_drawn_at():
    path = limits.SmoothPath(3, length_scale=0.2)
    shallow, deep = (path.sample(depth=depth, n_paths=16, seed=0) for depth in (5, 40))
    assert shallow.tag == deep.tag
    torch.testing.assert_close(shallow.weights_at(0.77), deep.weights_at(0.77), rtol=0, atol=0)
    torch.testing.assert_close(
        shallow.layer_weights, deep.layer_weights[::8], rtol=1e-12, atol=1e-13
    )


def test_paths_are_as_smooth_as_their_kernel():
    # Differences over h of an rbf path have variance h^2 / l^2, so halving h halves them.
    sample = limits.SmoothPath(2, length_scale=0.2).sample(depth=4, n_paths=64, seed=0)
    centre = sample.weights_at(0.5)
    steps = [(sample.weights_at(0.5 + h) - centre).norm() for h in (2e-3, 1e-3)]
    assert float(steps[0] / steps[1]) == pytest.approx(2, rel=0.02)


def test_equal_laws_give_equal_draws_however_the_length_scale_is_written():
    # Length scales come out of numpy grids and of integers; equal paths must be equal draws.
    reference = limits.SmoothPath(2, length_scale=1.0)
    for length_scale in (1, np.float64(1.0)):
        path = limits.SmoothPath(2, length_scale=length_scale)
        assert path == reference
        samples = [each.sample(depth=4, n_paths=16, seed=0) for each in (path, reference)]
        assert samples[0].tag == samples[1].tag
        assert torch.equal(samples[0].increments, samples[1].increments)


@pytest.mark.parametrize("other", [{"length_scale": 0.2}, {"kernel": "matern-5/2"}])
def test_tags_tell_smooth_laws_apart(other):
    paths = limits.SmoothPath(2, length_scale=0.1), limits.SmoothPath(2, **other)
    one, two = (path.sample(depth=4, n_paths=16, seed=0) for path in paths)
    assert one.tag != two.tag
    assert not bool((one.increments == two.increments).any())


@pytest.mark.parametrize("length_scale", [0, -0.1, math.nan, math.inf, "0.1", None, True])
def test_bad_length_scale_says_what_to_pass(length_scale):
    with pytest.raises(limits.LimitsError, match=r"Pass for example length_scale=0\.1"):
        limits.SmoothPath(4, length_scale=length_scale)


@pytest.mark.parametrize("name", KERNELS)
def test_length_scale_too_short_for_a_sum_says_what_to_use(name):
    with pytest.raises(limits.LimitsError, match="Use a longer length_scale, or BrownianPath"):
        limits.SmoothPath(4, length_scale=1e-5, kernel=name)


@pytest.mark.parametrize("name", ["matern", "RBF", None, 3])
def test_unknown_kernel_lists_the_known_ones(name):
    with pytest.raises(limits.LimitsError, match='"rbf" or "rbf-derivative" or "matern-5/2"'):
        limits.SmoothPath(4, kernel=name)


@pytest.mark.parametrize(
    "time",
    [-1e-9, 1 + 1e-9, 2, math.nan, torch.zeros(2, 2), torch.tensor([0.5, 1.5])],
    ids=str,
)
def test_times_outside_the_unit_interval_are_refused_with_a_remedy(time):
    sample = limits.SmoothPath(2).sample(depth=4, n_paths=4, seed=0)
    with pytest.raises(limits.LimitsError, match="Pass t = k / L"):
        sample.weights_at(time)


@pytest.mark.parametrize("time", ["0.5", None], ids=str)
def test_times_that_are_no_numbers_are_refused_with_a_remedy(time):
    sample = limits.SmoothPath(2).sample(depth=4, n_paths=4, seed=0)
    with pytest.raises(limits.LimitsError):
        sample.weights_at(time)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_path_does_not_depend_on_how_many_are_drawn(width):
    path = limits.SmoothPath(width)
    whole = path.sample(depth=24, n_paths=40, seed=0)
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    for n in (1, 2, 3, 17):
        part = path.sample(depth=24, n_paths=n, seed=0)
        assert torch.equal(part.increments, whole.increments[:, :n])
        assert torch.equal(part.weights_at(times), whole.weights_at(times)[:, :n])
