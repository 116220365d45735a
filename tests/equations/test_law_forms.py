"""Limits in law: isotropic noise, kernels of the inner weights, several inputs, torchsde."""

import math
from dataclasses import replace

import pytest
import torch
import torchsde
from torch import Tensor

import limits
from limits.closed_forms import log_norm_law
from limits.equations.isotropic import Isotropic, isotropic_of, root
from limits.equations.kernels import arc_cosine

RES3 = limits.ResNet("relu", block="res-3")
WIDTH = 6


def inputs(count: int, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def monte_carlo_kernel(net: limits.ResNet, h: Tensor, n_draws: int) -> tuple[Tensor, Tensor]:
    """Return the mean and standard error of <g(h^a), g(h^b)> over inner weights."""
    generator = torch.Generator().manual_seed(0)
    width = h.shape[-1]
    shape = (n_draws, width, width)
    W = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(width)
    block = net.vector_field
    g = block.activation.value(torch.einsum("nij,aj->nai", W, h) + block.bias)
    products = g @ g.mT
    return products.mean(dim=0), products.std(dim=0) / math.sqrt(n_draws)


# --- what the coefficient is --------------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, 0.4])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "identity", torch.sin])
def test_kernel_of_res2_by_quadrature_agrees_with_monte_carlo(activation, bias: float) -> None:
    net = limits.ResNet(activation, block="res-2")
    net = replace(net, block=limits.Inner(net.vector_field.activation, bias=bias))
    h = inputs(3)
    h = torch.cat([h, h[:1] / 2, -h[1:2]])  # parallel inputs too, where the matrix is singular
    equation = isotropic_of(net, limits.BrownianPath(WIDTH))
    mean, error = monte_carlo_kernel(net, h, 40000)
    found = equation.gram(h[None])[0]
    # The most over 8 seeds of the draws, 25 entries and 8 cases: 3.6 standard errors.
    assert bool(((found - mean).abs() < 4.5 * error + 1e-12).all())
    assert float((error / mean.abs().diagonal().mean()).max()) < 0.02


def test_kernel_of_relu_is_the_arc_cosine_kernel() -> None:
    h = inputs(4)
    equation = isotropic_of(RES3, limits.BrownianPath(WIDTH))
    mean, error = monte_carlo_kernel(RES3, h, 40000)
    found = equation.gram(h[None])[0]
    assert bool(((found - mean).abs() < 4 * error).all())
    torch.testing.assert_close(found, arc_cosine(h @ h.mT))
    torch.testing.assert_close(found.diagonal(), h.square().sum(dim=-1) / 2)


def test_kernel_of_a_linear_res2_is_the_gram_matrix() -> None:
    h = inputs(3)
    net = limits.ResNet("identity", block="res-2")
    found = isotropic_of(net, limits.BrownianPath(WIDTH)).gram(h[None])[0]
    torch.testing.assert_close(found, h @ h.mT, rtol=1e-12, atol=1e-13)


def test_kernel_of_res1_needs_no_average() -> None:
    h = inputs(3)
    found = isotropic_of(limits.ResNet("tanh"), limits.BrownianPath(WIDTH)).gram(h[None])[0]
    torch.testing.assert_close(found, torch.tanh(h) @ torch.tanh(h).mT)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_root_of_a_singular_matrix_is_triangular_and_exact(rank: int) -> None:
    columns = inputs(rank, 4).mT
    matrix = (columns @ columns.mT)[None]
    R = root(matrix)
    torch.testing.assert_close(R @ R.mT, matrix, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(R, R.tril())


def test_noise_of_the_first_inputs_does_not_depend_on_the_others() -> None:
    path, h0 = limits.BrownianPath(WIDTH), inputs(3)
    limit = limits.depth_limit(RES3, path)
    noise = limit.sample(depth=32, n_paths=5, seed=0)
    all_inputs = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    for count in (1, 2):
        fewer = limits.EulerMaruyama().solve(limit, h0[:count], noise).terminal
        torch.testing.assert_close(all_inputs[:, :count], fewer, rtol=1e-11, atol=1e-13)


# --- the law of Euler's scheme ------------------------------------------------------------------


@pytest.mark.parametrize("coefficient", [1.0, 0.6])
def test_second_moment_of_the_euler_scheme_is_exact(coefficient: float) -> None:
    path = limits.BrownianPath(WIDTH)
    limit = limits.depth_limit(replace(RES3, coefficient=coefficient), path)
    noise = limit.sample(depth=16, n_paths=20000, seed=0)
    h0 = inputs(1)
    for steps in (1, 4, 16):
        out = limits.EulerMaruyama(steps=steps).solve(limit, h0, noise).terminal
        ratio = out.square().sum(dim=(1, 2)) / h0.square().sum()
        exact = (1 + coefficient**2 / (2 * steps)) ** steps
        error = float(ratio.std()) / math.sqrt(20000)
        # The most over 8 seeds, steps and coefficients: 1.7 standard errors.
        assert error < 0.01
        assert abs(float(ratio.mean()) - exact) < 4 * error


def test_growth_of_one_step_is_exact_without_sampling() -> None:
    # |H + c |H| / sqrt(2 d) xi|^2 averaged over the 2 d unit vectors +-sqrt(d) e_i.
    equation = isotropic_of(RES3, limits.BrownianPath(WIDTH))
    h = inputs(1)
    units = torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)]).double() * math.sqrt(WIDTH)
    step = equation.diffuse(h.expand(2 * WIDTH, 1, WIDTH), units[:, None] / math.sqrt(16))
    growth = (h + step).square().sum(dim=-1).mean() / h.square().sum()
    assert float(growth) == pytest.approx(1 + 1 / 32, abs=1e-14)


@pytest.mark.parametrize(("block", "activation"), [("res-3", "relu"), ("res-1", "identity")])
def test_log_norm_has_the_lognormal_law(block: str, activation: str) -> None:
    path = limits.BrownianPath(WIDTH)
    limit = limits.depth_limit(limits.ResNet(activation, block=block), path, form="law")
    noise = limit.sample(depth=256, n_paths=4000, seed=0)
    h0 = inputs(1)
    solution = limits.EulerMaruyama().solve(limit, h0, noise)
    logs = 2 * (solution.log_norm[:, 0] - h0.norm().log())
    law = log_norm_law(block, WIDTH)
    # Over 8 seeds at most 2.0 standard errors, and a variance 0.97 to 1.02 times that of theory.
    assert abs(float(logs.mean()) - law.mean) < 4 * math.sqrt(law.variance / 4000)
    assert float(logs.var()) == pytest.approx(law.variance, rel=0.1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("net", "n_paths"), [(RES3, 6000), (limits.ResNet("tanh", block="res-2", coefficient=2), 500)]
)
def test_several_inputs_have_the_joint_law_of_the_network(net: limits.ResNet, n_paths: int) -> None:
    path, h0, depth = limits.BrownianPath(WIDTH), inputs(2), 16
    limit = limits.depth_limit(net, path)
    assert limit.form == "law"
    # At equal depth Euler's scheme has the very moments of the network, not only in the limit.
    out = net(h0, path.sample(depth=depth, n_paths=n_paths, seed=0)).terminal
    noise = limit.sample(depth=depth, n_paths=n_paths, seed=0)
    solution = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    for h in (out, solution):
        assert h.shape == (n_paths, 2, WIDTH)

    def products(h: Tensor) -> Tensor:
        return torch.stack([h[:, a].mul(h[:, b]).sum(dim=-1) for a, b in ((0, 0), (0, 1), (1, 1))])

    ours, theirs = products(solution), products(out)
    error = ((ours.var(dim=1) + theirs.var(dim=1)) / n_paths).sqrt()
    # The most over 8 seeds, both networks and three products: 2.4 standard errors.
    assert bool(((ours.mean(dim=1) - theirs.mean(dim=1)).abs() < 4 * error).all())
    # Independent noise for the two inputs would leave <h^a, h^b> where it started, which is
    # 27 to 31 standard errors away for relu, 9 to 11 for tanh.
    moved = theirs.mean(dim=1)[1] - (h0[0] * h0[1]).sum()
    assert float(moved) > 8 * float(error[1])


def test_parallel_inputs_stay_parallel() -> None:
    path, h0 = limits.BrownianPath(WIDTH), inputs(1)
    limit = limits.depth_limit(RES3, path)
    noise = limit.sample(depth=32, n_paths=4, seed=0)
    both = limits.EulerMaruyama().solve(limit, torch.cat([h0, 3 * h0]), noise).terminal
    torch.testing.assert_close(both[:, 1], 3 * both[:, 0], rtol=1e-9, atol=1e-11)


# --- coupling -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_strong_order_of_euler_on_the_noise_of_a_law_form_is_one_half() -> None:
    limit = limits.depth_limit(RES3, limits.BrownianPath(WIDTH))
    noise = limit.sample(depth=2048, n_paths=1000, seed=0)
    h0, steps = inputs(1), (8, 16, 32, 64, 128)
    fine = limits.EulerMaruyama().solve(limit, h0, noise)
    errors = [
        limits.path_errors(limits.EulerMaruyama(steps=n).solve(limit, h0, noise), fine)
        for n in steps
    ]
    order = limits.fit_order(torch.stack(errors), depths=steps, seed=0)
    # Over 8 seeds: 0.511 to 0.537, with intervals 0.025 to 0.041 wide.
    assert order.agrees_with(0.5, margin=0.03, widest=0.05)


def test_noise_composes_and_scales() -> None:
    limit = limits.depth_limit(RES3, limits.BrownianPath(WIDTH))
    noise = limit.sample(depth=64, n_paths=33, seed=4)
    fine = noise.increments(n_inputs=2)
    assert fine.shape == (64, 33, 2, WIDTH)
    coarse = noise.at_depth(16).increments(n_inputs=2)
    sums = fine.unflatten(0, (16, 4)).sum(dim=1)
    torch.testing.assert_close(coarse, sums, rtol=0, atol=1e-14)
    assert float(fine.square().mean()) == pytest.approx(1 / 64, rel=0.05)
    assert torch.equal(
        limit.sample(depth=64, n_paths=5, seed=4).increments(), noise.increments()[:, :5]
    )
    assert noise.tag == noise.at_depth(4).tag
    assert noise.tag != limit.sample(depth=64, n_paths=33, seed=5).tag


# --- torchsde on the same noise -----------------------------------------------------------------


def cases() -> list[tuple[limits.ResNet, limits.WeightPath, int]]:
    tanh2 = limits.ResNet("tanh", block="res-2", coefficient=0.8)
    brownian, rough = limits.BrownianPath(WIDTH), limits.FractionalPath(WIDTH, hurst=0.2)
    return [(RES3, brownian, 1), (RES3, brownian, 3), (tanh2, brownian, 2), (RES3, rough, 1)]


@pytest.mark.parametrize("depth", [16, 20])
@pytest.mark.parametrize(("net", "path", "count"), cases())
def test_torchsde_on_the_law_form_equals_our_scheme(
    net: limits.ResNet, path: limits.WeightPath, count: int, depth: int
) -> None:
    limit = limits.depth_limit(net, path)
    noise = limit.sample(depth=depth, n_paths=3, seed=0)
    h0 = inputs(count)
    ours = limits.EulerMaruyama().solve(limit, h0, noise, keep="all")
    theirs = limits.TorchSDE().solve(limit, h0, noise, keep="all")
    torch.testing.assert_close(ours.values, theirs.values, rtol=0, atol=1e-12)
    assert ours.tag == theirs.tag


def test_sdeint_on_the_law_form_with_a_drift_equals_our_scheme() -> None:
    path = limits.FractionalPath(WIDTH, hurst=0.2)
    limit = limits.depth_limit(RES3, path)
    noise = limit.sample(depth=128, n_paths=7, seed=0)
    h0 = inputs(1)
    y = torchsde.sdeint(
        limit.as_torchsde(noise),
        limit.pack(h0, 7),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        bm=noise.as_torchsde(),
        dt=1 / 128,
        method="euler",
    )
    ours = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    torch.testing.assert_close(limit.unpack(y)[-1], ours, rtol=0, atol=1e-12)
    equation = isotropic_of(RES3, path)
    assert isinstance(equation, Isotropic)
    torch.testing.assert_close(equation.drift(h0[None]), -h0[None] / (4 * math.pi * WIDTH))


@pytest.mark.parametrize("c", [1.0, 0.4])
def test_a_drift_has_the_square_of_the_coefficient_in_a_step_and_by_itself(c: float) -> None:
    # Without noise a step is the drift alone, whose rate a sample of paths hardly shows.
    equation = isotropic_of(replace(RES3, coefficient=c), limits.FractionalPath(WIDTH, hurst=0.2))
    h = inputs(1)[None]
    moved = equation.step(h, torch.zeros_like(h), 1 / 8) - h
    expected = -(c**2) / (4 * math.pi * WIDTH) * h
    torch.testing.assert_close(moved * 8, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(equation.drift(h), expected, rtol=1e-12, atol=0)


# --- refusals -----------------------------------------------------------------------------------


def test_weights_cannot_drive_a_limit_in_law() -> None:
    path = limits.BrownianPath(WIDTH)
    weights = path.sample(depth=8, n_paths=2, seed=0)
    limit = limits.depth_limit(RES3, path)
    for solver in (limits.EulerMaruyama(), limits.TorchSDE()):
        with pytest.raises(limits.CouplingError, match=r"limit\.sample\(depth="):
            solver.solve(limit, inputs(1), weights)
    with pytest.raises(limits.CouplingError, match=r"limit\.sample\(depth="):
        limit.as_torchsde(weights)


def test_noise_of_a_law_form_cannot_drive_a_path_form_or_a_network() -> None:
    path, net = limits.BrownianPath(WIDTH), limits.ResNet("tanh")
    noise = limits.depth_limit(net, path, form="law").sample(depth=8, n_paths=2, seed=0)
    with pytest.raises(limits.CouplingError, match="Pass the WeightSample"):
        limits.EulerMaruyama().solve(limits.depth_limit(net, path), inputs(1), noise)
    with pytest.raises(limits.ShapeError, match=r"path\.sample\("):
        net(inputs(1), noise)


def test_noise_of_another_limit_is_refused() -> None:
    rough = limits.depth_limit(RES3, limits.FractionalPath(WIDTH, hurst=0.2))
    noise = rough.sample(depth=8, n_paths=2, seed=0)
    limit = limits.depth_limit(RES3, limits.BrownianPath(WIDTH))
    with pytest.raises(limits.CouplingError, match="built for brownian weights"):
        limits.EulerMaruyama().solve(limit, inputs(1), noise)


def test_network_and_its_limit_in_law_are_not_compared_path_by_path() -> None:
    path = limits.BrownianPath(WIDTH)
    limit = limits.depth_limit(RES3, path)
    out = RES3(inputs(1), path.sample(depth=8, n_paths=4, seed=0))
    solution = limits.EulerMaruyama().solve(
        limit, inputs(1), limit.sample(depth=8, n_paths=4, seed=0)
    )
    with pytest.raises(limits.CouplingError, match="use weak_error"):
        limits.strong_error(out, solution)
    error = limits.weak_error(out, solution, functional=lambda h: h.norm(dim=-1))
    assert error.standard_error > 0


@pytest.mark.parametrize("hurst", [0.2, 0.35])
def test_joint_law_of_rough_weights_is_refused(hurst: float) -> None:
    path = limits.FractionalPath(WIDTH, hurst=hurst)
    limit = limits.depth_limit(RES3, path)
    noise = limit.sample(depth=8, n_paths=2, seed=0)
    with pytest.raises(limits.NoLimitError, match=r"of 2 inputs.*one input at a time"):
        limits.EulerMaruyama().solve(limit, inputs(2), noise)


NAMED = [("tanh", "res-1"), ("gelu", "res-1"), ("relu", "post-relu"), ("relu", "res-3")]


@pytest.mark.parametrize(("activation", "block"), NAMED)
@pytest.mark.parametrize("n_inputs", [1, 2])
def test_compiled_steps_are_those_of_the_recorded_graph(activation, block, n_inputs):
    net, path = limits.ResNet(activation, block=block), limits.BrownianPath(6)
    limit = limits.depth_limit(net, path, form="law")
    noise = limit.sample(depth=32, n_paths=20, seed=0)
    h0 = torch.linspace(-1, 2, 6 * n_inputs, dtype=torch.float64).view(n_inputs, 6).cos()
    compiled = limits.EulerMaruyama(steps=16).solve(limit, h0, noise, keep="all")
    # Derivatives are those of the loop that is not compiled.
    graph = limits.EulerMaruyama(steps=16).solve(limit, h0.requires_grad_(), noise, keep="all")
    assert graph.values.requires_grad
    torch.testing.assert_close(compiled.values, graph.values.detach(), rtol=1e-12, atol=1e-13)
    assert torch.equal(compiled.values[0], compiled.values[0, :1].expand(20, -1, -1))


def test_activation_with_parameters_is_solved_and_recorded() -> None:
    act = torch.nn.PReLU().double()
    limit = limits.depth_limit(limits.ResNet(act), limits.BrownianPath(3), form="law")
    h0 = torch.ones(2, 3, dtype=torch.float64)
    noise = limit.sample(depth=8, n_paths=4, seed=0)
    out = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    with torch.no_grad():
        assert torch.equal(limits.EulerMaruyama().solve(limit, h0, noise).terminal, out)
    out.sum().backward()
    assert act.weight.grad is not None
    assert float(act.weight.grad) != 0
