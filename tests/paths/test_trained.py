"""Weights of one trained network as a path."""

import pytest
import torch
from torch import Tensor

import limits

DEPTH, WIDTH = 12, 3


def weights(depth: int = DEPTH, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(depth, WIDTH, WIDTH, generator=generator, dtype=torch.float64)


def smooth_weights(depth: int) -> Tensor:
    """Return V at t = k / depth of a smooth function of t."""
    t = torch.arange(depth, dtype=torch.float64)[:, None, None] / depth
    A, B = weights(2)
    return A * torch.cos(2 * t) + B * t**2


H0 = torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.4, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize("index", [1.0, 0.5, 0.7])
def test_layer_weights_are_the_ones_given_and_increments_scale_by_the_index(index: float) -> None:
    V = weights()
    path = limits.TrainedPath(V, index=index)
    sample = path.sample()
    assert (sample.depth, sample.n_paths, path.width) == (DEPTH, 1, WIDTH)
    torch.testing.assert_close(sample.layer_weights[:, 0], V, rtol=1e-14, atol=0)
    torch.testing.assert_close(sample.increments[:, 0], V / DEPTH**index, rtol=1e-14, atol=0)
    assert path.critical_beta == max(index, 0.5)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 12])
def test_shallower_reading_takes_every_so_many_layers(depth: int) -> None:
    V = weights()
    path = limits.TrainedPath(V, index=1.0)
    taken = V[:: DEPTH // depth]
    for sample in (path.sample(depth=depth), path.sample().at_depth(depth)):
        torch.testing.assert_close(sample.layer_weights[:, 0], taken, rtol=1e-14, atol=0)
        torch.testing.assert_close(sample.increments[:, 0], taken / depth, rtol=1e-14, atol=0)


def test_network_on_trained_weights_is_the_recursion() -> None:
    V = weights()
    net = limits.ResNet("tanh", beta=0.5)
    out = net(H0, limits.TrainedPath(V, index=1.0).sample(), keep="all").values
    h = H0
    for k in range(DEPTH):
        h = h + DEPTH**-0.5 * torch.tanh(h) @ V[k].mT
        torch.testing.assert_close(out[k + 1, 0], h, rtol=1e-12, atol=1e-14)


def test_network_with_inner_weights_reads_both() -> None:
    V, W = weights(), weights(seed=1)
    path = limits.TrainedPath(V, index=1.0, inner=W)
    sample = path.sample()
    torch.testing.assert_close(sample.inner.layer_weights[:, 0], W, rtol=1e-14, atol=0)
    out = limits.ResNet("relu", block="res-3")(H0, sample, keep="all").values
    h = H0
    for k in range(DEPTH):
        h = h + torch.relu(h @ W[k].mT) @ V[k].mT / DEPTH
        torch.testing.assert_close(out[k + 1, 0], h, rtol=1e-12, atol=1e-14)


def test_inner_weights_are_asked_for_only_where_the_block_reads_them() -> None:
    sample = limits.TrainedPath(weights(), index=1.0).sample()
    limits.ResNet("tanh")(H0, sample)
    with pytest.raises(limits.LimitsError, match=r"inner=inner_weights"):
        limits.ResNet("tanh", block="res-2")(H0, sample)


# --- between layers -----------------------------------------------------------------------------


def test_weights_between_layers_are_linear_and_after_the_last_constant() -> None:
    V = weights()
    sample = limits.TrainedPath(V, index=1.0).sample()
    nodes = torch.arange(DEPTH, dtype=torch.float64) / DEPTH
    torch.testing.assert_close(sample.weights_at(nodes)[:, 0], V, rtol=1e-13, atol=1e-14)
    middle = sample.weights_at(3.5 / DEPTH)[0]
    torch.testing.assert_close(middle, (V[3] + V[4]) / 2, rtol=1e-12, atol=1e-14)
    for time in (11 / 12, 0.95, 1.0):
        torch.testing.assert_close(sample.weights_at(time)[0], V[-1], rtol=1e-12, atol=1e-14)
    assert sample.weights_at(0.3).shape == (1, WIDTH, WIDTH)
    assert sample.weights_at(torch.tensor([0.1, 0.3])).shape == (2, 1, WIDTH, WIDTH)


@pytest.mark.parametrize("time", [-0.1, 1.01])
def test_weights_outside_the_interval_are_refused(time: float) -> None:
    sample = limits.TrainedPath(weights(), index=1.0).sample()
    with pytest.raises(limits.LimitsError, match=r"\[0, 1\].*t = k / L"):
        sample.weights_at(time)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_smooth_trained_network_approaches_its_ode_at_order_one() -> None:
    depth, net = 2048, limits.ResNet("tanh")
    path = limits.TrainedPath(smooth_weights(depth), index=1.0)
    limit = limits.depth_limit(net, path)
    assert (limit.kind, limit.order) == ("ode", 1.0)
    sample = path.sample()
    exact = limits.TorchDiffEq(method="rk4").solve(limit, H0, sample)
    errors = [limits.strong_error(net(H0, sample.at_depth(d)), exact).value for d in (32, 64, 128)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_constant_weights_give_the_matrix_exponential() -> None:
    A = weights(1)[0] / 3
    path = limits.TrainedPath(A.expand(64, WIDTH, WIDTH), index=1.0)
    limit = limits.depth_limit(limits.ResNet("identity"), path)
    solution = limits.TorchDiffEq(method="dopri5", rtol=1e-11, atol=1e-13).solve(
        limit, H0, path.sample()
    )
    expected = H0 @ torch.linalg.matrix_exp(A).mT
    torch.testing.assert_close(solution.terminal[0], expected, rtol=1e-9, atol=1e-10)
    net = limits.ResNet("identity")(H0, path.sample()).terminal[0]
    power = torch.linalg.matrix_power(torch.eye(WIDTH, dtype=torch.float64) + A / 64, 64)
    torch.testing.assert_close(net, H0 @ power.mT, rtol=1e-11, atol=1e-12)


def test_backward_of_a_trained_network_agrees_with_autograd() -> None:
    net, sample = limits.ResNet("tanh"), limits.TrainedPath(weights(), index=1.0).sample()
    h0 = H0.clone().requires_grad_()
    out = net(h0, sample)
    (expected,) = torch.autograd.grad(out.terminal.sum(), h0)
    detached = net(H0, sample, keep="all")
    found = net.backward(detached, sample, torch.ones_like(detached.terminal)).values[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


# --- identity of the draw -----------------------------------------------------------------------


def test_tag_follows_the_weights_and_not_the_object() -> None:
    first = limits.TrainedPath(weights(), index=1.0).sample()
    same = limits.TrainedPath(weights().clone(), index=1.0).sample()
    other = limits.TrainedPath(weights(seed=1), index=1.0).sample()
    assert first.tag == same.tag == first.at_depth(4).tag
    assert first.tag != other.tag
    net = limits.ResNet("tanh")
    assert limits.strong_error(net(H0, first), net(H0, same)).value == 0
    with pytest.raises(limits.CouplingError):
        limits.strong_error(net(H0, first), net(H0, other))


def test_tag_follows_the_inner_weights_too() -> None:
    net = limits.ResNet("relu", block="res-3")
    outs = [
        net(H0, limits.TrainedPath(weights(), index=1.0, inner=weights(seed=seed)).sample())
        for seed in (1, 2)
    ]
    with pytest.raises(limits.CouplingError):
        limits.strong_error(outs[0], outs[1])


def test_later_changes_of_the_model_do_not_reach_the_path() -> None:
    V = weights()
    path = limits.TrainedPath(V, index=1.0)
    before = path.sample().layer_weights.clone()
    V.mul_(0)
    assert torch.equal(path.sample().layer_weights, before)


def test_single_precision_weights_can_be_read_in_double() -> None:
    path = limits.TrainedPath(weights().float(), index=1.0)
    assert path.sample().layer_weights.dtype == torch.float64
    assert path.sample(dtype=torch.float32).layer_weights.dtype == torch.float32


def test_weights_that_require_gradients_are_read_without_them() -> None:
    V = weights().requires_grad_()
    sample = limits.TrainedPath(V, index=1.0).sample()
    assert not sample.layer_weights.requires_grad
    assert not limits.ResNet("tanh")(H0, sample).terminal.requires_grad


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [5, 24, 0, -3, 2.0])
def test_depth_that_does_not_divide_the_layers_is_refused(depth: object) -> None:
    with pytest.raises(limits.DepthMismatchError, match="Use a divisor of 12"):
        limits.TrainedPath(weights(), index=1.0).sample(depth=depth)


def test_several_paths_are_refused() -> None:
    with pytest.raises(limits.LimitsError, match=r"asked for 4.*Leave n_paths out"):
        limits.TrainedPath(weights(), index=1.0).sample(n_paths=4)


def test_index_is_required_and_lies_in_zero_to_one() -> None:
    with pytest.raises(TypeError, match="index"):
        limits.TrainedPath(weights())
    for index in (0, 1.5, -1.0, True, "1", float("nan")):
        with pytest.raises(limits.LimitsError, match=r"\(0, 1\].*Use 1\.0"):
            limits.TrainedPath(weights(), index=index)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_of_low_precision_are_interpolated_in_double_precision(dtype):
    t = torch.arange(16, dtype=torch.float64)[:, None, None] / 16
    given = (torch.sin(6 * t) * torch.eye(3, dtype=torch.float64)).to(dtype)
    times = torch.linspace(0, 1, 33, dtype=torch.float64)
    low, double = (limits.TrainedPath(each, index=1.0) for each in (given, given.double()))
    assert torch.equal(low.sample().weights_at(times), double.sample().weights_at(times))
    assert torch.equal(low.sample().increments, double.sample().increments)
