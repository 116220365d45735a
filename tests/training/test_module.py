"""The torch module and the functional network are one network."""

import pytest
import torch

import limits

DEPTH, WIDTH = 24, 6


def inputs(count=4, features=WIDTH):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("block", "activation", "beta"),
    [("res-1", "tanh", None), ("res-1", "relu", 0.7), ("res-2", "gelu", 0.5), ("res-3", "relu", 1)],
)
def test_a_module_is_the_network_of_its_draw(block, activation, beta):
    path = limits.BrownianPath(WIDTH)
    module = limits.ResNetModule(
        path, depth=DEPTH, seed=5, block=block, activation=activation, beta=beta,
        coefficient=1.3, dtype=torch.float64,
    )  # fmt: skip
    net = limits.ResNet(activation, block=block, beta=beta, coefficient=1.3)
    expected = net(inputs(), path.sample(depth=DEPTH, n_paths=1, seed=5)).terminal[0]
    assert torch.allclose(module(inputs()), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("block", ["res-1", "res-3"])
def test_trained_weights_come_back_as_a_path(block):
    module = limits.ResNetModule(
        limits.SmoothPath(WIDTH), depth=DEPTH, seed=1, block=block, dtype=torch.float64
    )
    before = module.weights
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    module(inputs()).square().mean().backward()
    optimiser.step()
    path = module.as_path(index=1.0)
    assert not torch.allclose(path.weights, before)
    out = limits.ResNet("relu", block=block)(inputs(), path.sample()).terminal[0]
    assert torch.allclose(out, module(inputs()).detach(), rtol=0, atol=1e-13)
    assert path.weights.data_ptr() != module.outer.data_ptr()


def test_the_gradient_of_the_module_is_that_of_the_adjoint_recursion():
    path = limits.BrownianPath(WIDTH)
    sample = path.sample(depth=DEPTH, n_paths=1, seed=2)
    module = limits.ResNetModule(path, depth=DEPTH, seed=2, activation="tanh", dtype=torch.float64)
    x = inputs().requires_grad_()
    module(x).sum().backward()
    net = limits.ResNet("tanh")
    out = net(inputs(), sample, keep="all")
    p = net.backward(out, sample, torch.ones_like(out.terminal))
    assert torch.allclose(x.grad, p.values[0, 0], rtol=0, atol=1e-12)


def test_embedding_and_readout_have_the_published_law_and_may_be_frozen():
    path = limits.BrownianPath(200)
    module = limits.ResNetModule(
        path, depth=1, seed=0, features=300, outputs=100, train_embedding=False
    )
    for parameter, fan in ((module.embedding, 300), (module.readout, 200)):
        matrix = parameter.detach()
        bound = (3 / fan) ** 0.5
        assert float(matrix.abs().max()) <= bound
        assert float(matrix.abs().max()) > 0.999 * bound
        assert float(matrix.var() * fan) == pytest.approx(1, abs=0.03)
        assert abs(float(matrix.mean())) < 4 / (fan * matrix.numel()) ** 0.5
    assert not module.embedding.requires_grad
    assert module.readout.requires_grad
    assert module.extra_repr() == "res-1, relu, depth=1, width=200, residual_scale=1"


def test_seeds_give_different_modules_and_the_same_seed_the_same():
    def make(seed):
        path = limits.FractionalPath(4, hurst=0.7)
        return limits.ResNetModule(path, depth=8, seed=seed, features=3, outputs=2)

    same = zip(make(0).parameters(), make(0).parameters(), strict=True)
    other = zip(make(0).parameters(), make(1).parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not any(torch.equal(a, b) for a, b in other)


def test_modules_refuse_what_they_cannot_be():
    path = limits.BrownianPath(4)
    with pytest.raises(limits.LimitsError, match='"res-1" or "res-2"'):
        limits.ResNetModule(path, depth=4, seed=0, block="post-relu")
    with pytest.raises(limits.ShapeError, match="depth=64"):
        limits.ResNetModule(path, depth=0, seed=0)
    with pytest.raises(limits.DTypeError, match=r"torch.float64"):
        limits.ResNetModule(path, depth=4, seed=0, dtype=torch.float16)
    with pytest.raises(limits.LimitsError, match=r"Use 1.0"):
        limits.ResNetModule(path, depth=4, seed=0, coefficient=float("nan"))
    with pytest.raises(limits.LimitsError, match="beta must be a finite number"):
        limits.ResNetModule(path, depth=4, seed=0, beta=float("inf"))
    module = limits.ResNetModule(path, depth=4, seed=0, features=3)
    with pytest.raises(limits.ShapeError, match=r"x.flatten\(1\)"):
        module(torch.zeros(2, 5))
