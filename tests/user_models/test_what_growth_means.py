"""Networks whose growth has been taken for something else: each has a known answer."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limits
from limits.user_models.check.choosing.layer_names import layer_patterns
from limits.user_models.check.judging.growth import Curve
from tests import model_zoo as zoo

WIDTH = 32


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def perceptron(width=WIDTH):
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
    )


class Blocks(nn.Module):
    """h + f(h) with perceptrons behind a norm; `step` says how they are joined."""

    def __init__(self, depth, step=lambda h, f, k: h + f):
        super().__init__()
        self.blocks, self.step = nn.ModuleList(perceptron() for _ in range(depth)), step

    def forward(self, h):
        for k, block in enumerate(self.blocks):
            h = self.step(h, block(h), k)
        return h


class Smoothing(nn.Module):
    """A residual convolution of a backbone."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 3, 1, 1), nn.BatchNorm1d(WIDTH))

    def forward(self, x):
        return x + self.f(x)


class Backboned(nn.Module):
    """Two residual convolutions, then layers whose branches are small."""

    def __init__(self, depth):
        super().__init__()
        self.backbone = nn.Sequential(Smoothing(), Smoothing())
        self.blocks = Blocks(depth)
        for block in self.blocks.blocks:
            block[3].weight.data.mul_(0.2)

    def forward(self, x):
        return self.blocks(self.backbone(x).transpose(1, 2))


@pytest.mark.thorough
def test_a_backbone_that_does_not_multiply_is_kept_out_of_exponents():
    check = limits.depth_check(
        Backboned, depths=(2, 4, 8, 16), inputs=drawn(2, WIDTH, 12), n_seeds=3
    )
    assert check.verdict == "explosion"
    # Over 8 seeds: between 0.43 and 0.51, and own beta between -0.01 and 0.02.
    assert check.forward.growth.value == pytest.approx(0.5, abs=0.15)
    assert check.own_beta.value == pytest.approx(0, abs=0.1)
    assert check.branches == (4, 6, 10, 18)
    assert check.leading.multiplying == (2, 4, 8, 16)
    assert any("2 of 18 residual sums do not multiply" in note for note in check.notes)
    assert check.recommendation.tau == "1/sqrt(L)"


class Flattened(nn.Module):
    """One pair of blocks again and again, the second on flattened or transposed tokens."""

    def __init__(self, depth, move, back):
        super().__init__()
        self.depth, self.move, self.back = depth, move, back
        self.f, self.g = (
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
            for _ in range(2)
        )

    def forward(self, h):
        for _ in range(self.depth):
            h = h + self.f(h)
            rows = self.move(h)
            h = self.back(rows + self.g(rows), h)
        return h


LAYOUTS = {
    "flattened": (lambda h: h.flatten(0, 1), lambda r, h: r.unflatten(0, h.shape[:2])),
    "transposed": (lambda h: h.transpose(0, 1), lambda r, h: r.transpose(0, 1)),
    "copied": (lambda h: h.permute(1, 0, 2).contiguous(), lambda r, h: r.permute(1, 0, 2)),
    "not at all": (lambda h: h, lambda r, h: r),
}


@pytest.mark.thorough
@pytest.mark.parametrize("tokens", [6, 4])
def test_another_layout_between_sums_changes_no_number(tokens):
    x, found = drawn(4, tokens, WIDTH), {}
    for name, layout in LAYOUTS.items():
        found[name] = limits.depth_check(
            lambda depth, layout=layout: Flattened(depth, *layout), depths=(2, 4, 8), inputs=x,
            n_seeds=2,
        ).dataset  # fmt: skip
    names = ["change", "stream_change", "frozen_sum", "frozen_size", "log_norm", "gradient_change"]
    for name, dataset in found.items():
        for of in names:
            assert np.allclose(dataset[of], found["not at all"][of], rtol=1e-3), (name, of)


@pytest.mark.thorough
def test_tied_blocks_on_flattened_tokens_need_one_over_depth():
    x = drawn(4, 6, WIDTH)
    check = limits.depth_check(
        lambda depth: Flattened(depth, *LAYOUTS["flattened"]), depths=(4, 8, 16, 32), inputs=x,
        n_seeds=3,
    )  # fmt: skip
    assert check.kind == "ODE-like"
    assert check.recommendation.tau == "1/L"


class PostNorm(nn.Module):
    """An encoder as BERT draws it: normalised after every sum, weights of size 0.02."""

    def __init__(self, depth, *, first_norm=True):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(100, WIDTH), nn.LayerNorm(WIDTH)
        self.first_norm = first_norm
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, batch_first=True) for _ in range(depth)
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids):
        h = self.embedding(ids)
        h = self.norm(h) if self.first_norm else h
        for layer in self.layers:
            h = layer(h)
        return h


@pytest.mark.thorough
@pytest.mark.parametrize("first_norm", [True, False])
def test_nothing_diverges_in_a_stream_that_is_normalised(first_norm):
    ids = torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    check = limits.depth_check(
        lambda depth: PostNorm(depth, first_norm=first_norm), depths=(8, 16, 32, 64), inputs=ids,
        n_seeds=3,
    )  # fmt: skip
    assert check.verdict == "limit" or check.bounded
    assert bool(check.dataset["normalised"].all())
    if check.verdict == "explosion":
        assert "normalisation keeps the hidden states themselves bounded" in check.reason
    # Streams begin from the state after the first norm: without it they would grow tenfold.
    assert float(np.abs(check.dataset["log_norm"]).max()) < 0.1


def test_a_stream_without_norms_carries_its_size():
    check = limits.depth_check(Blocks, depths=(2, 4, 8), inputs=drawn(4, WIDTH), n_seeds=2)
    assert not check.dataset["normalised"].any()
    relu = limits.depth_check(
        lambda depth: Blocks(depth, lambda h, f, k: F.relu(h + f)), depths=(2, 4, 8),
        inputs=drawn(4, WIDTH), n_seeds=2,
    )  # fmt: skip
    assert not relu.dataset["normalised"].any()


@pytest.mark.thorough
@pytest.mark.parametrize("depths", [(1, 2, 4, 8), (2, 4, 8)])
def test_one_layer_is_no_depth(depths):
    check = limits.depth_check(
        lambda depth: zoo.VisionResNet((depth,) * 2), depths=depths, inputs=drawn(4, 3, 16, 16),
        n_seeds=3,
    )  # fmt: skip
    assert check.verdict == "explosion"
    assert check.recommendation.tau == "1/sqrt(L)"
    assert any("one layer is no depth" in note for note in check.notes) == (1 in depths)


@pytest.mark.thorough
def test_a_stack_that_deepens_in_one_stage_has_a_usual_factor():
    check = limits.depth_check(
        lambda depth: zoo.VisionResNet((1, depth)), depths=(2, 4, 8), inputs=drawn(4, 3, 8, 8),
        n_seeds=3,
    )  # fmt: skip
    assert check.leading.multiplying == (2, 4, 8)
    if check.recommendation is not None:
        assert check.recommendation.tau in (None, "1/sqrt(L)", "1/L")


@pytest.mark.thorough
@pytest.mark.parametrize(("gain", "verdict"), [(1e-5, "limit"), (0.1, "explosion")])
def test_growth_that_never_matters_is_called_so(gain, verdict):
    check = limits.depth_check(
        lambda depth: Blocks(depth, lambda h, f, k: h + gain * f), depths=(4, 8, 16, 32),
        inputs=drawn(8, WIDTH), n_seeds=4,
    )  # fmt: skip
    assert check.verdict == verdict
    assert ("never matters" in check.reason) == (verdict == "limit")
    assert check.forward.growth.value == pytest.approx(0.5, abs=0.2)


@pytest.mark.thorough
def test_the_depth_at_which_growth_matters_is_that_of_the_constant():
    check = limits.depth_check(
        lambda depth: Blocks(depth, lambda h, f, k: h + 0.1 * f), depths=(4, 8, 16, 32),
        inputs=drawn(8, WIDTH), n_seeds=4,
    )  # fmt: skip
    # |sum f| = 0.1 c sqrt(L) |h0| equals |h0| at L = (0.1 c)^-2, c the size of one branch.
    size = float(check.dataset["frozen_size"].isel(phase=0).mean())
    assert check.forward.matters_at == pytest.approx(size**-2, rel=0.5)
    assert "it equals the stream at L = " in check.reason


@pytest.mark.thorough
def test_a_sum_that_is_logarithmic_in_depth_is_a_limit():
    check = limits.depth_check(
        lambda depth: Blocks(depth, lambda h, f, k: h + f / math.sqrt(2 * (k + 1))),
        depths=(4, 8, 16, 32), inputs=drawn(8, WIDTH), n_seeds=4,
    )  # fmt: skip
    assert check.verdict == "limit"
    assert check.recommendation.tau is None
    assert check.own_beta.value == pytest.approx(0, abs=0.1)


@pytest.mark.thorough
def test_a_sum_that_comes_to_a_fixed_point_is_a_limit():
    class Relaxed(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.depth, self.f = depth, nn.Linear(WIDTH, WIDTH)
            self.f.weight.data.mul_(0.3)

        def forward(self, h):
            for _ in range(self.depth):
                h = h + 0.5 * torch.tanh(self.f(h) - h)
            return h

    check = limits.depth_check(Relaxed, depths=(8, 16, 32, 64), inputs=drawn(8, WIDTH), n_seeds=3)
    assert check.forward.regime == "limit"
    assert "levels off" in check.forward.reason


def test_exponential_growth_is_no_power():
    check = limits.depth_check(zoo.Plain, depths=(8, 16, 32), n_seeds=3)
    assert check.verdict == "explosion"
    assert "exponentially, tenfold every" in check.reason
    assert check.forward.law.startswith("exp(")
    # One block multiplies the square of the norm by 1 + 2 in the mean, less in the logarithm.
    assert 0.25 < check.forward.per_branch < 0.6


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_power_is_no_exponential(power):
    counts = np.array([4.0, 8.0, 16.0, 32.0])
    rng = np.random.default_rng(0)
    logs = power * np.log(counts)[:, None] + 0.05 * rng.standard_normal((4, 3))
    assert Curve(logs, counts).per_branch is None
    assert Curve(0.3 * counts[:, None] + logs, counts).per_branch is not None


def test_numbers_that_tell_parts_of_a_layer_apart_stay():
    names = [[f"stage1.{k}.conv{i}" for k in range(n) for i in (1, 2)] for n in (2, 4)]
    assert layer_patterns(names)("stage1.3.conv2") == "stage1.{}.conv2"


class Dropping(nn.Module):
    """Dropout written as a function, in training only or always."""

    def __init__(self, depth, *, always):
        super().__init__()
        self.blocks = nn.ModuleList(perceptron() for _ in range(depth))
        self.always = always

    def forward(self, h):
        for block in self.blocks:
            h = h + F.dropout(block(h), 0.2, self.always or self.training)
        return h


@pytest.mark.thorough
def test_dropout_by_a_function_is_measured_in_evaluation_mode():
    x = drawn(8, WIDTH)
    check = limits.depth_check(
        lambda depth: Dropping(depth, always=False), depths=(4, 8, 16), inputs=x, n_seeds=3
    )
    assert any("measured in evaluation mode" in note for note in check.notes)
    assert check.verdict == "explosion"
    with pytest.raises(limits.LimitsError, match="not deterministic"):
        limits.depth_check(
            lambda depth: Dropping(depth, always=True), depths=(4, 8, 16), inputs=x, n_seeds=3
        )


@pytest.mark.thorough
def test_an_output_layer_of_zeros_hides_no_gradients():
    class Silent(Blocks):
        def forward(self, h):
            return 0.0 * super().forward(h)

    check = limits.depth_check(Silent, depths=(4, 8, 16), inputs=drawn(8, WIDTH), n_seeds=3)
    assert check.backward.regime == "explosion"


def test_an_error_in_the_users_backward_pass_is_told_as_one():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, h):
            return h.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise NotImplementedError("no derivative here")

    class Broken(Blocks):
        def forward(self, h):
            return Once.apply(super().forward(h))

    with pytest.raises(limits.LimitsError, match=r"backward pass of Broken failed.*no derivative"):
        limits.depth_check(Broken, depths=(4, 8, 16), inputs=drawn(8, WIDTH), n_seeds=3)
