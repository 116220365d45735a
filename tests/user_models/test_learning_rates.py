import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limits
from limits.user_models.check.judging.growth import Growth
from limits.user_models.check.judging.recommendation import Evidence, familiar, recommend
from tests import model_zoo as zoo

WORDS, TOKENS = 64, 16


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class SmallGPT2(nn.Module):
    """A decoder as GPT-2 draws it: weights of size 0.02, output projections 1/sqrt(2L) smaller."""

    def __init__(self, depth, width=128, heads=4):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(WORDS, width), nn.Embedding(TOKENS, width)
        self.blocks = nn.ModuleList(nn.Module() for _ in range(depth))
        self.last, self.heads = nn.LayerNorm(width), heads
        for block in self.blocks:
            block.ln1, block.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
            block.qkv, block.attn_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            block.up, block.mlp_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim > 1:
                smaller = (2 * depth) ** -0.5 if name.endswith("_out.weight") else 1.0
                nn.init.normal_(parameter, std=0.02 * smaller)

    def attention(self, block, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in block.qkv(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return block.attn_out(mixed.transpose(1, 2).flatten(-2))

    def forward(self, ids):
        h = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            h = h + self.attention(block, block.ln1(h))
            h = h + block.mlp_out(F.gelu(block.up(block.ln2(h))))
        return F.linear(self.last(h), self.tokens.weight)


def ids():
    return torch.randint(0, WORDS, (4, TOKENS), generator=torch.Generator().manual_seed(1))


def adam(power, *, rate=1e-4):
    """Return steps of Adam whose rate is proportional to a power of the number of branches."""

    def make_step(model, depth):
        optimiser = torch.optim.Adam(model.parameters(), rate * (2 * depth) ** power)

        def step():
            optimiser.zero_grad()
            logits = model(ids())[:, :-1]
            F.cross_entropy(logits.flatten(0, 1), ids()[:, 1:].flatten()).backward()
            optimiser.step()

        return step

    return make_step


def checked(power, *, seed=0, n_seeds=5, depths=(4, 8, 16, 32), width=128):
    return limits.depth_check(
        lambda depth: SmallGPT2(depth, width), depths=depths, inputs=ids(), n_seeds=n_seeds,
        make_step=adam(power), seed=seed,
    )  # fmt: skip


@pytest.mark.thorough
def test_the_rate_advised_to_gpt2_is_the_one_that_its_features_ask_for():
    check = checked(-1.0)
    assert check.verdict == "limit"
    assert check.recommendation.adam == "proportional to 1/L"
    assert check.recommendation.sgd == "proportional to 1/L"
    growth = check.feature_growth
    assert growth.low < 0 < growth.high
    assert growth.high - growth.low < 0.3
    assert "follows depth already" in check.recommendation.step


@pytest.mark.thorough
def test_the_rate_for_multipliers_is_too_large_for_a_factor_in_the_weights():
    check = checked(-0.5, n_seeds=3, width=64)
    assert check.feature_growth.low > 0.125
    assert "divide its learning rate by 1/" not in check.recommendation.step
    assert check.recommendation.step.endswith(("by L^0.5", "by L"))


class InWeights(nn.Module):
    """Branches of size L^-1/2 whose factor is a multiplier, or sits in one or two weights."""

    def __init__(self, depth, where, width=32):
        super().__init__()
        self.multiplier = depth**-0.5 if where == "multiplier" else 1.0
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
            for _ in range(depth)
        )
        powers = {"multiplier": (0, 0), "one": (0, -0.5), "two": (-0.25, -0.25)}[where]
        for block in self.blocks:
            for layer, power in zip((block[0], block[2]), powers, strict=True):
                nn.init.normal_(layer.weight, std=0.5 * width**-0.5 * depth**power)
                nn.init.zeros_(layer.bias)

    def forward(self, h):
        for block in self.blocks:
            h = h + self.multiplier * block(h)
        return h


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("where", "rate"),
    [("multiplier", "1/sqrt(L)"), ("one", "1/L")],
)
def test_rates_know_where_the_factor_sits(where, rate):
    x = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    check = limits.depth_check(
        lambda depth: InWeights(depth, where), depths=(4, 8, 16, 32), inputs=x, n_seeds=6
    )
    assert check.recommendation.adam == f"proportional to {rate}"
    assert check.recommendation.tau is None


@pytest.mark.parametrize(
    ("interval", "exponent"),
    [
        ((0.4, -0.36, 0.9), 0.5), ((0.6, 0.3, 0.9), 0.5), ((1.08, 0.8, 1.3), 1.0),
        ((0.1, -0.2, 0.4), 0.0), ((0.25, 0.24, 0.26), 0.25), ((0.64, 0.63, 0.65), 0.64),
    ],
)  # fmt: skip
def test_an_odd_exponent_needs_an_interval_that_excludes_the_usual_ones(interval, exponent):
    assert familiar(Growth(*interval)) == exponent


def test_an_explosion_with_a_vague_exponent_is_answered_by_a_usual_factor():
    half, vague = Growth(0.5, 0.5, 0.5), Growth(0.2, -0.3, 0.7)
    evidence = Evidence("explosion", half, Growth(0.3, -0.2, 0.8), vague)
    assert recommend(evidence).tau == "1/sqrt(L)"


def test_a_call_that_is_refused_is_not_recommended():
    check = limits.depth_check(
        lambda depth: nn.Sequential(*(zoo.WholeBlock(32, after=True) for _ in range(depth))),
        depths=(4, 8, 16), n_seeds=3, inputs=F.relu(torch.randn(8, 32)),
    )  # fmt: skip
    assert "limits.scale_residuals(" not in check.recommendation.call
    assert "in the code of the model" in check.recommendation.call
    assert "not the output of a module" in check.recommendation.call
