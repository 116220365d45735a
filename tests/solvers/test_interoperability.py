"""Users of torchsde and torchdiffeq call those libraries themselves on our equations."""

import inspect

import pytest
import torch
import torchdiffeq
import torchsde
from torch import Tensor

import limits
from tests.helpers import normal_inputs, relative_difference

TANH = limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")


def unit_interval(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([0.0, 1.0], dtype=dtype)


# --- torchsde ----------------------------------------------------------------------------------


# 300: torchsde's clock takes 301 steps, and floor would miss 182 of the 300 layers.
@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1024, 1000, 300])
@pytest.mark.parametrize("inputs", [1, 3])
def test_sdeint_in_units_of_time_equals_our_loop(depth: int, inputs: int) -> None:
    path = limits.BrownianPath(6)
    sample = path.sample(depth=depth, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(inputs, 6)
    y = torchsde.sdeint(
        limit.as_torchsde(sample),
        limit.pack(h0, 16),
        unit_interval(),
        bm=sample.as_torchsde(),
        dt=1 / depth,
        method="euler",
    )
    ours = limits.EulerMaruyama().solve(limit, h0, sample).terminal
    assert float((limit.unpack(y)[-1] - ours).abs().max()) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1024, 1000])
def test_sdeint_in_units_of_layers_equals_the_network_at_every_layer(depth: int) -> None:
    path = limits.BrownianPath(6)
    sample = path.sample(depth=depth, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(2, 6)
    noise = sample.as_torchsde(unit="layer")
    y = torchsde.sdeint(
        limit.as_torchsde(sample, unit="layer"),
        limit.pack(h0, 16),
        torch.arange(depth + 1, dtype=torch.float64),
        bm=noise,
        dt=1.0,
        method="euler",
    )
    assert noise.steps == depth
    network = TANH(h0, sample, keep="all").values
    assert float((limit.unpack(y) - network).abs().max()) < 1e-12


@pytest.mark.parametrize("unit", ["time", "layer"])
def test_sdeint_takes_coarser_steps_than_the_draw(unit: str) -> None:
    path = limits.BrownianPath(4)
    sample = path.sample(depth=1000, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(2, 4)
    ours = limits.EulerMaruyama(steps=125).solve(limit, h0, sample).terminal
    # Eight drawn layers to a step, once by a longer step, once by a coarser reading of the draw.
    for reading, step in ((sample, 8), (sample.at_depth(125), 1)):
        end = float(reading.depth) if unit == "layer" else 1.0
        y = torchsde.sdeint(
            limit.as_torchsde(reading, unit=unit),
            limit.pack(h0, 16),
            torch.tensor([0.0, end], dtype=torch.float64),
            bm=reading.as_torchsde(unit=unit),
            dt=step * end / reading.depth,
            method="euler",
        )
        assert float((limit.unpack(y)[-1] - ours).abs().max()) < 1e-12


@pytest.mark.parametrize("unit", ["time", "layer"])
@pytest.mark.parametrize("inputs", [1, 3])
def test_sdeint_solves_a_law_form_on_its_own_noise(inputs: int, unit: str) -> None:
    limit = limits.depth_limit(RES3, limits.BrownianPath(5))
    noise = limit.sample(depth=300, n_paths=16, seed=0)
    h0 = normal_inputs(inputs, 5)
    end = 300.0 if unit == "layer" else 1.0
    y = torchsde.sdeint(
        limit.as_torchsde(noise, unit=unit),
        limit.pack(h0, 16),
        torch.tensor([0.0, end], dtype=torch.float64),
        bm=noise.as_torchsde(n_inputs=inputs, unit=unit),
        dt=end / 300,
        method="euler",
    )
    ours = limits.EulerMaruyama().solve(limit, h0, noise).terminal
    assert float((limit.unpack(y)[-1] - ours).abs().max()) < 1e-12


def test_the_equation_runs_on_torchsdes_own_brownian_motion() -> None:
    # Another path, the same law: E|H_1|^2 of the linear equation is (1 + 1/L)^L for Euler.
    path = limits.BrownianPath(4)
    net = limits.ResNet("identity")
    sample = path.sample(depth=8, n_paths=4000, seed=0)
    limit = limits.depth_limit(net, path)
    h0 = 0.5 * torch.ones(1, 4, dtype=torch.float64)
    theirs = torchsde.BrownianInterval(0.0, 1.0, size=(4000, 16), dtype=torch.float64, entropy=12)
    y = torchsde.sdeint(
        limit.as_torchsde(sample),
        limit.pack(h0, 4000),
        unit_interval(),
        bm=theirs,
        dt=1 / 8,
        method="euler",
    )
    squares = y[-1].square().sum(dim=1)
    error = float(squares.std()) / 4000**0.5
    # Over eight entropies the distance lay in [-1.5, 1.5] standard errors.
    assert abs(float(squares.mean()) - 1.125**8) < 4 * error


def test_our_brownian_motion_serves_an_equation_of_the_users() -> None:
    class Geometric:
        sde_type = "ito"
        noise_type = "diagonal"

        def f(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.zeros_like(y)

        def g(self, t: Tensor, y: Tensor) -> Tensor:
            return 0.5 * y

    sample = limits.BrownianPath(2).sample(depth=64, n_paths=16, seed=0)
    y0 = torch.ones(16, 4, dtype=torch.float64)
    y = torchsde.sdeint(
        Geometric(), y0, unit_interval(), bm=sample.as_torchsde(), dt=1 / 64, method="euler"
    )
    # Channels are the entries of sqrt(width) X, transposed within a matrix.
    steps = sample.increments.mT.flatten(2) * 2**0.5
    expected = (1 + 0.5 * steps).prod(dim=0)
    torch.testing.assert_close(y[-1], expected, rtol=1e-12, atol=0)


def test_the_brownian_motion_has_unit_variance_per_unit_of_its_time() -> None:
    sample = limits.BrownianPath(4).sample(depth=6, n_paths=2000, seed=0)
    by_time, by_layer = sample.as_torchsde(), sample.as_torchsde(unit="layer")
    half = by_time(0.0, 0.5)
    assert half.shape == by_time.shape == (2000, 16)
    # 32,000 entries: the relative standard error of a variance is sqrt(2 / 32,000) = 0.008. Over
    # eight seeds 2 * variance lay in [0.992, 1.014].
    assert float(half.var()) == pytest.approx(0.5, rel=0.032)
    torch.testing.assert_close(by_layer(0.0, 3.0), half * 6**0.5, rtol=1e-12, atol=1e-12)
    assert by_time.steps == by_layer.steps == 1


def test_increments_add_up_whatever_the_order_in_which_they_are_asked() -> None:
    noise = limits.BrownianPath(3).sample(depth=1000, n_paths=16, seed=0).as_torchsde()
    whole = noise(0.0, 1.0)
    late, early = noise(0.4, 1.0), noise(0.0, 0.4)
    torch.testing.assert_close(early + late, whole, rtol=0, atol=1e-12)
    assert torch.equal(noise(0.25, 0.25), torch.zeros_like(whole))


@pytest.mark.parametrize("depth", [300, 700, 1000])
def test_the_clock_of_torchsde_may_drift_but_the_layer_is_still_found(depth: int) -> None:
    # t = 1/300 + ... + 1/300 is what torchsde's clock looks like; floor would be one layer short.
    sample = limits.BrownianPath(3).sample(depth=depth, n_paths=16, seed=0)
    noise = sample.as_torchsde()
    increments = sample.increments.mT.flatten(2) * 3**0.5
    t = 0.0
    for layer in range(depth):
        found = noise(t, t + 1 / depth)
        torch.testing.assert_close(found, increments[layer], rtol=1e-12, atol=1e-14)
        t += 1 / depth


def test_pack_and_unpack_are_inverse() -> None:
    limit = limits.depth_limit(TANH, limits.BrownianPath(4))
    own = normal_inputs(16, 3, 4)
    assert torch.equal(limit.unpack(limit.pack(own, 16)), own)
    shared = normal_inputs(3, 4)
    packed = limit.pack(shared, 16)
    assert packed.shape == (16, 12)
    assert torch.equal(limit.unpack(packed), shared.expand(16, -1, -1))
    assert limit.unpack(packed[None]).shape == (1, 16, 3, 4)


def test_the_equations_declare_general_ito_noise() -> None:
    # "diagonal" would be accepted by torchsde and be silently wrong beyond Euler.
    for net, form in ((TANH, "path"), (TANH, "law"), (RES3, "law")):
        limit = limits.depth_limit(net, limits.BrownianPath(4), form=form)
        sde = limit.as_torchsde(limit.sample(depth=8, n_paths=16, seed=0))
        assert (sde.sde_type, sde.noise_type) == ("ito", "general")


def test_an_sde_limit_is_differentiated_by_torchsde() -> None:
    path = limits.BrownianPath(4)
    sample = path.sample(depth=32, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(2, 4).requires_grad_()
    y = torchsde.sdeint(
        limit.as_torchsde(sample),
        limit.pack(h0, 16),
        unit_interval(),
        bm=sample.as_torchsde(),
        dt=1 / 32,
        method="euler",
    )
    (theirs,) = torch.autograd.grad(y[-1].square().sum(), h0)
    out = TANH(h0.detach(), sample, keep="all")
    ours = TANH.backward(out, sample, 2 * out.terminal).values[0].sum(dim=0)
    assert relative_difference(theirs, ours) < 1e-10


# --- torchdiffeq -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [TANH, RES3], ids=["res-1", "res-3"])
def test_odeint_euler_on_the_whole_grid_is_the_network(net: limits.ResNet) -> None:
    path = limits.SmoothPath(5)
    sample = path.sample(depth=100, n_paths=16, seed=0)
    limit = limits.depth_limit(net, path)
    h0 = normal_inputs(2, 5)
    field = limit.as_torchdiffeq(sample)
    grid = torch.arange(101, dtype=torch.float64) / 100
    solution = torchdiffeq.odeint(field, h0.expand(16, -1, -1), grid, method="euler")
    network = net(h0, sample, keep="all").values
    assert float((solution - network).abs().max()) < 1e-12
    assert field.evaluations == 100


def test_odeint_dopri5_agrees_with_our_adapter() -> None:
    path = limits.SmoothPath(5, length_scale=0.3)
    sample = path.sample(depth=16, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(2, 5)
    solution = torchdiffeq.odeint(
        limit.as_torchdiffeq(sample),
        h0.expand(16, -1, -1),
        unit_interval(),
        method="dopri5",
        rtol=1e-9,
        atol=1e-11,
    )
    ours = limits.TorchDiffEq(rtol=1e-9, atol=1e-11).solve(limit, h0, sample).terminal
    assert relative_difference(solution[-1], ours) < 1e-7


@pytest.mark.parametrize("coefficient", [1.0, -0.5])
def test_the_field_is_the_weights_times_the_block(coefficient: float) -> None:
    path = limits.SmoothPath(5)
    sample = path.sample(depth=8, n_paths=20, seed=0)
    h = normal_inputs(20, 3, 5)
    net = limits.ResNet("tanh", coefficient=coefficient)
    field = limits.depth_limit(net, path).as_torchdiffeq(sample)
    inner = limits.depth_limit(
        limits.ResNet("relu", block="res-3", coefficient=coefficient), path
    ).as_torchdiffeq(sample)
    for t in (0.0, 0.3, torch.tensor(1.0, dtype=torch.float32)):
        v = sample.weights_at(float(t))
        w = sample.inner.weights_at(float(t))
        outer = coefficient * torch.einsum("pij,paj->pai", v, torch.tanh(h))
        torch.testing.assert_close(field(t, h), outer, rtol=0, atol=1e-12)
        relu = torch.einsum("pij,paj->pai", w, h).clamp_min(0)
        nested = coefficient * torch.einsum("pij,paj->pai", v, relu)
        torch.testing.assert_close(inner(t, h), nested, rtol=0, atol=1e-12)


def test_an_ode_limit_is_differentiated_by_torchdiffeq() -> None:
    path = limits.SmoothPath(4)
    sample = path.sample(depth=64, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(16, 2, 4).requires_grad_()
    grid = torch.arange(65, dtype=torch.float64) / 64
    y = torchdiffeq.odeint(limit.as_torchdiffeq(sample), h0, grid, method="euler")
    (theirs,) = torch.autograd.grad(y[-1].square().sum(), h0)
    out = TANH(h0.detach(), sample, keep="all")
    ours = TANH.backward(out, sample, 2 * out.terminal).values[0]
    assert relative_difference(theirs, ours) < 1e-10


def test_the_libraries_still_take_the_arguments_that_the_adapters_pass() -> None:
    assert {"bm", "dt", "method", "names"} <= set(inspect.signature(torchsde.sdeint).parameters)
    assert {"rtol", "atol", "method", "options"} <= set(
        inspect.signature(torchdiffeq.odeint).parameters
    )
