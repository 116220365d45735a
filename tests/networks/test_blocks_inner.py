"""Blocks with inner weights, blocks of one's own, and the block that averages inner weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from torch.nn.functional import softplus

import limits
from limits.activations import as_activation
from limits.networks.averaged import AveragedInner
from limits.networks.blocks import Inner
from limits.paths import DenseIncrement, Increment

WIDTH = 4
ACTIVATIONS = ["tanh", "gelu", "relu", "identity", softplus, torch.sin]


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def inner_weights(n_paths: int, seed: int = 1) -> tuple[Tensor, Increment]:
    """Return matrices W acting on columns, and the operator that holds them."""
    W = normal(n_paths, WIDTH, WIDTH, seed=seed) / math.sqrt(WIDTH)
    return W, DenseIncrement(W.mT.contiguous(), 1.0)


def jacobian(field: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Return Dg at every state, ``(path, input, width, width)``, by autograd."""
    flat = h.flatten(0, 1)
    rows = []
    for p in range(len(h)):
        for a in range(h.shape[1]):

            def at(x: Tensor, p: int = p, a: int = a) -> Tensor:
                moved = h.clone()
                moved = torch.cat([moved[:p], torch.cat([moved[p, :a], x[None], moved[p, a + 1 :]])
                                   [None], moved[p + 1 :]])  # fmt: skip
                return field(moved)[p, a]

            rows.append(torch.autograd.functional.jacobian(at, flat[p * h.shape[1] + a]))
    return torch.stack(rows).unflatten(0, h.shape[:2])


def check_derivatives(
    block: limits.Block, h: Tensor, inner: Increment | None, tolerance: float = 1e-11
) -> None:
    J = jacobian(lambda x: block.field(x, inner), h)
    q, p = normal(*h.shape, seed=3), normal(*h.shape, seed=4)
    pushed = torch.einsum("paij,paj->pai", J, q)
    pulled = torch.einsum("paji,paj->pai", J, p)
    torch.testing.assert_close(block.pushed(h, q, inner), pushed, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(block.pulled(h, p, inner), pulled, rtol=tolerance, atol=tolerance)


# --- res-2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_res2_is_the_activation_of_the_inner_product(activation, bias: float) -> None:
    s = as_activation(activation)
    block, h = Inner(s, bias=bias), normal(2, 3, WIDTH)
    W, inner = inner_weights(2)
    expected = s.value(torch.einsum("pij,paj->pai", W, h) + bias)
    torch.testing.assert_close(block.field(h, inner), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_derivatives_of_res2_agree_with_autograd(activation, bias: float) -> None:
    _, inner = inner_weights(2)
    check_derivatives(Inner(as_activation(activation), bias=bias), normal(2, 3, WIDTH), inner)


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_res2_is_homogeneous_without_a_bias_only(bias: float) -> None:
    for activation in ACTIVATIONS:
        block, h = Inner(as_activation(activation), bias=bias), normal(2, 1, WIDTH)
        _, inner = inner_weights(2)
        same = torch.allclose(block.field(3 * h, inner), 3 * block.field(h, inner))
        assert block.homogeneous == same
        assert block.homogeneous == (activation in ("relu", "identity") and bias == 0)


@pytest.mark.parametrize("activation", ["tanh", "gelu", softplus])
def test_network_of_res2_is_the_looped_formula(activation) -> None:
    path, depth = limits.BrownianPath(WIDTH), 12
    sample = path.sample(depth=depth, n_paths=3, seed=0)
    h0 = normal(2, WIDTH)
    out = limits.ResNet(activation, block="res-2", coefficient=0.8)(h0, sample, keep="all").values
    s, V, W = as_activation(activation), sample.layer_weights, sample.inner.layer_weights
    for k in range(depth):
        g = s.value(torch.einsum("pij,paj->pai", W[k], out[k]))
        update = 0.8 * depth**-0.5 * torch.einsum("pij,paj->pai", V[k], g)
        torch.testing.assert_close(out[k + 1], out[k] + update, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("net", [
    limits.ResNet("tanh", block="res-2"),
    limits.ResNet("tanh", block=Inner(as_activation("tanh"), bias=-0.4)),
    limits.ResNet("relu", block="res-3"),
])  # fmt: skip
def test_backward_and_tangent_of_inner_blocks_agree_with_autograd(net: limits.ResNet) -> None:
    sample = limits.FractionalPath(WIDTH, hurst=0.6).sample(depth=10, n_paths=2, seed=0)
    h0 = normal(2, WIDTH).expand(2, 2, WIDTH).clone().requires_grad_()
    out = net(h0, sample, keep="all")
    cotangent = normal(*out.terminal.shape, seed=5)
    (expected,) = torch.autograd.grad(out.terminal, h0, cotangent)
    detached = net(h0.detach(), sample, keep="all")
    found = net.backward(detached, sample, cotangent).values[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    q0 = normal(2, 2, WIDTH, seed=6)
    _, tangent = net.tangent(h0.detach(), q0, sample)
    # <p_L, q_L> = <p_0, q_0>
    left, right = (tangent.terminal * cotangent).sum(), (q0 * found).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def test_res2_with_relu_is_res3() -> None:
    sample = limits.BrownianPath(WIDTH).sample(depth=8, n_paths=2, seed=0)
    h0 = normal(1, WIDTH)
    outs = [limits.ResNet("relu", block=block)(h0, sample).terminal for block in ("res-2", "res-3")]
    assert torch.equal(outs[0], outs[1])


def test_blocks_with_inner_weights_refuse_to_go_without() -> None:
    h = normal(1, 1, WIDTH)
    for block in (Inner(as_activation("tanh")), Inner(as_activation("relu"))):
        with pytest.raises(limits.LimitsError, match=r"inner=True"):
            block.field(h, None)


# --- a block of one's own, in one file ----------------------------------------------------------


@dataclass(frozen=True)
class Gated:
    """g(h) = tanh(A h) * (1 + h^2)^(-1/2): neither pointwise nor symmetric in its derivative."""

    matrix: Tensor

    has_inner = False
    homogeneous = False

    def field(self, h: Tensor, inner: Increment | None) -> Tensor:
        return torch.tanh(h @ self.matrix.mT) * self._gate(h)

    def pushed(self, h: Tensor, q: Tensor, inner: Increment | None) -> Tensor:
        z = torch.tanh(h @ self.matrix.mT)
        slope = (1 - z**2) * self._gate(h)
        return slope * (q @ self.matrix.mT) - z * h * self._gate(h) ** 3 * q

    def pulled(self, h: Tensor, p: Tensor, inner: Increment | None) -> Tensor:
        z = torch.tanh(h @ self.matrix.mT)
        slope = (1 - z**2) * self._gate(h)
        return (slope * p) @ self.matrix - z * h * self._gate(h) ** 3 * p

    def _gate(self, h: Tensor) -> Tensor:
        return (1 + h**2).rsqrt()


@dataclass(frozen=True)
class GatedInner:
    """g(h) = tanh(h) * (W h): a block of one's own that reads inner weights."""

    has_inner = True
    homogeneous = False

    def field(self, h: Tensor, inner: Increment) -> Tensor:
        return torch.tanh(h) * inner.mv(h)

    def pushed(self, h: Tensor, q: Tensor, inner: Increment) -> Tensor:
        return (1 - torch.tanh(h) ** 2) * q * inner.mv(h) + torch.tanh(h) * inner.mv(q)

    def pulled(self, h: Tensor, p: Tensor, inner: Increment) -> Tensor:
        return (1 - torch.tanh(h) ** 2) * p * inner.mv(h) + inner.rmv(torch.tanh(h) * p)


def gated() -> limits.ResNet:
    return limits.ResNet("identity", block=Gated(normal(WIDTH, WIDTH, seed=9)))


def gated_inner() -> limits.ResNet:
    return limits.ResNet("identity", block=GatedInner())


def test_own_block_follows_the_protocol_and_its_derivatives_are_right() -> None:
    _, inner = inner_weights(2)
    for net, operator in ((gated(), None), (gated_inner(), inner)):
        assert isinstance(net.vector_field, limits.Block)
        check_derivatives(net.vector_field, normal(2, 3, WIDTH), operator)


@pytest.mark.parametrize("make", [gated, gated_inner])
@pytest.mark.parametrize("path", [
    limits.BrownianPath(WIDTH), limits.SmoothPath(WIDTH), limits.FractionalPath(WIDTH, hurst=0.7),
], ids=lambda path: path.label)  # fmt: skip
def test_own_block_runs_forward_backward_and_tangent(
    make: Callable[[], limits.ResNet], path: limits.WeightPath
) -> None:
    net, sample = make(), path.sample(depth=8, n_paths=2, seed=0)
    h0 = (normal(2, WIDTH) / 3).expand(2, 2, WIDTH).clone().requires_grad_()
    out = net(h0, sample)
    cotangent = normal(2, 2, WIDTH, seed=5)
    (expected,) = torch.autograd.grad(out.terminal, h0, cotangent)
    detached = net(h0.detach(), sample)
    found = net.backward(detached, sample, cotangent, keep="terminal").values[0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    q0 = normal(2, 2, WIDTH, seed=6)
    _, tangent = net.tangent(h0.detach(), q0, sample)
    torch.testing.assert_close(
        (tangent.terminal * cotangent).sum(), (q0 * found).sum(), rtol=1e-9, atol=1e-12
    )


def test_own_block_has_limits_studies_and_both_solvers() -> None:
    path, net = limits.BrownianPath(WIDTH), gated()
    limit = limits.depth_limit(net, path)
    assert (limit.kind, limit.coupling, limit.order) == ("sde", "strong", 0.5)
    sample = path.sample(depth=32, n_paths=3, seed=0)
    h0 = normal(2, WIDTH)
    expected = net(h0, sample).terminal
    for solver in (limits.EulerMaruyama(), limits.TorchSDE()):
        found = solver.solve(limit, h0, sample).terminal
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    study = limits.convergence_study(net, path, depths=(4, 8, 16), n_paths=64, seed=0)
    assert 0.3 < study.order.value < 0.7
    law = limits.depth_limit(net, path, form="law")
    noise = law.sample(depth=8, n_paths=3, seed=0)
    assert limits.EulerMaruyama().solve(law, h0, noise).terminal.shape == (3, 2, WIDTH)


@pytest.mark.thorough
def test_own_block_can_be_corrected_at_the_order_of_theory() -> None:
    study = limits.convergence_study(
        limits.ResNet("identity", block=Gated(normal(WIDTH, WIDTH, seed=9)), corrected=True),
        limits.FractionalPath(WIDTH, hurst=0.7),
        depths=(8, 16, 32, 64),
        n_paths=128,
        seed=0,
        h0=normal(1, WIDTH),
    )
    # Over 8 seeds: 0.867 to 0.915.
    assert abs(study.order.value - 0.9) < 0.12


@pytest.mark.parametrize("missing", ["has_inner", "homogeneous", "field", "pushed", "pulled"])
def test_object_that_lacks_a_member_of_the_protocol_is_refused(missing: str) -> None:
    members = {"has_inner": False, "homogeneous": False}
    members |= {name: lambda self, *_: None for name in ("field", "pushed", "pulled")}
    del members[missing]
    incomplete = type("Incomplete", (), members)()
    with pytest.raises(limits.LimitsError, match=r"field, pushed and pulled, found Incomplete"):
        limits.ResNet("tanh", block=incomplete)


# --- averaged inner weights ---------------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_averaged_block_is_the_mean_over_inner_weights(activation, bias: float) -> None:
    s, h = as_activation(activation), normal(1, 3, WIDTH)
    found = AveragedInner(s, bias).field(h, None)
    torch.testing.assert_close(found, found[..., :1].expand_as(found))
    W = normal(40000, WIDTH, WIDTH, seed=2) / math.sqrt(WIDTH)
    values = s.value(torch.einsum("nij,aj->nai", W, h[0]) + bias)
    error = values.std(dim=0) / 200
    assert float(error.max()) < 0.02
    # The most over 8 seeds, 12 entries and 12 cases: 3.0 standard errors.
    assert bool(((values.mean(dim=0) - found[0]).abs() < 4.5 * error + 1e-12).all())


@pytest.mark.parametrize("bias", [0.0, 0.4])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "identity", softplus, torch.sin])
def test_derivatives_of_the_averaged_block_agree_with_autograd(activation, bias: float) -> None:
    check_derivatives(AveragedInner(as_activation(activation), bias), normal(2, 3, WIDTH), None)


def test_derivatives_of_the_averaged_relu_agree_with_autograd() -> None:
    check_derivatives(AveragedInner(as_activation("relu")), normal(2, 3, WIDTH), None)


def test_averaged_relu_has_its_closed_form_with_and_without_quadrature() -> None:
    h = normal(2, 3, WIDTH)
    found = AveragedInner(as_activation("relu")).field(h, None)
    expected = h.norm(dim=-1, keepdim=True) / math.sqrt(2 * math.pi * WIDTH)
    torch.testing.assert_close(found, expected.expand_as(h), rtol=1e-14, atol=0)


@pytest.mark.parametrize("bias", [0.3, -0.8])
def test_averaged_relu_with_a_bias_has_the_mean_of_a_rectified_normal(bias: float) -> None:
    # E relu(r Z + b) = b Phi(b / r) + r phi(b / r), and d/dr = phi(b / r).
    h = normal(2, 3, WIDTH)
    r = h.norm(dim=-1, keepdim=True) / math.sqrt(WIDTH)
    density = torch.exp(-((bias / r) ** 2) / 2) / math.sqrt(2 * math.pi)
    exact = bias * torch.special.ndtr(bias / r) + r * density
    block = AveragedInner(as_activation("relu"), bias)
    # Gauss-Hermite nodes that step over the kink are wrong by up to 0.008, their slope by 0.05.
    torch.testing.assert_close(block.field(h, None), exact.expand_as(h), rtol=0, atol=1e-6)


@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0, 10.0])
def test_average_is_accurate_for_hidden_states_of_any_size(radius: float) -> None:
    def integrand(z: float) -> float:
        return math.tanh(radius * z + 0.4) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    exact, _ = quad(integrand, -12, 12, points=[-0.4 / radius], limit=500, epsabs=1e-12)
    h = torch.full((1, 1, WIDTH), radius, dtype=torch.float64)
    found = AveragedInner(as_activation("tanh"), 0.4).field(h, None)
    torch.testing.assert_close(found, torch.full_like(h, exact), rtol=0, atol=1e-5)


def test_averaged_identity_is_the_bias() -> None:
    h = normal(2, 3, WIDTH)
    found = AveragedInner(as_activation("identity"), 0.7).field(h, None)
    torch.testing.assert_close(found, torch.full_like(h, 0.7), rtol=1e-12, atol=0)


def test_averaged_block_is_defined_at_the_origin() -> None:
    zero = torch.zeros(1, 1, WIDTH, dtype=torch.float64)
    for activation in ("relu", "tanh", softplus):
        block = AveragedInner(as_activation(activation))
        value = float(as_activation(activation).value(torch.zeros(1, dtype=torch.float64)))
        torch.testing.assert_close(block.field(zero, None), torch.full_like(zero, value))
        for derivative in (block.pushed, block.pulled):
            assert torch.equal(derivative(zero, normal(1, 1, WIDTH), None), zero)


def test_averaged_block_can_be_used_as_a_block_of_ones_own() -> None:
    net = limits.ResNet("identity", block=limits.AveragedInner(as_activation("tanh"), 0.5))
    path = limits.FractionalPath(WIDTH, hurst=0.7)
    sample = path.sample(depth=16, n_paths=2, seed=0)
    res2 = limits.ResNet("tanh", block=limits.Inner(as_activation("tanh"), bias=0.5))
    limit = limits.depth_limit(res2, path)
    h0 = normal(1, WIDTH)
    solution = limits.EulerMaruyama().solve(limit, h0, sample)
    torch.testing.assert_close(solution.terminal, net(h0, sample).terminal, rtol=1e-12, atol=0)
