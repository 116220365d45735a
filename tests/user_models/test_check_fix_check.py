"""Check, fix as recommended, check again: every form of a block ends in a limit."""

import pytest
import torch
from torch import nn

import limits
from tests import model_zoo as zoo

WIDTH = 32


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def linear(inside=WIDTH, outside=WIDTH):
    layer = nn.Linear(inside, outside, bias=False)
    nn.init.normal_(layer.weight, std=inside**-0.5)
    return layer


class Joined(nn.Module):
    """h + f(h) with a module f, and something after the sum."""

    def __init__(self, f, after=None):
        super().__init__()
        self.f, self.after = f, after or nn.Identity()

    def forward(self, h):
        return self.after(h + self.f(h))


class Experts(nn.Module):
    """A mixture of four perceptrons, weighed by a router."""

    def __init__(self):
        super().__init__()
        self.norm, self.router = nn.LayerNorm(WIDTH), linear(WIDTH, 4)
        self.experts = nn.ModuleList(nn.Sequential(linear(), nn.Tanh(), linear()) for _ in range(4))

    def forward(self, h):
        h = self.norm(h)
        weights = self.router(h).softmax(-1)
        outputs = torch.stack([expert(h) for expert in self.experts], -1)
        return (outputs * weights[..., None, :]).sum(-1)


class StateSpace(nn.Module):
    """A gated running mean over tokens, as Mamba mixes them, behind a norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(WIDTH), linear(WIDTH, 2 * WIDTH), linear()

    def forward(self, h):
        x, gate = self.into(self.norm(h)).chunk(2, dim=-1)
        state, states = torch.zeros_like(x[:, 0]), []
        for token in x.unbind(1):
            state = 0.8 * state + token
            states.append(state)
        return self.out(torch.stack(states, 1) * nn.functional.silu(gate))


class Tied(nn.Module):
    """One block again and again."""

    def __init__(self, depth):
        super().__init__()
        self.depth, self.f = depth, nn.Sequential(nn.Tanh(), linear())

    def forward(self, h):
        for _ in range(self.depth):
            h = h + self.f(h)
        return h


def stack(block):
    return lambda depth: nn.Sequential(*(block() for _ in range(depth)))


def pre_norm():
    return Joined(nn.Sequential(nn.LayerNorm(WIDTH), linear(), nn.Tanh(), linear()))


def convolution():
    conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    nn.init.normal_(conv.weight, std=72**-0.5)
    return Joined(nn.Sequential(nn.BatchNorm2d(8), nn.Tanh(), conv))


FORMS = {
    "pre-norm": (stack(pre_norm), drawn(8, WIDTH)),
    "parallel": (stack(lambda: zoo.SideBySide(WIDTH)), drawn(2, 8, WIDTH)),
    "post-relu": (stack(lambda: Joined(linear(), nn.ReLU())), drawn(8, WIDTH).relu()),
    "convolution": (stack(convolution), drawn(4, 8, 6, 6)),
    "mixture of experts": (stack(lambda: Joined(Experts())), drawn(2, 8, WIDTH)),
    "state space": (stack(lambda: Joined(StateSpace())), drawn(2, 8, WIDTH)),
    "tied": (Tied, drawn(8, WIDTH)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_block_ends_in_a_limit(form):
    make_model, x = FORMS[form]
    options = {"depths": (8, 16, 32, 64), "inputs": x, "n_seeds": 5}
    before = limits.depth_check(make_model, **options)
    assert before.verdict == "explosion", before.reason
    tau = "1/L" if form == "tied" else "1/sqrt(L)"
    assert before.recommendation.call == f'limits.scale_residuals(model, tau="{tau}")'

    def make_fixed(depth):
        model = make_model(depth)
        limits.scale_residuals(model, tau=before.recommendation.tau, inputs=x)
        return model

    after = limits.depth_check(make_fixed, **options)
    assert after.verdict == "limit", after.reason
    assert after.recommendation.tau is None
