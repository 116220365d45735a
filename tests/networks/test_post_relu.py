"""The block whose relu acts after the addition: recursions, bookkeeping, its one-layer law."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import limits
from tests.helpers import normal_inputs, relative_difference, within_standard_errors

NET = limits.ResNet("relu", block="post-relu")


def orthant(n_inputs: int, width: int, *, seed: int = 0) -> torch.Tensor:
    return limits.embed(
        normal_inputs(n_inputs, 20, seed=seed), width=width, seed=1, activation="relu"
    )


def by_hand(h0: torch.Tensor, weights: torch.Tensor, tau: float) -> torch.Tensor:
    """Return all states, from order-one weights ``(layer, path, width, width)``."""
    states = [h0.expand(weights.shape[1], -1, -1)]
    for layer in weights:
        h = states[-1]
        states.append(torch.clamp(h + tau * torch.einsum("pij,pnj->pni", layer, h), min=0))
    return torch.stack(states)


@pytest.mark.parametrize("path", [limits.BrownianPath(6), limits.SmoothPath(6)])
@pytest.mark.parametrize(("beta", "coefficient"), [(0.5, 1.0), (1.0, 3.0), (0.25, 0.7)])
def test_a_layer_is_relu_of_the_sum(path, beta, coefficient):
    sample = path.sample(depth=12, n_paths=20, seed=3)
    net = replace(NET, beta=beta, coefficient=coefficient)
    h0 = orthant(2, 6)
    expected = by_hand(h0, sample.layer_weights, coefficient * 12**-beta)
    out = net(h0, sample, keep="all")
    assert relative_difference(out.values, expected) < 1e-13
    assert bool((out.values >= 0).all())
    assert bool((out.values == 0).any())


def test_several_inputs_and_exponents_are_their_single_networks():
    sample = limits.BrownianPath(5).sample(depth=10, n_paths=16, seed=0)
    h0, betas = orthant(3, 5), (0.3, 0.5, 1.0)
    together = replace(NET, beta=torch.tensor(betas, dtype=torch.float64))(h0, sample).terminal
    for number, beta in enumerate(betas):
        alone = replace(NET, beta=beta)(h0[number : number + 1], sample).terminal
        assert relative_difference(together[:, number : number + 1], alone) < 1e-13


@pytest.mark.parametrize("keep", ["all", "terminal"])
def test_backward_equals_autograd(keep):
    sample = limits.BrownianPath(7).sample(depth=20, n_paths=16, seed=5)
    h0 = orthant(2, 7).expand(16, -1, -1).clone().requires_grad_()
    cotangent = normal_inputs(16, 2, 7, seed=2)
    net = replace(NET, beta=0.4)
    (expected,) = torch.autograd.grad((net(h0, sample).terminal * cotangent).sum(), h0)
    p = net.backward(net(h0.detach(), sample, keep=keep), sample, cotangent)
    assert relative_difference(p.values[0], expected) < 1e-13


def test_tangent_equals_finite_differences_and_is_adjoint_to_backward():
    sample = limits.BrownianPath(6).sample(depth=15, n_paths=16, seed=1)
    h0, q0 = orthant(1, 6) + 0.1, normal_inputs(1, 6, seed=4)
    h, q = NET.tangent(h0, q0, sample)
    step = 1e-7
    moved = NET(h0 + step * q0, sample).terminal
    assert relative_difference((moved - h.terminal) / step, q.terminal) < 1e-5
    cotangent = normal_inputs(16, 1, 6, seed=7)
    p = NET.backward(h, sample, cotangent)
    left, right = (p.values[0] * q0).sum(-1), (cotangent * q.terminal).sum(-1)
    assert relative_difference(left, right) < 1e-13


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("beta", [1.0, 0.5, 0.25])
def test_gradient_times_state_is_the_same_at_every_layer(lazy, beta):
    """Euler's identity: a layer is positively homogeneous, so <p_k, h_k> = <p_L, h_L>."""
    sample = limits.BrownianPath(9).sample(depth=50, n_paths=32, seed=2, lazy=lazy)
    net = replace(NET, beta=beta)
    out = net(orthant(2, 9), sample, keep="all")
    p = net.backward(out, sample, normal_inputs(32, 2, 9, seed=3))
    products = (p.values * out.values).sum(-1)
    assert relative_difference(products, products[-1:].expand_as(products)) < 1e-11


@pytest.mark.thorough
def test_explosion_neither_overflows_nor_loses_a_digit():
    # Wide enough that no layer sets all units to 0 at once, which has probability 2^-32.
    sample = limits.BrownianPath(32).sample(depth=500, n_paths=16, seed=0)
    net = replace(NET, beta=0.0, coefficient=10.0)
    h0 = orthant(1, 32)
    out = net(h0, sample, keep="all")
    assert not bool(torch.isfinite(out.terminal).all())
    assert bool(torch.isfinite(out.log_norm).all())
    h, logs = h0.expand(16, -1, -1), torch.zeros(16, 1, dtype=torch.float64)
    for layer in sample.layer_weights:
        h = torch.relu(h + 10 * torch.einsum("pij,pnj->pni", layer, h))
        size = h.norm(dim=-1, keepdim=True)
        h, logs = h / size, logs + size.log()[..., 0]
    assert relative_difference(out.log_norm, logs) < 1e-13
    p = net.backward(out, sample, torch.ones(16, 1, 32, dtype=torch.float64), keep="terminal")
    assert bool(torch.isfinite(p.log_norms).all())


def test_a_network_whose_units_all_died_has_norm_zero_and_says_so():
    weights = -2 * torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    sample = limits.TrainedPath(weights, index=1.0).sample()
    out = replace(NET, beta=0.0)(orthant(1, 3), sample)
    assert float(out.terminal.abs().max()) == 0
    assert float(out.log_norm) == -math.inf


def test_huge_inputs_and_single_precision_change_nothing():
    sample = limits.BrownianPath(8).sample(depth=64, n_paths=16, seed=0)
    h0 = orthant(2, 8)
    logs = NET(h0, sample).log_norm
    assert torch.allclose(NET(h0 * 1e300, sample).log_norm - 300 * math.log(10), logs, atol=1e-10)
    single = limits.BrownianPath(8).sample(depth=64, n_paths=16, seed=0, dtype=torch.float32)
    assert relative_difference(NET(h0.float(), single).log_norm.double(), logs) < 1e-4


@pytest.mark.parametrize("lazy", [False, True])
def test_a_layer_multiplies_the_second_moment_by_its_closed_form(lazy):
    """Given h_k the mean of |h_{k+1}|^2 is exact, so the quotients minus one are centred.

    Over 8 seeds the mean was -1.4 to 1.6 standard errors from 0, with both kinds of draws.
    """
    tau, width, depth = 0.6, 8, 25
    sample = limits.BrownianPath(width).sample(depth=depth, n_paths=2000, seed=0, lazy=lazy)
    net = replace(NET, beta=0.0, coefficient=tau)
    states = net(orthant(1, width), sample, keep="all").values[:, :, 0]
    squares = states.square().sum(-1)
    ratio = limits.closed_forms.post_relu_ratio(states[:-1].numpy(), tau)
    surprises = (squares[1:] / squares[:-1]).numpy() / ratio - 1
    assert within_standard_errors(surprises.mean(axis=0), 0.0, precision=0.002)


def test_the_ratio_of_a_layer_is_the_integral_it_stands_for():
    z = np.linspace(-9, 9, 20001)
    normal = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    rng = np.random.default_rng(0)
    for tau in (0.01, 0.5, 3.0):
        h = rng.standard_normal(5)
        s = tau * np.linalg.norm(h) / math.sqrt(5)
        exact = (np.maximum(h[:, None] + s * z, 0) ** 2 @ normal).sum() / (h @ h)
        assert limits.closed_forms.post_relu_ratio(h, tau) == pytest.approx(exact, rel=1e-6)


def test_bounds_of_a_ratio_are_reached_and_never_crossed():
    rng = np.random.default_rng(0)
    states = np.abs(rng.standard_normal((1000, 12))) * (rng.random((1000, 12)) < 0.4)
    states[:, 0] += 1e-3
    for tau in (1e-4, 0.1, 1.0, 10.0):
        gain = (limits.closed_forms.post_relu_ratio(states, tau) - 1) / tau**2
        assert gain.min() >= 0.5 - 1e-7
        assert gain.max() <= 1 + 1e-7
    one = np.eye(1, 10**4)
    assert limits.closed_forms.post_relu_ratio(one, 1.0) == pytest.approx(1.5, abs=1e-4)
    even = np.ones((1, 100))
    assert limits.closed_forms.post_relu_ratio(even, 0.1) == pytest.approx(1.01, abs=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("beta", [1.0, 0.5, 0.4, 0.25])
@pytest.mark.parametrize("width", [16, 64, 128])
def test_second_moment_stays_between_its_bounds(beta, width):
    """Four tau, four depths, three widths; every ratio along every path, every usable mean.

    A mean is compared where the variance of the log is below 0.3; it then has a standard error
    of about sqrt(exp(.3) - 1) / sqrt(192) at most, and the bounds are widened by four of them.
    """
    net = replace(NET, beta=beta)
    for depth in (10, 30, 90, 270):
        tau = depth**-beta
        sample = limits.BrownianPath(width).sample(
            depth=depth, n_paths=192, seed=depth, dtype=torch.float32, lazy=True
        )
        out = net(orthant(1, width).float(), sample, keep="all")
        units = torch.nn.functional.normalize(out.values[:-1, :, 0].double(), dim=-1)
        ratio = limits.closed_forms.post_relu_ratio(units.numpy(), tau)
        assert (ratio - 1).min() >= tau**2 / 2 * (1 - 1e-6)
        assert (ratio - 1).max() <= tau**2 * (1 + 1e-6)
        logs = 2 * (out.log_norms[-1, :, 0] - out.log_norms[0, :, 0]).double().numpy()
        if logs.var(ddof=1) < 0.3:
            moments = np.exp(logs)
            error = moments.std(ddof=1) / math.sqrt(len(moments))
            low, high = limits.closed_forms.post_relu_second_moment_bounds(depth, tau)
            assert low - 4 * error <= moments.mean() <= high + 4 * error


def test_sigma_w_is_the_coefficient():
    weights = normal_inputs(8, 5, 5, seed=1)
    plain = limits.TrainedPath(weights, index=0.5).sample()
    double = limits.TrainedPath(2 * weights, index=0.5).sample()
    h0 = orthant(1, 5)
    net = replace(NET, beta=0.5)
    wide = replace(net, coefficient=2.0)
    assert relative_difference(wide(h0, plain).terminal, net(h0, double).terminal) < 1e-14


def test_networks_of_a_study_are_the_networks_alone():
    path, depths = limits.BrownianPath(4), (4, 8, 16)
    h0 = orthant(2, 4)
    study = limits.convergence_study(
        NET, path, depths=depths, n_paths=32, seed=0, h0=h0, reference=64
    )
    sample = path.sample(depth=64, n_paths=32, seed=0)
    deep = NET(h0, sample)
    for row, depth in zip(study.path_errors, depths, strict=True):
        found = limits.path_errors(NET(h0, sample.at_depth(depth)), deep, p=2)
        np.testing.assert_allclose(row, found, rtol=1e-10)


@pytest.mark.parametrize("activation", ["identity", "tanh", "gelu", torch.sin])
def test_other_activations_are_refused(activation):
    with pytest.raises(limits.LimitsError, match=r'Use ResNet\("relu", block="post-relu"\)'):
        limits.ResNet(activation, block="post-relu")


def test_modules_say_which_blocks_they_train():
    with pytest.raises(limits.LimitsError, match='"res-1" or "res-2" or "res-3"'):
        limits.ResNetModule(limits.BrownianPath(4), depth=4, seed=0, block="post-relu")


def test_frozen_layers_keep_norms_on_average():
    x = normal_inputs(1, 30)
    h0 = limits.embed(x, width=20000, seed=0, activation="relu")
    assert bool((h0 >= 0).all())
    assert float(h0.square().sum() / x.square().sum()) == pytest.approx(1, abs=0.05)
    plain = limits.embed(x, width=20000, seed=0)
    assert torch.allclose(h0, torch.relu(plain) * math.sqrt(2))
    b = limits.readout(width=20, outputs=5000, seed=0)
    h = normal_inputs(1, 20, seed=1)
    assert b.shape == (5000, 20)
    assert float((h @ b.mT).square().sum() / h.square().sum()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(b, limits.readout(width=20, outputs=5000, seed=1))


def test_frozen_layers_refuse_what_they_cannot_do():
    with pytest.raises(limits.LimitsError, match='activation must be "identity" or "relu"'):
        limits.embed(torch.ones(1, 3), width=4, seed=0, activation="tanh")
    with pytest.raises(limits.ShapeError, match="outputs must be a positive integer"):
        limits.readout(width=4, outputs=0, seed=0)
