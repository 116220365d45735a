"""Antipersistent weights, H < 1/2: a drift for res-1, a law for res-3, a contraction below."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import limits
from limits.closed_forms import rough_drift, rough_relu_law, rough_relu_rates
from limits.paths import Increment

ACTIVATIONS = {"identity": "identity", "tanh": "tanh", "softplus": softplus}
WIDTH = 10


def inputs() -> Tensor:
    return torch.linspace(-1.5, 1.5, WIDTH, dtype=torch.float64)[None]


def drift_solution(net: limits.ResNet, path: limits.FractionalPath, h0: Tensor) -> Tensor:
    """Solve the drift equation of a network; its driver is ignored, so any draw will do."""
    sample = path.sample(depth=1, n_paths=1, seed=0)
    solver = limits.TorchDiffEq(method="dopri5", rtol=1e-11, atol=1e-13)
    return solver.solve(limits.depth_limit(net, path), h0, sample).terminal[0]


# --- res-1: a drift ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OfInputs:
    """One res-1 block an input, so that three activations read one expensive draw."""

    blocks: tuple[limits.Block, ...]

    has_inner = False
    homogeneous = False

    def field(self, h: Tensor, inner: object) -> Tensor:
        parts = zip(self.blocks, h.split(1, dim=1), strict=True)
        return torch.cat([block.field(part, None) for block, part in parts], dim=1)

    def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
        raise NotImplementedError

    def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
        raise NotImplementedError


# The largest coordinate was 0.8 to 2.6 standard errors away over 3 seeds and all six cases, the
# projection on h_0 at most 1.3; the drift is 8 to 69 standard errors.
@pytest.mark.thorough
@pytest.mark.parametrize("hurst", [0.1, 0.2])
def test_res1_follows_the_drift_at_finite_depth(hurst: float) -> None:
    depth, n_paths = 1024, 400
    path, h0 = limits.FractionalPath(WIDTH, hurst=hurst), inputs()
    factor = 2 * WIDTH * float(rough_drift(depth, hurst, WIDTH))
    assert factor == pytest.approx(1 - depth ** (2 * hurst - 1))
    sample = path.sample(depth=depth, n_paths=n_paths, seed=0)
    nets = [limits.ResNet(activation) for activation in ACTIVATIONS.values()]
    all_at_once = OfInputs(tuple(net.vector_field for net in nets))
    out = limits.ResNet("identity", block=all_at_once)(h0.expand(3, -1), sample).terminal
    for i, net in enumerate(nets):
        slowed = replace(net, coefficient=math.sqrt(factor))
        expected = drift_solution(slowed, path, h0)[0]
        gap = out[:, i] - expected
        standard_error = gap.std(dim=0) / math.sqrt(n_paths)
        assert bool((gap.mean(dim=0).abs() < 4 * standard_error).all())
        # Along the drift; which is far more than four standard errors, so that this can fail.
        drift = expected - h0[0]
        along = gap @ drift / drift.norm()
        error = float(along.std()) / math.sqrt(n_paths)
        assert abs(float(along.mean())) < 4 * error
        assert float(drift.norm()) > 8 * error


@pytest.mark.parametrize("hurst", [0.05, 0.2, 0.45])
def test_drift_rate_is_minus_the_sum_of_correlations(hurst: float) -> None:
    for depth in (2, 10, 333):
        r = limits.closed_forms.fractional_autocovariance(np.arange(depth), hurst)
        # E (sum over j < k of V_k V_j) / L = sum_{j < k} r(k - j) / (L d), at order alpha^2.
        pairs = float(((depth - np.arange(1, depth)) * r[1:]).sum())
        assert float(rough_drift(depth, hurst, 7)) == pytest.approx(-pairs / (depth * 7), rel=1e-9)


def test_drift_of_a_linear_network_is_an_exponential() -> None:
    path, h0 = limits.FractionalPath(WIDTH, hurst=0.2), inputs()
    for coefficient in (1.0, 0.6):
        net = limits.ResNet("identity", coefficient=coefficient)
        expected = h0 * math.exp(-(coefficient**2) / (2 * WIDTH))
        torch.testing.assert_close(drift_solution(net, path, h0), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_drift_is_minus_the_gradient_of_half_the_squared_field(activation: str) -> None:
    path, h = limits.FractionalPath(WIDTH, hurst=0.3), inputs()[None].requires_grad_()
    net = limits.ResNet(ACTIVATIONS[activation], coefficient=1.3)
    field = net.vector_field.field(h, None)
    (gradient,) = torch.autograd.grad(field.square().sum() / 2, h)
    sample = path.sample(depth=2, n_paths=1, seed=0)
    drift = limits.depth_limit(net, path).as_torchdiffeq(sample)
    expected = -(1.3**2) / (2 * WIDTH) * gradient
    torch.testing.assert_close(drift(0.3, h.detach()), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_adaptive_solvers_keep_their_tolerance_at_the_end_of_the_interval(method: str) -> None:
    # torchdiffeq steps past t = 1 and interpolates, unless it is told to stop there.
    path, h0 = limits.FractionalPath(2, hurst=0.2), torch.ones(1, 2, dtype=torch.float64)
    sample = path.sample(depth=1, n_paths=1, seed=0)
    limit = limits.depth_limit(limits.ResNet("identity", coefficient=2.0), path)
    solver = limits.TorchDiffEq(method=method, rtol=1e-10, atol=1e-12)
    solution = solver.solve(limit, h0, sample).terminal[0]
    torch.testing.assert_close(solution, h0 * math.exp(-1), rtol=2e-9, atol=0)


def test_drift_of_a_general_field_uses_the_transposed_jacobian() -> None:
    A = torch.tensor([[1.0, 2.0], [0.0, 0.5]], dtype=torch.float64)

    class Shear:
        has_inner = False
        homogeneous = True

        def field(self, h: Tensor, inner: object) -> Tensor:
            return h @ A.mT

        def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
            return q @ A.mT

        def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
            return p @ A

    path = limits.FractionalPath(2, hurst=0.2)
    h0 = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    solution = drift_solution(limits.ResNet("identity", block=Shear()), path, h0)
    expected = h0 @ torch.linalg.matrix_exp(-A.mT @ A / 4)
    torch.testing.assert_close(solution, expected, rtol=1e-9, atol=0)


def test_euler_scheme_of_the_drift_converges_to_the_ode_at_order_one() -> None:
    path, net, h0 = limits.FractionalPath(WIDTH, hurst=0.2), limits.ResNet("tanh"), inputs()
    limit = limits.depth_limit(net, path)
    exact = drift_solution(net, path, h0)
    errors = []
    for steps in (8, 16, 32):
        sample = path.sample(depth=32, n_paths=2, seed=0)
        solution = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample)
        assert torch.equal(solution.terminal[0], solution.terminal[1])
        errors.append(float((solution.terminal[0] - exact).norm()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.01)


# Orders over 4 seeds: 0.439 to 0.446 at H = 0.1, 0.342 to 0.356 at H = 0.2, where the drift that
# is missing at finite depth, L^(2H - 1), still helps.
@pytest.mark.thorough
@pytest.mark.parametrize("hurst", [0.1, 0.2])
def test_res1_approaches_its_drift_at_order_one_half_minus_h(hurst: float) -> None:
    study = limits.convergence_study(
        limits.ResNet("identity"),
        limits.FractionalPath(1, hurst=hurst),
        depths=(32, 64, 128, 256, 512),
        n_paths=1000,
        seed=0,
        h0=torch.ones(1, 1, dtype=torch.float64),
    )
    assert study.expected_order == pytest.approx(0.5 - hurst)
    assert abs(study.order.value - (0.5 - hurst)) < 0.08


# --- res-3: a law -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signed:
    """+-relu(W h), the sign that of the input: what V and -V do to it in one pass."""

    signs: Tensor

    has_inner = True
    homogeneous = True

    def field(self, h: Tensor, inner: Increment) -> Tensor:
        return self.signs * torch.relu(inner.mv(h))

    def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
        raise NotImplementedError

    def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
        raise NotImplementedError


def mean_logs(hurst: float, *, n_paths: int, depth: int, seed: int) -> Tensor:
    """Return log(|h_L|^2 / |h_0|^2) of res-3 at width 16, averaged within every path.

    The inputs +-e_i share the weights of a path but hardly correlate, and V and -V have
    the same law: the mean over all 64 has an eighth of the standard deviation of one.
    """
    eye = torch.eye(16, dtype=torch.float32)
    block = Signed(torch.cat([torch.ones(32, 1), -torch.ones(32, 1)]))
    sample = limits.FractionalPath(16, hurst=hurst).sample(
        depth=depth, n_paths=n_paths, seed=seed, dtype=torch.float32
    )
    out = limits.ResNet("relu", block=block)(torch.cat([eye, -eye, eye, -eye]), sample)
    return 2 * out.log_norm.mean(dim=1).double()


# Over 8 seeds of 48 paths: 0.350 to 0.372 (at depth 1000 0.357), 0.333 to 0.343 (0.337), 0.321 to
# 0.328 (0.323). Without the depth the last would be 0.304.
@pytest.mark.thorough
@pytest.mark.parametrize("hurst", [0.1, 0.2, 0.35])
def test_res3_has_the_log_mean_of_theory(hurst: float) -> None:
    logs = mean_logs(hurst, n_paths=48, depth=1000, seed=1)
    assert float(logs.std()) / math.sqrt(len(logs)) < 0.007
    assert abs(float(logs.mean()) - rough_relu_law(hurst, 16, depth=1000).mean) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.1, 0.2, 0.35])
def test_res3_has_the_log_mean_of_theory_with_eight_times_the_paths(hurst: float) -> None:
    logs = mean_logs(hurst, n_paths=384, depth=1000, seed=2)
    error = float(logs.std()) / math.sqrt(len(logs))
    assert error < 0.003
    assert abs(float(logs.mean()) - rough_relu_law(hurst, 16, depth=1000).mean) < 4 * error + 0.002


def narrow(hurst: float, width: int, *, n_paths: int, depth: int, seed: int) -> Tensor:
    """Return log(|h_L|^2 / |h_0|^2) of res-3 for the inputs +-e_i, ``(path, input)``."""
    sample = limits.FractionalPath(width, hurst=hurst).sample(
        depth=depth, n_paths=n_paths, seed=seed, dtype=torch.float32
    )
    eye = torch.eye(width, dtype=torch.float32)
    net = limits.ResNet("relu", block="res-3")
    return 2 * net(torch.cat([eye, -eye]), sample).log_norm.double()


# Over 8 seeds, means less the law's and variances over the law's: -0.005 to 0.027 and 0.99 to 1.02
# (d = 2, H = 0.4), 0.011 to 0.022 and 0.95 to 1.01 (4, 0.1), -0.007 to 0.007 and 0.97 to 1.04
# (4, 0.4). The law of infinite depth would lack 0.03 to 0.05 at (4, 0.4).
@pytest.mark.thorough
@pytest.mark.parametrize(("width", "hurst"), [(2, 0.4), (4, 0.1), (4, 0.4)])
def test_the_law_of_a_depth_holds_at_small_widths_and_near_one_half(
    width: int, hurst: float
) -> None:
    logs = narrow(hurst, width, n_paths=4000, depth=256, seed=1)
    law, limit = rough_relu_law(hurst, width, depth=256), rough_relu_law(hurst, width)
    means = logs.mean(dim=1)
    error = float(means.std()) / math.sqrt(len(means))
    gap = abs(float(means.mean()) - law.mean)
    assert gap < 4 * error + 0.3 / width**2
    # The relative standard error of a variance is sqrt(2 / n) = 0.022.
    assert float(logs[:, 0].var()) == pytest.approx(law.variance, rel=0.06 + 0.3 / width**2)
    if hurst >= 0.4 and width >= 4:
        # The law of infinite depth would not do.
        assert abs(float(means.mean()) - limit.mean) > gap + 4 * error


def test_the_law_of_great_depth_is_that_of_infinite_depth() -> None:
    law, limit = rough_relu_law(0.1, 8, depth=10**5), rough_relu_law(0.1, 8)
    assert (law.mean, law.variance) == pytest.approx((limit.mean, limit.variance), abs=1e-4)
    # At depth 1 the layer is independent of all others: c = 1/2 and no drift.
    alone = rough_relu_law(0.4, 8, depth=1)
    assert (alone.mean, alone.variance) == pytest.approx((0.375, 0.25))
    with pytest.raises(limits.LimitsError, match="Use width=2 or more"):
        rough_relu_law(0.4, 1)


def test_res3_is_no_longer_what_independent_weights_give() -> None:
    # log mean 1/2 - 1/d = 0.4375 for i.i.d. weights: 0.08 to 0.13 above.
    independent = limits.closed_forms.log_norm_law("res-3", 16).mean
    for hurst in (0.1, 0.2, 0.35):
        assert rough_relu_law(hurst, 16).mean < independent - 0.07


# Means over 4 seeds: 0.352 to 0.357 at H = 0.1 (theory 0.357), 0.301 to 0.307 at H = 0.35 (0.304),
# standard error 0.0036.
@pytest.mark.parametrize("hurst", [0.1, 0.2, 0.35])
def test_law_form_of_res3_has_the_law_of_theory(hurst: float) -> None:
    path, net = limits.FractionalPath(16, hurst=hurst), limits.ResNet("relu", block="res-3")
    limit = limits.depth_limit(net, path)
    noise = limit.sample(depth=128, n_paths=8000, seed=0)
    h0 = torch.ones(1, 16, dtype=torch.float64)
    logs = 2 * (limits.EulerMaruyama().solve(limit, h0, noise).log_norm[:, 0] - math.log(4))
    law = rough_relu_law(hurst, 16)
    assert abs(float(logs.mean()) - law.mean) < 4 * math.sqrt(law.variance / 8000)
    # The relative standard error of a variance is sqrt(2 / n) = 0.016.
    assert float(logs.var()) == pytest.approx(law.variance, rel=0.06)


def test_law_form_of_res3_scales_with_the_coefficient() -> None:
    hurst, width, steps, c = 0.2, 16, 64, 0.5
    path = limits.FractionalPath(width, hurst=hurst)
    limit = limits.depth_limit(limits.ResNet("relu", block="res-3", coefficient=c), path)
    noise = limit.sample(depth=steps, n_paths=8000, seed=0)
    h0 = torch.ones(1, width, dtype=torch.float64)
    squares = limits.EulerMaruyama().solve(limit, h0, noise).terminal.square().sum(dim=-1) / width
    strength, decay = rough_relu_rates(hurst, width)
    # Exact for Euler's scheme: a step multiplies E|H|^2 by (1 - c^2 a / n)^2 + c^2 c_H / n.
    exact = ((1 - c**2 * decay / steps) ** 2 + c**2 * strength / steps) ** steps
    error = float(squares.std()) / math.sqrt(8000)
    assert error < 0.005
    assert abs(float(squares.mean()) - exact) < 4 * error


def test_rates_agree_with_a_direct_sum() -> None:
    for hurst in (0.1, 0.35):
        r = limits.closed_forms.fractional_autocovariance(np.arange(1, 20000), hurst)
        # k(x) by its integral over the quadrant: E relu(Z) relu(xZ + sqrt(1 - x^2) Z').
        nodes, weights = np.polynomial.legendre.leggauss(200)
        angles = (nodes + 1) * np.pi

        def kernel(x: float, angles=angles, weights=weights) -> float:
            first = np.maximum(np.cos(angles), 0)
            second = np.maximum(x * np.cos(angles) + math.sqrt(1 - x * x) * np.sin(angles), 0)
            return float((weights * first * second).sum())  # E R^2 = 2, over 2 pi, times pi

        series = sum(rj * (kernel(rj) - 1 / (2 * np.pi)) for rj in r[:500])
        strength, _ = rough_relu_rates(hurst, 16)
        assert strength == pytest.approx(0.5 - 1 / (2 * np.pi) + 2 * series, abs=2e-4)


# --- below the critical exponent ----------------------------------------------------------------


@pytest.mark.thorough
def test_res1_contracts_below_the_critical_exponent() -> None:
    # log|h_L| ~ -L^(1 - 2 beta) / (2 d), with the factor 1 - L^(2H - 1) of finite depth.
    hurst, beta, width, depth = 0.1, 0.3, 10, 1024
    sample = limits.FractionalPath(width, hurst=hurst).sample(depth=depth, n_paths=64, seed=0)
    out = limits.ResNet("identity", beta=beta)(inputs(), sample)
    logs = out.log_norm[:, 0] - inputs().norm().log()
    expected = -(depth ** (1 - 2 * beta)) / (2 * width) * (1 - depth ** (2 * hurst - 1))
    # Theory -0.797, to first order in alpha^2 = 0.016 and 1 / d; over 8 seeds -0.703 to -0.728.
    assert float(logs.mean()) == pytest.approx(expected, rel=0.15)


def test_res3_explodes_below_the_critical_exponent() -> None:
    sample = limits.FractionalPath(10, hurst=0.2).sample(depth=512, n_paths=16, seed=0)
    out = limits.ResNet("relu", block="res-3", beta=0.3)(inputs(), sample)
    logs = out.log_norm[:, 0] - inputs().norm().log()
    assert float(logs.mean()) > 1


@pytest.mark.thorough
@pytest.mark.parametrize("block", ["res-1", "res-3"])
def test_above_the_critical_exponent_the_network_is_the_identity(block: str) -> None:
    path = limits.FractionalPath(10, hurst=0.2)
    net = limits.ResNet("relu", block=block, beta=1.0)
    h0 = inputs()
    gaps = [
        float((net(h0, path.sample(depth=depth, n_paths=32, seed=0)).terminal - h0).norm())
        for depth in (32, 512)
    ]
    assert gaps[1] < gaps[0] / 3
    assert limits.depth_limit(net, path).kind == "identity"
