"""Blocks that users write: on copies, with answers that fit, and labels without addresses."""

from dataclasses import dataclass

import pytest
import torch

import limits
from limits.networks.blocks import block_label
from limits.studies.convergence.plan import net_label

PATH = limits.BrownianPath(4)
H0 = torch.ones(2, 4, dtype=torch.float64)


@dataclass(frozen=True)
class Halved:
    """g(h) = h / 2, computed in place."""

    has_inner = False
    homogeneous = True

    def field(self, h, inner):
        return h.mul_(0.5)

    def pushed(self, h, q, inner):
        return q.mul_(0.5)

    def pulled(self, h, p, inner):
        return p.mul_(0.5)


class Answering(Halved):
    """Returns what it is told to."""

    def __init__(self, answer):
        object.__setattr__(self, "answer", answer)

    def field(self, h, inner):
        return self.answer(h)


def test_block_that_acts_in_place_is_the_block_that_does_not():
    sample = PATH.sample(depth=8, n_paths=16, seed=0)
    h0, net = H0.clone(), limits.ResNet("identity", block=Halved())
    usual = limits.ResNet("identity", coefficient=0.5)
    out = net(h0, sample, keep="all")
    assert torch.equal(h0, H0)
    assert torch.allclose(out.values, usual(H0, sample, keep="all").values)
    cotangent = torch.ones(16, 2, 4, dtype=torch.float64)
    for found, expected in zip(
        net.tangent(h0, h0, sample), usual.tangent(H0, H0, sample), strict=True
    ):
        assert torch.allclose(found.terminal, expected.terminal)
    pulled = net.backward(out, sample, cotangent).values[0]
    assert torch.allclose(pulled, usual.backward(usual(H0, sample), sample, cotangent).values[0])
    assert bool((cotangent == 1).all())


@pytest.mark.parametrize(
    "answer", [lambda h: h[..., :1], lambda h: h.float(), lambda h: h * 1j, lambda h: None]
)
def test_answers_that_do_not_fit_are_refused_with_what_was_found(answer):
    net = limits.ResNet("identity", block=Answering(answer))
    with pytest.raises(limits.ShapeError, match=r"Answering\.field must return .*found"):
        net(H0, PATH.sample(depth=4, n_paths=2, seed=0))


def test_labels_are_the_same_in_every_process():
    net = limits.ResNet(torch.sin, block=Halved())
    assert net_label(net) == "Halved custom activation"
    assert block_label(limits.Inner(limits.as_activation(torch.sin), bias=0.5)) == (
        "Inner(sin, bias=0.5)"
    )

    class Plain(Halved):
        __repr__ = object.__repr__

    assert "0x" not in net_label(limits.ResNet("tanh", block=Plain()))


def test_exponent_of_a_network_does_not_follow_the_tensor_it_came_from():
    beta = torch.tensor([0.5, 1.0], dtype=torch.float64)
    net = limits.ResNet("tanh", beta=beta)
    beta.zero_()
    assert net.beta.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("beta", [-1000, -1000.0, torch.tensor(-1000.0)])
def test_exponent_beyond_all_floats_is_refused_with_numbers(beta):
    with pytest.raises(limits.LimitsError, match=r"beyond what a float can hold.*L=4"):
        limits.ResNet("tanh", beta=beta)(H0, PATH.sample(depth=4, n_paths=2, seed=0))


def test_identity_does_not_follow_its_input():
    h0, net = H0.clone(), limits.ResNet("tanh", beta=1.0)
    limit = limits.depth_limit(net, PATH)
    for keep in ("terminal", "all"):
        sample = PATH.sample(depth=4, n_paths=2, seed=0)
        out = limits.EulerMaruyama().solve(limit, h0, sample, keep=keep)
        h0.zero_()
        assert bool((out.values == 1).all())
        h0.fill_(1.0)


class Sines(Halved):
    """A block of functions whose last bits depend on vectors, with inner weights if wanted."""

    def __init__(self, inner):
        object.__setattr__(self, "has_inner", inner)

    def field(self, h, inner):
        return torch.sin(h if inner is None else inner.mv(h))

    def pushed(self, h, q, inner):
        return torch.cos(h) * q

    def pulled(self, h, p, inner):
        return torch.cos(h) * p


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_no_bit_of_a_path_depends_on_how_many_are_beside_it(inner, lazy):
    path = limits.BrownianPath(5)
    net, h0 = limits.ResNet("identity", block=Sines(inner)), torch.ones(2, 5, dtype=torch.float64)

    def asked(n_paths):
        sample = path.sample(depth=4, n_paths=n_paths, seed=0, lazy=lazy)
        out = net(h0, sample, keep="all")
        if inner:
            return (out.values,)
        pulled = net.backward(out, sample, torch.ones_like(out.terminal)).values
        return out.values, pulled, net.tangent(h0, h0, sample)[1].values

    whole = asked(7)
    for n_paths in (1, 2, 3, 6):
        for few, all_of_them in zip(asked(n_paths), whole, strict=True):
            assert torch.equal(few, all_of_them[:, :n_paths])
