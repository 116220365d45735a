"""Regularity estimates are calibrated on weights whose regularity is known."""

from functools import cache

import numpy as np
import pytest
import torch

import limits
from limits.user_models.weights.result import NORMS

WIDTH, DEPTH = 12, 200


@cache
def drawn(path, depth=DEPTH, seed=0):
    return path.sample(depth=depth, n_paths=1, seed=seed).layer_weights[:, 0]


# Spread of the estimate measured over seeds 0 to 7 at depth 200 and width 12: .0043 (Brownian),
# .0020 (Rademacher), .0040 (H = .2), .0040 (.35), .0047 (.6), .0046 (.7), .0066 (.8), .0076 (.9);
# the largest |mean - H| was .003.
@pytest.mark.parametrize(
    ("path", "hurst", "spread", "verdict"),
    [
        (limits.BrownianPath(WIDTH), 0.5, 0.0043, "rough"),
        (limits.IIDPath(WIDTH, law="rademacher"), 0.5, 0.0020, "rough"),
        (limits.FractionalPath(WIDTH, hurst=0.2), 0.2, 0.0040, "rough"),
        (limits.FractionalPath(WIDTH, hurst=0.35), 0.35, 0.0040, "rough"),
        (limits.FractionalPath(WIDTH, hurst=0.6), 0.6, 0.0047, "between"),
        (limits.FractionalPath(WIDTH, hurst=0.7), 0.7, 0.0046, "between"),
        (limits.FractionalPath(WIDTH, hurst=0.8), 0.8, 0.0066, "between"),
        (limits.FractionalPath(WIDTH, hurst=0.9), 0.9, 0.0076, "between"),
    ],
)
def test_the_hurst_index_of_rough_weights_is_found(path, hurst, spread, verdict):
    found = [limits.weight_regularity(drawn(path, seed=seed)) for seed in range(4)]
    values = np.array([each.hurst for each in found])
    assert abs(values.mean() - hurst) < 3 * spread
    assert {each.verdict for each in found} == {verdict}
    widths = np.array([each.hurst_high - each.hurst_low for each in found])
    # The bootstrap's width is that of the spread, within what four seeds can tell.
    assert 2 * spread < widths.mean() < 12 * spread
    covered = [each.hurst_low - spread < hurst < each.hurst_high + spread for each in found]
    assert sum(covered) >= 3


@pytest.mark.parametrize(
    "path",
    [
        limits.SmoothPath(WIDTH, length_scale=0.1),
        limits.SmoothPath(WIDTH, length_scale=0.3, kernel="rbf-derivative"),
        limits.SmoothPath(WIDTH, length_scale=0.1, kernel="matern-5/2"),
    ],
)
def test_smooth_weights_are_called_smooth(path):
    found = limits.weight_regularity(drawn(path))
    assert found.verdict == "smooth"
    assert 1.85 < found.hurst_low <= found.hurst <= found.hurst_high <= 2.05
    assert found.variation_ratio < 0.1


def test_weights_whose_interval_reaches_down_to_the_border_are_rough():
    found = limits.weight_regularity(drawn(limits.FractionalPath(WIDTH, hurst=0.55)))
    assert 0.51 < found.hurst_low < 0.55 < found.hurst_high
    assert found.verdict == "rough"


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("smooth", "variation"), [(True, -1.0), (False, 0.0)])
def test_slopes_in_depth_tell_smooth_from_rough_whatever_the_size(power, smooth, variation):
    path = limits.SmoothPath(WIDTH) if smooth else limits.BrownianPath(WIDTH)
    stacks = [drawn(path, depth) * depth**-power for depth in (64, 128, 256, 512)]
    found = limits.weight_regularity(stacks)
    slopes = found.slopes
    assert found.verdict == ("smooth" if smooth else "rough")
    assert slopes["variation_ratio"] == pytest.approx(variation, abs=0.03)
    assert slopes["max_norm"] == pytest.approx(-power, abs=0.05)
    assert slopes["root_sum_squares"] == pytest.approx(0.5 - power, abs=0.03)
    quadratic = (-0.5 if smooth else 0.5) - power
    assert slopes["sqrt_quadratic_variation"] == pytest.approx(quadratic, abs=0.03)
    cumulative = (1.0 if smooth else 0.5) - power
    assert slopes["cumulative_sum_norm"] == pytest.approx(cumulative, abs=0.2)


def test_the_norms_are_what_they_say():
    weights = torch.zeros(16, 2, dtype=torch.float64)
    weights[3, 0], weights[4, 1] = 3.0, 4.0
    found = limits.weight_regularity(weights)
    assert found.max_norm == 4.0
    assert found.root_sum_squares == 5.0
    assert found.sqrt_quadratic_variation == pytest.approx(50**0.5)
    assert found.variation_ratio == pytest.approx(2**0.5)
    assert found.cumulative_sum_norm == 5.0
    sums = np.zeros((17, 2))
    sums[4:, 0], sums[5:, 1] = 3.0, 4.0
    bridge = sums - np.arange(17)[:, None] / 16 * sums[-1]
    assert np.allclose(found.detrended_cumulative_sum, np.linalg.norm(bridge, axis=1))
    assert (found.depth, found.entries) == (16, 2)


def test_neither_size_nor_a_common_trend_changes_the_index():
    weights = drawn(limits.FractionalPath(WIDTH, hurst=0.7))
    plain = limits.weight_regularity(weights)
    scaled = limits.weight_regularity(weights * 1e-3)
    shifted = limits.weight_regularity(weights + 5.0)
    assert scaled.hurst == pytest.approx(plain.hurst, abs=1e-9)
    assert shifted.hurst == pytest.approx(plain.hurst, abs=1e-9)
    assert scaled.max_norm == pytest.approx(1e-3 * plain.max_norm)


def test_layers_of_any_shape_and_arrays_are_taken():
    weights = drawn(limits.BrownianPath(WIDTH))
    flat = limits.weight_regularity(weights.numpy().astype(np.float32))
    tensor = limits.weight_regularity(weights.reshape(DEPTH, 3, 4, WIDTH).float())
    assert flat.hurst == pytest.approx(tensor.hurst, abs=1e-12)
    assert "rough: H = 0." in repr(flat)


# Share of intervals that hold the index, 8 seeds of 200 single weights each, and the smallest and
# largest of the seeds: H = 1/2: 94.1 % (92.5, 95.5) at 6 layers, 95.5 (94.5, 97.0) at 12, 94.3
# (91.5, 96.5) at 32, 95.2 (93.5, 97.5) at 128, 95.3 (92.0, 97.5) at 512, 93.6 (87.5, 97.5) at
# 2048; H = .7, 128 layers: 95.1 (92.5, 97.0); H = .3, 32 layers: 96.1 (94.5, 97.5). Of 200 fewer
# than 180 or more than 199 would be a chance of 1 in 300.
@pytest.mark.parametrize(
    ("depth", "hurst"),
    [
        (6, 0.5), (12, 0.5), (32, 0.3),
        *(pytest.param(*each, marks=pytest.mark.thorough) for each in [
            (128, 0.5), (128, 0.7), (512, 0.5)
        ]),
    ],
)  # fmt: skip
def test_the_interval_of_a_single_weight_holds_its_index_as_often_as_it_says(depth, hurst):
    path = limits.FractionalPath(1, hurst=hurst)
    weights = path.sample(depth=depth, n_paths=200, seed=0).layer_weights.squeeze()
    found = [limits.weight_regularity(each) for each in weights.unbind(1)]
    held = sum(each.hurst_low < hurst < each.hurst_high for each in found)
    assert 180 <= held < 200


# Of 200 stacks, 8 seeds: 94.4 % (91.0, 96.5) of intervals hold the index at 8 layers of 64 entries,
# 95.5 (94, 97) at 32 of 40, 95.8 (93.5, 97.5) at 6 of 1024, 94.4 (90.5, 98) at 12 of 512. Of 100
# fewer than 88 would be a chance of 1 in 500.
@pytest.mark.parametrize(("depth", "entries"), [(8, 64), (32, 40)])
def test_the_interval_of_many_entries_holds_the_index(depth, entries):
    generator = torch.Generator().manual_seed(0)
    stacks = torch.randn(100, depth, entries, generator=generator)
    found = [limits.weight_regularity(each) for each in stacks]
    assert sum(each.hurst_low < 0.5 < each.hurst_high for each in found) >= 88


def test_few_layers_that_differ_in_size_say_how_little_is_known():
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(6, 400, generator=generator)
    unlike = alike * torch.tensor([1.0, 3, 1, 4, 1, 2])[:, None]
    narrow, wide = limits.weight_regularity(alike), limits.weight_regularity(unlike)
    assert narrow.verdict == "rough"
    assert narrow.hurst_high - narrow.hurst_low < 0.5
    assert wide.hurst_low < 0.5 < wide.hurst_high
    assert wide.hurst_high - wide.hurst_low > 1
    assert wide.verdict == "unclear"


def test_a_single_weight_of_six_layers_leaves_everything_open():
    weights = torch.randn(6, generator=torch.Generator().manual_seed(1))
    assert limits.weight_regularity(weights).verdict == "unclear"


def test_the_parts_that_weights_are_read_in_do_not_change_what_is_found(monkeypatch):
    weights = torch.randn(40, 3000, generator=torch.Generator().manual_seed(0))
    whole = limits.weight_regularity(weights)
    monkeypatch.setattr("limits.user_models.weights.layer_sums._PART", 40 * 7)
    parts = limits.weight_regularity(weights)
    for name in ("hurst", "hurst_low", "hurst_high", *NORMS):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-10), name
    assert np.allclose(parts.detrended_cumulative_sum, whole.detrended_cumulative_sum)
    # 3000 entries in 1024 units: about the interval of all entries by themselves.
    monkeypatch.setattr("limits.user_models.weights.layer_sums._MOST_UNITS", 3000)
    single = limits.weight_regularity(weights)
    assert single.hurst == pytest.approx(whole.hurst, abs=1e-12)
    width = single.hurst_high - single.hurst_low
    assert whole.hurst_high - whole.hurst_low == pytest.approx(width, rel=0.15)


def test_the_bootstrap_has_a_seed():
    weights = drawn(limits.BrownianPath(WIDTH))
    first, again, other = (limits.weight_regularity(weights, seed=s) for s in (0, 0, 1))
    assert (first.hurst, first.hurst_low) == (again.hurst, again.hurst_low)
    assert first.hurst == other.hurst
    assert first.hurst_low != other.hurst_low


def test_a_trained_network_of_torch_is_measured():
    module = limits.ResNetModule(limits.SmoothPath(6), depth=64, seed=0)
    assert limits.weight_regularity(module.outer).verdict == "smooth"


def test_constant_weights_are_as_smooth_as_can_be():
    found = limits.weight_regularity(torch.ones(32, 3, 3))
    assert (found.verdict, found.hurst, found.variation_ratio) == ("smooth", 2.0, 0.0)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.ones(5, 3, 3), limits.ShapeError, "at least 6 layers"),
        (torch.tensor(1.0), limits.ShapeError, "torch.stack"),
        (torch.ones(32, 2) / 0, limits.NonFiniteStateError, "before the training diverged"),
        ([torch.ones(32, 2)] * 2, limits.ShapeError, "two different depths"),
        ([], limits.ShapeError, "two different depths"),
    ],
)
def test_refusals_have_remedies(weights, error, message):
    with pytest.raises(error, match=message):
        limits.weight_regularity(weights)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_regularity_does_not_depend_on_the_size_of_the_weights(size):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(64, 4, dtype=torch.float64, generator=generator)
    usual, found = limits.weight_regularity(weights), limits.weight_regularity(size * weights)
    assert found.hurst == pytest.approx(usual.hurst, rel=1e-9)
    assert found.verdict == usual.verdict
    assert found.max_norm == pytest.approx(size * usual.max_norm, rel=1e-12)


@pytest.mark.parametrize("weights", [{}, {"a": torch.ones(32, 2)}, "weights", None, 3.0])
def test_what_is_no_stack_of_weights_is_refused(weights):
    with pytest.raises(limits.ShapeError, match=r"weights must be a tensor.*Pass the stacks"):
        limits.weight_regularity(weights)
