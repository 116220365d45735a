"""Positively homogeneous networks keep exact logarithms of norms that no float can hold."""

import math

import pytest
import torch

import limits
from limits.networks import propagate
from tests.helpers import normal_inputs, relative_difference

LINEAR = limits.ResNet("identity", beta=0.0)
RELU = limits.ResNet("relu", beta=0.0)
INNER = limits.ResNet("relu", block="res-3", beta=0.0)
every_network = pytest.mark.parametrize(
    "net", [LINEAR, RELU, INNER], ids=lambda net: f"{net.activation}-{net.block}"
)
every_precision = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64], ids=["float32", "float64"]
)


def log_factors(sample, coefficient):
    """Return log|1 + c V_k|, shape ``(layer, path)``: linear width 1 multiplies by 1 + c V_k."""
    return torch.log((1 + coefficient * sample.layer_weights[..., 0, 0].double()).abs())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("coefficient", "grows"), [(0.5, False), (3.0, True), (1e6, True)], ids=str
)
@every_precision
def test_linear_network_of_width_one_is_a_product_of_its_factors(dtype, coefficient, grows):
    # Between 10^-98 and 10^5900: beyond float32 in every case, beyond float64 in the last.
    depth = 1024
    sample = limits.BrownianPath(1).sample(depth=depth, n_paths=20, seed=0, dtype=dtype)
    net = limits.ResNet("identity", beta=0.0, coefficient=coefficient)
    h0 = torch.full((1, 1), 1.5, dtype=dtype)
    out = net(h0, sample, keep="all")
    exact = math.log(1.5) + log_factors(sample, coefficient).cumsum(dim=0)
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    found = out.log_norms[1:, :, 0].double()
    # float32: 1024 roundings of 6e-8 each, amplified where 1 + c V_k nearly cancels.
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=tolerance)
    assert bool((found[-1] > 0).all()) is grows
    assert not bool(torch.isnan(out.values).any())
    # The transposed product is the same one.
    p = net.backward(out, sample, torch.ones(20, 1, 1, dtype=dtype), keep="terminal")
    torch.testing.assert_close(
        p.log_norms[0, :, 0].double(), exact[-1] - math.log(1.5), rtol=1e-5, atol=tolerance
    )


@pytest.mark.thorough
@pytest.mark.parametrize("net", [LINEAR, INNER], ids=["identity-res-1", "relu-res-3"])
def test_log_norm_is_finite_where_states_overflow_at_depth_10_000(net):
    logs = {}
    for dtype in (torch.float32, torch.float64):
        sample = limits.BrownianPath(4).sample(depth=10_000, n_paths=16, seed=0, dtype=dtype)
        out = net(normal_inputs(2, 4, dtype=dtype), sample)
        assert bool(torch.isinf(out.terminal).all())
        assert bool(torch.isfinite(out.log_norm).all())
        assert float(out.log_norm.min()) > 1000
        logs[dtype] = out.log_norm.double()
    assert relative_difference(logs[torch.float32], logs[torch.float64]) < 1e-4


# relu alone does not explode: where all entries are negative, it stops.
@pytest.mark.thorough
@pytest.mark.parametrize("net", [LINEAR, INNER], ids=["identity-res-1", "relu-res-3"])
def test_gradients_and_tangents_have_finite_log_norms_where_they_overflow(net):
    logs = {}
    for dtype in (torch.float32, torch.float64):
        sample = limits.BrownianPath(4).sample(depth=1500, n_paths=16, seed=0, dtype=dtype)
        h0, q0 = (normal_inputs(16, 2, 4, seed=seed, dtype=dtype) for seed in (1, 2))
        h, q = net.tangent(h0, q0, sample)
        p = net.backward(h, sample, normal_inputs(16, 2, 4, seed=3, dtype=dtype))
        if dtype == torch.float32:
            for values in (h.terminal, q.terminal, p.values[0]):
                assert bool(torch.isinf(values).any(dim=-1).all())
        for values in (h.values, q.values, p.values):
            assert not bool(torch.isnan(values).any())
        assert p.log_norms.shape == (1501, 16, 2)
        for log_norms in (h.log_norms, q.log_norms, p.log_norms):
            assert bool(torch.isfinite(log_norms).all())
        logs[dtype] = torch.stack([h.log_norm, q.log_norm, p.log_norms[0]]).double()
    assert relative_difference(logs[torch.float32], logs[torch.float64]) < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("width", "coefficient"), [(4, 1.0), (1, 0.8)], ids=["overflow", "underflow"]
)
def test_gradients_do_not_depend_on_whether_states_could_be_kept(width, coefficient):
    # Kept states that overflowed or vanished have lost their directions, on which relu depends.
    path = limits.BrownianPath(width)
    sample = path.sample(depth=1500, n_paths=16, seed=0, dtype=torch.float32)
    net = limits.ResNet("relu", block="res-3", beta=0.0, coefficient=coefficient)
    h0 = normal_inputs(2, width, dtype=torch.float32)
    kept, ends = (net(h0, sample, keep=keep) for keep in ("all", "terminal"))
    lost = torch.isinf(kept.terminal) if width > 1 else kept.terminal == 0
    assert bool(lost.any())
    cotangent = normal_inputs(16, 2, width, seed=3, dtype=torch.float32)
    one, other = (net.backward(out, sample, cotangent) for out in (kept, ends))
    assert torch.equal(one.log_norms, other.log_norms)
    assert bool(torch.isfinite(one.log_norms).all())


@pytest.mark.parametrize("beta", [0.5, 0.0], ids=["critical", "exploding"])
@every_precision
@every_network
def test_rescaling_changes_no_bit_of_what_can_be_held(net, dtype, beta, monkeypatch):
    net = limits.ResNet(net.activation, block=net.block, beta=beta)
    sample = limits.BrownianPath(5).sample(depth=40, n_paths=20, seed=0, dtype=dtype)
    h0, q0, cotangent = (normal_inputs(20, 2, 5, seed=s, dtype=dtype) for s in (1, 2, 3))
    found = {}
    for period in (1, 7, 10**9):
        monkeypatch.setattr(propagate, "rescaling_period", lambda *_, p=period: p)
        h, q = net.tangent(h0, q0, sample, keep="all")
        assert torch.equal(net(h0, sample, keep="all").values, h.values)
        found[period] = (h, q, net.backward(h, sample, cotangent))
    for period in (1, 7):
        for rescaled, plain in zip(found[period], found[10**9], strict=True):
            assert torch.equal(rescaled.values, plain.values)
            torch.testing.assert_close(rescaled.log_norms, plain.log_norms)


@every_network
def test_autograd_sees_through_the_rescaling(net, monkeypatch):
    monkeypatch.setattr(propagate, "rescaling_period", lambda *_: 1)
    sample = limits.BrownianPath(5).sample(depth=30, n_paths=20, seed=0)
    h0 = normal_inputs(20, 2, 5).requires_grad_()
    cotangent = normal_inputs(20, 2, 5, seed=3)
    out = net(h0, sample)
    (gradient,) = torch.autograd.grad((out.terminal * cotangent).sum(), h0)
    p = net.backward(net(h0.detach(), sample), sample, cotangent)
    assert relative_difference(p.values[0], gradient) < 1e-12


@every_precision
@every_network
def test_log_norms_are_those_of_the_states_where_they_can_be_held(net, dtype):
    sample = limits.BrownianPath(5).sample(depth=30, n_paths=20, seed=0, dtype=dtype)
    out = net(normal_inputs(2, 5, dtype=dtype), sample, keep="all")
    exact = torch.log(out.values.double().norm(dim=-1))
    torch.testing.assert_close(out.log_norms.double(), exact, rtol=1e-5, atol=1e-6)


@every_network
def test_states_of_very_different_sizes_share_a_batch(net):
    sample = limits.BrownianPath(5).sample(depth=200, n_paths=20, seed=0, dtype=torch.float32)
    direction = normal_inputs(1, 5, dtype=torch.float32)
    sizes = torch.tensor([[1.0], [2.0**-80], [2.0**80]])
    out = net(direction * sizes, sample)
    plain = out.log_norm[:, :1]
    expected = torch.cat([plain, plain - 80 * math.log(2), plain + 80 * math.log(2)], dim=1)
    torch.testing.assert_close(out.log_norm, expected, rtol=1e-5, atol=1e-3)


@every_network
def test_zero_stays_zero_and_its_log_is_minus_infinity(net):
    sample = limits.BrownianPath(5).sample(depth=200, n_paths=20, seed=0)
    out = net(torch.zeros(1, 5, dtype=torch.float64), sample)
    assert float(out.terminal.abs().max()) == 0
    assert bool((out.log_norm == -math.inf).all())


@every_precision
@every_network
def test_inputs_near_the_largest_float_do_not_overflow_before_the_first_rescaling(net, dtype):
    sample = limits.BrownianPath(5).sample(depth=100, n_paths=20, seed=0, dtype=dtype)
    direction = normal_inputs(1, 5, dtype=dtype)
    direction = direction / direction.abs().max()
    bits = 127 if dtype == torch.float32 else 1023
    out = net(direction * 2.0**bits, sample)
    expected = net(direction, sample).log_norm.double() + bits * math.log(2)
    torch.testing.assert_close(out.log_norm.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.thorough
def test_exponents_differ_from_input_to_input():
    # One explodes beyond float32, one is critical: the second keeps its value in every bit.
    sample = limits.BrownianPath(8).sample(depth=1000, n_paths=16, seed=0, dtype=torch.float32)
    h0 = normal_inputs(1, 8, dtype=torch.float32).expand(2, 8)
    both = limits.ResNet("relu", block="res-3", beta=torch.tensor([0.0, 0.5]))(h0, sample)
    assert bool(torch.isinf(both.terminal[:, 0]).any(dim=-1).all())
    alone = limits.ResNet("relu", block="res-3", beta=torch.tensor([0.5, 0.5]))(h0, sample)
    torch.testing.assert_close(both.terminal[:, 1], alone.terminal[:, 1], rtol=1e-5, atol=1e-6)
    exploding = INNER(h0[:1], sample)
    torch.testing.assert_close(both.log_norm[:, :1], exploding.log_norm, rtol=1e-4, atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("net", [LINEAR, INNER], ids=["identity-res-1", "relu-res-3"])
def test_homogeneous_networks_never_raise_for_overflow(net):
    sample = limits.BrownianPath(4).sample(depth=1500, n_paths=16, seed=0, dtype=torch.float32)
    h0 = normal_inputs(1, 4, dtype=torch.float32)
    raised, kept = (net(h0, sample, nonfinite=choice) for choice in ("raise", "keep"))
    assert bool(torch.isinf(raised.terminal).any())
    assert torch.equal(raised.values, kept.values)
