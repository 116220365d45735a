import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import limits
from limits.checks import check_seed
from limits.randomness import BLOCK, Stream, blocks_of

PATHS = (
    limits.BrownianPath(3),
    limits.IIDPath(3, law="uniform"),
    limits.IIDPath(3, law="rademacher"),
    limits.SmoothPath(3, length_scale=0.2),
)

# Results that people keep depend on these numbers: never update them. Uniforms are made of
# integers and agree in every bit everywhere; normals go through a logarithm and a cosine, whose
# last bits are the machine's, and are compared to 1e-5.
GOLDEN_UNIFORMS = "1041f55d6cf7ef4b"
GOLDEN_NORMALS = (-0.244806, 1.799291, -1.589126, -0.037510, 0.201685)
# Entry [33, 17, 2, 0] of the weights and [0, 3, 0, 1] of the inner ones, of each of `PATHS`.
GOLDEN_WEIGHTS = (
    (0.062312, 1.067005),
    (-0.392045, 0.383900),
    (-0.577350, -0.577350),
    (-0.454655, 0.740427),
)


def digest(numbers: torch.Tensor) -> str:
    return hashlib.sha256(numbers.contiguous().numpy().tobytes()).hexdigest()[:16]


def unit_uniforms(stream: Stream, first: int, n_paths: int, size: int) -> torch.Tensor:
    return stream.centred_uniforms(first, n_paths, size, 1.0)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_stream_has_not_changed():
    stream = Stream(seed=20250101, name="golden")
    assert digest(stream.uniforms(0, 32, 20)) == GOLDEN_UNIFORMS
    normals = stream.normals(16, 1, 5, part=3)[0]
    torch.testing.assert_close(normals, torch.tensor(GOLDEN_NORMALS), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("path", "expected"), list(zip(PATHS, GOLDEN_WEIGHTS, strict=True)))
def test_draw_of_a_path_has_not_changed(path, expected):
    # Also pins the streams' names, the slabs of layers and the order of numbers within them.
    sample = path.sample(depth=40, n_paths=20, seed=7)
    found = torch.stack(
        [sample.layer_weights[33, 17, 2, 0], sample.inner.layer_weights[0, 3, 0, 1]]
    )
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-5
    )


def test_seeds_that_agree_in_their_lower_32_bits_give_different_numbers():
    few, many = (Stream(seed, "seeds").normals(0, 16, 4096) for seed in (1, 1 + 2**32))
    assert not bool((few == many).any())
    # 65,536 pairs: a standard deviation of 0.004 for independent numbers.
    assert abs(correlation(few, many)) < 0.02


@pytest.mark.parametrize("seed", [2**63, 2**64 + 1, 10**40])
def test_seeds_of_any_size_work(seed):
    normals = Stream(seed, "seeds").normals(0, 16, 64)
    assert bool(torch.isfinite(normals).all())
    assert not torch.equal(normals, Stream(seed - 1, "seeds").normals(0, 16, 64))


def test_names_blocks_and_parts_are_independent():
    stream = Stream(0, "a")
    draws = [
        stream.normals(0, 16, 4096),
        stream.normals(16, 16, 4096),
        stream.normals(0, 16, 4096, part=1),
        Stream(0, "b").normals(0, 16, 4096),
        stream.child("b").normals(0, 16, 4096),
        # One text longer, one shorter: the key must not run its fields together.
        Stream(0, "a:0").normals(0, 16, 4096),
        Stream(10, "a").normals(0, 16, 4096),
        stream.normals(160, 16, 4096),
        stream.normals(0, 16, 4096, part=10),
    ]
    for one, other in itertools.combinations(draws, 2):
        assert not bool((one == other).all(dim=1).any())
        assert abs(correlation(one, other)) < 0.02


def test_paths_within_a_block_are_independent():
    normals = Stream(3, "rows").normals(0, 16, 2**14)
    off_diagonal = torch.corrcoef(normals) - torch.eye(16)
    # 2^14 pairs: standard deviation 0.008, 120 of them.
    assert float(off_diagonal.abs().max()) < 0.035


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("n_paths", [1, 5, 16, 20, 48])
@pytest.mark.parametrize("draw", [Stream.normals, Stream.uniforms, unit_uniforms])
def test_first_paths_of_a_longer_draw_are_the_same_bit_for_bit(draw, n_paths, size):
    stream = Stream(0, "prefix")
    assert torch.equal(draw(stream, 0, n_paths, size), draw(stream, 0, 64, size)[:n_paths])


@pytest.mark.parametrize("n_paths", [1, 5, 16, 20, 48])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_first_paths_of_a_longer_sample_are_the_same_bit_for_bit(path, n_paths):
    few, many = (path.sample(depth=12, n_paths=n, seed=0) for n in (n_paths, 64))
    assert torch.equal(few.increments, many.increments[:, :n_paths])
    assert torch.equal(few.inner.increments, many.inner.increments[:, :n_paths])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_later_blocks_can_be_drawn_alone(path):
    whole = path.sample(depth=6, n_paths=64, seed=0)
    assert torch.equal(whole.part(32, 20).increments, whole.increments[:, 32:52])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_both_precisions_read_the_same_path(path):
    single, double = (
        path.sample(depth=24, n_paths=20, seed=0, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.tag == double.tag
    assert single.increments.dtype == torch.float32
    torch.testing.assert_close(single.increments.double(), double.increments, rtol=3e-7, atol=1e-8)


def test_normals_are_standard_normal():
    # Over 8 seeds: 0.36 0.13 1.00 0.49 0.007 0.81 0.50 0.87; over 100 they are uniform (p = 0.88).
    normals = Stream(0, "law").normals(0, 64, 4096).flatten().double()
    assert kstest(normals.numpy(), "norm").pvalue > 0.01


def test_uniforms_are_uniform():
    # Over 8 seeds: 0.27 0.70 0.94 0.82 3e-5 0.85 0.35 0.38. The fifth is bad luck: over 100 seeds
    # they are uniform (p = 0.50), over 1,500 other ones the smallest is 1.4e-4 (p = 0.75).
    uniforms = Stream(0, "law").uniforms(0, 64, 4096).flatten().double()
    assert kstest(uniforms.numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("half_width", [1.0, math.sqrt(3)])
def test_centred_uniforms_are_uniform(half_width):
    # Over 8 seeds: 0.035 0.78 0.38 0.57 0.85 0.93 0.88 0.51.
    drawn = Stream(0, "law").centred_uniforms(0, 64, 4096, half_width).flatten().double()
    assert float(drawn.abs().max()) <= half_width * (1 + 1e-6)
    assert kstest(drawn.numpy(), "uniform", (-half_width, 2 * half_width)).pvalue > 0.01
    # Neighbours are halves of one word: 2^18 pairs, standard deviation 0.002.
    assert abs(correlation(drawn[::2], drawn[1::2])) < 0.01


def test_drawing_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    Stream(0, "global").normals(0, 16, 4)
    assert torch.equal(torch.randn(4), expected)


def test_numbers_do_not_depend_on_the_global_generator():
    torch.manual_seed(3)
    first = Stream(0, "global").normals(0, 16, 4)
    torch.manual_seed(4)
    assert torch.equal(Stream(0, "global").normals(0, 16, 4), first)


@pytest.mark.parametrize(
    "seed", [-1, 0.0, 1.5, True, False, None, "0", np.str_("0"), np.float64(0.0), (1, 2)]
)
def test_bad_seed_says_what_to_pass(seed):
    with pytest.raises(limits.LimitsError, match="Pass for example seed=0"):
        check_seed(seed)
    with pytest.raises(limits.LimitsError, match="Pass for example seed=0"):
        limits.BrownianPath(2).sample(depth=4, n_paths=1, seed=seed)


def test_ranges_of_paths_are_cut_at_blocks_of_sixteen():
    assert BLOCK == 16
    assert blocks_of(0, 16) == [(0, 0, 16)]
    assert blocks_of(32, 17) == [(2, 0, 16), (3, 16, 17)]


def test_range_that_starts_within_a_block_is_refused_with_a_remedy():
    with pytest.raises(limits.LimitsError, match="Start at 16"):
        Stream(0, "a").normals(20, 4, 4)
