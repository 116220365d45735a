import hashlib
import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import limits
from limits.checks import check_seed
from limits.randomness import Stream

PATHS = (
    limits.BrownianPath(3),
    limits.IIDPath(3, law="uniform"),
    limits.IIDPath(3, law="rademacher"),
    limits.SmoothPath(3, length_scale=0.2),
)

# Results that people keep depend on these numbers. They hold in every bit on every machine, and
# change with `limits.kernels.STREAM_VERSION` only.
GOLDEN_BITS = {
    "normals": "147aaee09453ed4e",
    "uniforms": "32f0dcdb4f8bf461",
    "centred": "2d46450fa9967deb",
    "signs": "232452ff99767604",
    "generator": "d6a359315d047c2f",
}
# Entry [33, 17, 2, 0] of the weights and [0, 3, 0, 1] of the inner ones, of each of `PATHS`.
GOLDEN_WEIGHTS = (
    (-0.082469, -0.625348),
    (0.531340, 0.052224),
    (0.577350, -0.577350),
    (0.244644, -0.085032),
)


def digest(numbers: torch.Tensor) -> str:
    return hashlib.sha256(numbers.contiguous().numpy().tobytes()).hexdigest()[:16]


def unit_uniforms(stream: Stream, first: int, n_paths: int, size: int) -> torch.Tensor:
    return stream.centred_uniforms(first, n_paths, size, 1.0)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def golden_draws() -> dict[str, torch.Tensor]:
    stream = Stream(seed=20250101, name="golden")
    return {
        "normals": stream.normals(13, 20, 37, layer=3, n_layers=5),
        "uniforms": stream.uniforms(13, 20, 37, layer=3),
        "centred": stream.centred_uniforms(13, 20, 37, 0.25, layer=3),
        "signs": stream.signs(13, 20, 37, layer=3),
        "generator": torch.randint(2**31, (9,), generator=stream.generator(2, 1)),
    }


@pytest.mark.parametrize("kind", GOLDEN_BITS)
def test_stream_has_not_changed(kind):
    assert digest(golden_draws()[kind]) == GOLDEN_BITS[kind]


@pytest.mark.parametrize(("path", "expected"), list(zip(PATHS, GOLDEN_WEIGHTS, strict=True)))
def test_draw_of_a_path_has_not_changed(path, expected):
    # Also pins the streams' names, and which number stands where in a matrix.
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


def test_names_paths_and_layers_are_independent():
    stream = Stream(0, "a")
    draws = [
        stream.normals(0, 16, 4096),
        stream.normals(16, 16, 4096),
        stream.normals(0, 16, 4096, layer=1),
        stream.normals(0, 16, 4096, first_entry=4096),
        Stream(0, "b").normals(0, 16, 4096),
        stream.child("b").normals(0, 16, 4096),
        # One text longer, one shorter: the key must not run its fields together.
        Stream(0, "a:0").normals(0, 16, 4096),
        Stream(10, "a").normals(0, 16, 4096),
        Stream(1, "0a").normals(0, 16, 4096),
        stream.normals(160, 16, 4096),
        stream.normals(0, 16, 4096, layer=10),
    ]
    for one, other in itertools.combinations(draws, 2):
        assert not bool((one == other).all(dim=1).any())
        assert abs(correlation(one, other)) < 0.02


def test_neighbouring_paths_are_independent():
    normals = Stream(3, "rows").normals(0, 16, 2**14)
    off_diagonal = torch.corrcoef(normals) - torch.eye(16)
    # 2^14 pairs: standard deviation 0.008, 120 of them.
    assert float(off_diagonal.abs().max()) < 0.035


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("n_paths", [1, 5, 16, 20, 48])
@pytest.mark.parametrize("draw", [Stream.normals, Stream.uniforms, Stream.signs, unit_uniforms])
def test_first_paths_of_a_longer_draw_are_the_same_bit_for_bit(draw, n_paths, size):
    stream = Stream(0, "prefix")
    assert torch.equal(draw(stream, 0, n_paths, size), draw(stream, 0, 64, size)[:n_paths])


@pytest.mark.parametrize("n_paths", [1, 5, 16, 20, 48])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_first_paths_of_a_longer_sample_are_the_same_bit_for_bit(path, n_paths):
    few, many = (path.sample(depth=12, n_paths=n, seed=0) for n in (n_paths, 64))
    assert torch.equal(few.increments, many.increments[:, :n_paths])
    assert torch.equal(few.inner.increments, many.inner.increments[:, :n_paths])


@pytest.mark.parametrize(("first", "count"), [(32, 20), (7, 1), (3, 44)])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_any_range_of_paths_can_be_drawn_alone(path, first, count):
    whole = path.sample(depth=6, n_paths=64, seed=0)
    part = whole.part(first, count)
    assert torch.equal(part.increments, whole.increments[:, first : first + count])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_layers_are_the_same_in_any_order_and_to_any_number_of_threads(path):
    sample = path.sample(depth=700, n_paths=20, seed=0)
    forwards = [layer.increment.matrices for layer in sample.layers()]
    backwards = [layer.increment.matrices for layer in sample.layers(backwards=True)]
    assert all(map(torch.equal, forwards, reversed(backwards)))
    alone = sample.increments
    torch.set_num_threads(4)
    assert torch.equal(sample.increments, alone)


def test_numbers_can_be_put_where_they_are_needed():
    stream = Stream(0, "out")
    expected = stream.normals(2, 3, 10, 4, n_layers=5, first_entry=1)
    memory = torch.full((3, 5, 12), float("nan"))
    drawn = stream.normals(
        2, 3, 10, 4, n_layers=5, first_entry=1, out=memory.transpose(0, 1)[..., :10]
    )
    assert drawn.data_ptr() == memory.data_ptr()
    assert torch.equal(drawn, expected)
    assert bool(memory[..., 10:].isnan().all())


def test_memory_of_another_shape_is_refused():
    with pytest.raises(limits.LimitsError, match=r"\(3, 10\), found \(10, 3\)"):
        Stream(0, "out").normals(0, 3, 10, out=torch.empty(10, 3))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)
def test_both_precisions_read_the_same_path(path):
    single, double = (
        path.sample(depth=24, n_paths=20, seed=0, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.tag == double.tag
    assert single.increments.dtype == torch.float32
    torch.testing.assert_close(single.increments.double(), double.increments, rtol=3e-7, atol=1e-8)


def p_value(seed: int, kind: str) -> float:
    stream = Stream(seed, "law")
    match kind:
        case "normals":
            return kstest(stream.normals(0, 64, 4096).flatten().double(), "norm").pvalue
        case "uniforms":
            return kstest(stream.uniforms(0, 64, 4096).flatten().double(), "uniform").pvalue
        case _:
            drawn = stream.centred_uniforms(0, 64, 4096, 1.7).flatten().double()
            assert float(drawn.abs().max()) <= 1.7 * (1 + 1e-6)
            return kstest(drawn, "uniform", (-1.7, 3.4)).pvalue


@pytest.mark.parametrize("kind", ["normals", "uniforms", "centred"])
def test_numbers_follow_their_law(kind):
    # Seeds 0 to 7 give .37 .29 .00014 .21 .006 .67 .57 1, .12 .18 .073 .65 .39 .97 .77 .46 and .21
    # .75 .24 .52 .9 .97 .5 .64; over 600 seeds the values are uniform.
    assert p_value(0, kind) > 0.01


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
