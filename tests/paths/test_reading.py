"""One draw, read at any depth, in parts, backwards, and at several depths at once."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch

import limits
from limits.paths import DenseIncrement
from tests.helpers import normal_inputs

PATHS = (
    limits.BrownianPath(3),
    limits.IIDPath(3, law="uniform"),
    limits.IIDPath(3, law="rademacher"),
    limits.SmoothPath(3, length_scale=0.2),
    limits.SmoothPath(3, length_scale=0.2, kernel="matern-5/2"),
)
# Drawn depth, then the depths that are read in one pass. Some do not divide one another, some
# leave out the drawn depth, one is in no order.
LADDERS = (
    (64, (4, 8, 16, 32, 64)),
    (48, (2, 3, 6, 12)),
    (100, (10, 100)),
    (60, (4, 6, 10, 15)),
    (24, (8, 1, 24, 3)),
    (36, (9,)),
)
every_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.label)


def matrices(increment: DenseIncrement) -> torch.Tensor:
    """Return dX as ``(path, width, width)``, acting on columns, from its products alone."""
    n_paths, width = increment.matrices.shape[:2]
    basis = torch.eye(width, dtype=increment.matrices.dtype).expand(n_paths, width, width)
    # Row j of the answer is dX e_j, a column of dX.
    return increment.mv(basis).mT


@every_path
def test_at_depth_composes(path):
    sample = path.sample(depth=48, n_paths=20, seed=0)
    once = sample.at_depth(4)
    for way in ((12, 4), (24, 12, 4), (2, 4), (48, 4)):
        read = sample
        for depth in way:
            read = read.at_depth(depth)
        assert (read.depth, read.tag, read.drawn_depth) == (4, once.tag, 48)
        assert torch.equal(read.increments, once.increments)
    assert torch.equal(once.at_depth(48).increments, sample.increments)


@every_path
def test_reading_at_the_drawn_depth_changes_nothing(path):
    sample = path.sample(depth=12, n_paths=16, seed=0)
    assert torch.equal(sample.at_depth(12).increments, sample.increments)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 12, 24])
@every_path
def test_independent_weights_are_summed_and_smooth_ones_sampled(path, depth):
    sample = path.sample(depth=24, n_paths=20, seed=0)
    ratio = 24 // depth
    if isinstance(path, limits.SmoothPath):
        expected = sample.layer_weights[::ratio] / depth
    else:
        expected = sample.increments.unflatten(0, (depth, ratio)).sum(dim=1)
    torch.testing.assert_close(sample.at_depth(depth).increments, expected, rtol=1e-12, atol=1e-14)


def test_sampled_and_summed_readings_of_a_smooth_path_differ():
    # Otherwise the test above could not tell them apart.
    sample = limits.SmoothPath(3, length_scale=0.2).sample(depth=24, n_paths=20, seed=0)
    summed = sample.increments.unflatten(0, (6, 4)).sum(dim=1)
    difference = (summed - sample.at_depth(6).increments).norm() / summed.norm()
    assert float(difference) > 0.2


@every_path
def test_inner_weights_are_an_independent_path_of_the_same_law(path):
    sample = path.sample(depth=32, n_paths=128, seed=0)
    inner = sample.inner
    assert inner.path == path
    assert inner.tag != sample.tag
    assert inner.layer_weights.shape == sample.layer_weights.shape
    pairs = torch.stack([sample.layer_weights[0].flatten(), inner.layer_weights[0].flatten()])
    # 1,152 pairs of independent entries: a standard deviation of 0.03.
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.12


@every_path
def test_inner_weights_of_a_coarse_reading_are_the_coarse_reading_of_the_inner_path(path):
    sample = path.sample(depth=24, n_paths=16, seed=0)
    assert torch.equal(sample.at_depth(6).inner.increments, sample.inner.at_depth(6).increments)


@every_path
def test_layers_carry_inner_weights_of_order_one(path):
    sample = path.sample(depth=24, n_paths=16, seed=0).at_depth(6)
    weights = sample.inner.layer_weights
    for layer in sample.layers(inner=True):
        torch.testing.assert_close(
            matrices(layer.inner), weights[layer.index], rtol=1e-12, atol=1e-14
        )


@every_path
def test_layers_come_in_order_and_hold_the_increments(path):
    sample = path.sample(depth=20, n_paths=20, seed=0).at_depth(10)
    layers = list(sample.layers())
    assert [(layer.depth, layer.index, layer.inner) for layer in layers] == [
        (10, k, None) for k in range(10)
    ]
    found = torch.stack([matrices(layer.increment) for layer in layers])
    torch.testing.assert_close(found, sample.increments, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("depth", [24, 6, 1])
@every_path
def test_backwards_is_forwards_reversed(path, depth):
    sample = path.sample(depth=24, n_paths=20, seed=0).at_depth(depth)
    forwards = list(sample.layers(inner=True))
    backwards = list(sample.layers(inner=True, backwards=True))[::-1]
    assert [layer.index for layer in backwards] == list(range(depth))
    for one, other in zip(forwards, backwards, strict=True):
        for name in ("increment", "inner"):
            torch.testing.assert_close(
                matrices(getattr(one, name)),
                matrices(getattr(other, name)),
                rtol=1e-12,
                atol=1e-14,
            )


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize(("drawn", "depths"), LADDERS, ids=str)
@pytest.mark.parametrize("path", [PATHS[0], PATHS[3]], ids=lambda path: path.label)
def test_depths_read_in_one_pass_are_those_read_one_by_one(path, drawn, depths, backwards):
    sample = path.sample(depth=drawn, n_paths=20, seed=0)
    found = defaultdict(dict)
    for layer in sample.coupled(depths, inner=True, backwards=backwards):
        assert layer.index not in found[layer.depth], "a layer came twice"
        found[layer.depth][layer.index] = (matrices(layer.increment), matrices(layer.inner))
    assert set(found) == set(depths)
    for depth in depths:
        order = list(range(depth))
        assert list(found[depth]) == (order[::-1] if backwards else order)
        read = sample.at_depth(depth)
        for part, expected in enumerate((read.increments, read.inner.layer_weights)):
            stacked = torch.stack([found[depth][k][part] for k in order])
            torch.testing.assert_close(stacked, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("path", [PATHS[0], PATHS[3]], ids=lambda path: path.label)
def test_layers_that_were_handed_out_do_not_change_afterwards(path, backwards):
    # Coarse sums reuse memory; what a caller holds must not be part of it.
    sample = path.sample(depth=48, n_paths=16, seed=0)
    held, copies = [], []
    for layer in sample.coupled((2, 3, 6, 12, 48), inner=True, backwards=backwards):
        held.append(layer)
        copies.append(matrices(layer.increment).clone())
    for layer, copy in zip(held, copies, strict=True):
        assert torch.equal(matrices(layer.increment), copy)


@pytest.mark.parametrize("chunk", [16, 48, 64])
@every_path
def test_parts_hold_the_paths_of_the_whole_bit_for_bit(path, chunk):
    sample = path.sample(depth=12, n_paths=100, seed=0)
    ranges = sample.chunks(chunk)
    assert sum(count for _, count in ranges) == 100
    parts = [sample.part(first, count) for first, count in ranges]
    for read in (lambda part: part, lambda part: part.at_depth(4), lambda part: part.inner):
        together = torch.cat([read(part).increments for part in parts], dim=1)
        assert torch.equal(together, read(sample).increments)


def test_parts_of_parts_count_from_their_first_path():
    sample = limits.BrownianPath(3).sample(depth=4, n_paths=100, seed=0)
    part = sample.part(32, 64).part(16, 20)
    assert torch.equal(part.increments, sample.increments[:, 48:68])


@pytest.mark.parametrize("path", [PATHS[0], PATHS[3]], ids=lambda path: path.label)
def test_ranges_of_layers_are_those_of_the_whole(path):
    sample = path.sample(depth=8, n_paths=64, seed=0)
    for first, count in ((0, 16), (16, 48), (48, 5)):
        for layer in sample.layers(first_path=first, n_paths=count):
            expected = sample.increments[layer.index, first : first + count]
            torch.testing.assert_close(matrices(layer.increment), expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (16, [(0, 16), (16, 16), (32, 8)]),
        (1, [(0, 16), (16, 16), (32, 8)]),
        (17, [(0, 32), (32, 8)]),
        (32, [(0, 32), (32, 8)]),
        (1000, [(0, 40)]),
    ],
)
def test_chunks_are_whole_blocks(chunk, expected):
    sample = limits.BrownianPath(3).sample(depth=4, n_paths=40, seed=0)
    assert sample.chunks(chunk) == expected


@pytest.mark.parametrize("width", [1, 8, 100, 400])
def test_default_chunks_cover_every_path_once(width):
    sample = limits.BrownianPath(width).sample(depth=4, n_paths=1000, seed=0)
    ranges = sample.chunks()
    assert [first for first, _ in ranges] == [
        sum(count for _, count in ranges[:i]) for i in range(len(ranges))
    ]
    assert sum(count for _, count in ranges) == 1000
    assert all(first % 16 == 0 for first, _ in ranges)


@pytest.mark.parametrize("chunk", [0, -16, 16.0, True, "16"])
def test_bad_chunk_says_what_to_pass(chunk):
    sample = limits.BrownianPath(3).sample(depth=4, n_paths=40, seed=0)
    with pytest.raises(limits.ShapeError, match=r"chunk must be a positive integer.*chunk=64"):
        sample.chunks(chunk)


@pytest.mark.parametrize(("first", "count"), [(32, 48), (0, 65), (0, 0), (-16, 16), (64, 16)])
def test_part_beyond_the_draw_is_refused(first, count):
    sample = limits.BrownianPath(3).sample(depth=4, n_paths=64, seed=0)
    with pytest.raises(limits.LimitsError):
        _ = sample.part(first, count).increments


def test_depth_that_does_not_divide_names_a_depth_that_works():
    sample = limits.BrownianPath(3).sample(depth=64, n_paths=4, seed=0)
    with pytest.raises(
        limits.DepthMismatchError, match=r"depth=320, or use depths \(8, 16, 32, 64"
    ):
        sample.at_depth(10)


def test_depth_deeper_than_the_draw_names_a_depth_that_works():
    sample = limits.SmoothPath(3).sample(depth=64, n_paths=4, seed=0)
    with pytest.raises(limits.DepthMismatchError, match="depth=128"):
        sample.at_depth(128)


@pytest.mark.parametrize("depth", [0, -4, 8.0, True, None, "8"])
def test_depth_that_is_no_positive_integer_names_one_that_works(depth):
    sample = limits.BrownianPath(3).sample(depth=64, n_paths=4, seed=0)
    with pytest.raises(limits.DepthMismatchError, match="Use for example depth=64"):
        sample.at_depth(depth)


def test_one_bad_depth_among_several_is_refused_before_anything_is_read():
    sample = limits.BrownianPath(3).sample(depth=64, n_paths=4, seed=0)
    with pytest.raises(limits.DepthMismatchError, match="12 does not divide 64"):
        next(iter(sample.coupled((4, 12, 64))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_increment_multiplies_as_its_matrix_does(dtype):
    sample = limits.BrownianPath(4).sample(depth=3, n_paths=5, seed=0, dtype=dtype)
    u = normal_inputs(5, 2, 4, dtype=dtype)
    tight = (
        {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 1e-15}
    )
    for layer in sample.layers():
        dX = sample.increments[layer.index]
        forward = torch.einsum("pij,pnj->pni", dX, u)
        pulled = torch.einsum("pij,pni->pnj", dX, u)
        torch.testing.assert_close(layer.increment.mv(u), forward, **tight)
        torch.testing.assert_close(layer.increment.rmv(u), pulled, **tight)
        torch.testing.assert_close(layer.increment.scaled(-2.0).mv(u), -2 * forward, **tight)
        torch.testing.assert_close(layer.increment.scaled(0.5).rmv(u), pulled / 2, **tight)


def test_sum_of_increments_multiplies_as_the_sum_of_matrices():
    sample = limits.BrownianPath(4).sample(depth=3, n_paths=5, seed=0)
    u = normal_inputs(5, 2, 4)
    first, second, third = (layer.increment for layer in sample.layers())
    expected = torch.einsum("kpij,pnj->pni", sample.increments, u)
    untouched = first.mv(u).clone()
    total = first.plus(second, owned=False).plus(third, owned=True)
    torch.testing.assert_close(total.mv(u), expected, rtol=1e-13, atol=1e-15)
    assert torch.equal(first.mv(u), untouched)


@pytest.mark.parametrize("drawn", ["weights", "noise"])
def test_what_one_device_computes_is_not_split_among_threads(drawn):
    path = limits.BrownianPath(40)
    limit = limits.depth_limit(limits.ResNet("relu"), path, form="law")
    sample = (path if drawn == "weights" else limit).sample(depth=8, n_paths=1000, seed=0)
    torch.set_num_threads(4)
    assert len(sample.shares()) >= 4
    assert len(replace(sample, device=torch.device("cuda")).shares()) == 1
