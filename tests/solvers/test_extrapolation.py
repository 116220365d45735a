"""The extrapolated midpoint rule against exact solutions, dopri8, and itself in other company."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import limits
from tests.helpers import normal_inputs

F64 = torch.float64
KERNELS = (
    "rbf",
    "rbf-derivative",
    pytest.param("matern-5/2", marks=pytest.mark.thorough),
)
ODE = {
    "tanh": limits.ResNet("tanh", beta=1.0),
    "res-2": limits.ResNet("gelu", block="res-2", beta=1.0),
}


def solved(name, kernel, *, rtol=1e-10, keep="terminal", part=None, inputs=slice(None), width=4):
    path = limits.SmoothPath(width, length_scale=0.3, kernel=kernel)
    sample = path.sample(depth=8, n_paths=6, seed=0)
    sample = sample if part is None else sample.part(*part)
    solver = limits.MidpointExtrapolation(rtol=rtol, atol=1e-2 * rtol)
    limit = limits.depth_limit(ODE[name], path)
    return solver.solve(limit, normal_inputs(3, width)[inputs], sample, keep=keep)


def test_one_unit_without_activation_grows_by_the_exponential_of_an_integral():
    path = limits.SmoothPath(1, length_scale=0.2)
    sample = path.sample(depth=8, n_paths=4, seed=0)
    limit = limits.depth_limit(limits.ResNet("identity", beta=1.0), path)
    field, one = limit.as_torchdiffeq(sample), torch.ones(4, 1, 1, dtype=F64)
    integrals = [
        quad(lambda t, path=path: float(field(t, one)[path, 0, 0]), 0, 1, epsabs=1e-13)[0]
        for path in range(4)
    ]
    found = limits.MidpointExtrapolation().solve(limit, torch.ones(1, 1, dtype=F64), sample)
    np.testing.assert_allclose(found.terminal.flatten(), np.exp(integrals), rtol=1e-10)


@pytest.mark.parametrize("name", ODE)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_tolerance_bounds_the_error(name, kernel):
    exact = solved(name, kernel, rtol=1e-10).terminal
    largest = exact.abs().amax(dim=-1, keepdim=True)
    for rtol in (1e-4, 1e-7):
        off = (solved(name, kernel, rtol=rtol).terminal - exact).abs() / largest
        assert off.max() < rtol


@pytest.mark.parametrize("kernel", KERNELS)
def test_dopri8_gives_the_same(kernel):
    path = limits.SmoothPath(4, length_scale=0.3, kernel=kernel)
    sample = path.sample(depth=4, n_paths=2, seed=0)
    limit, h0 = limits.depth_limit(ODE["tanh"], path), normal_inputs(1, 4)
    known = limits.TorchDiffEq(method="dopri8", rtol=1e-10, atol=1e-12)
    expected = known.solve(limit, h0, sample, keep="all").values
    found = limits.MidpointExtrapolation().solve(limit, h0, sample, keep="all").values
    assert (found - expected).abs().max() < 1e-8


@pytest.mark.parametrize("name", ODE)
def test_all_states_end_in_the_last(name):
    states, last = (solved(name, "rbf", keep=keep) for keep in ("all", "terminal"))
    assert states.values.shape == (9, 6, 3, 4)
    assert torch.equal(states.values[0], last.values[0])
    assert (states.terminal - last.terminal).abs().max() < 1e-9


def test_no_solution_depends_on_the_paths_or_threads_beside_it():
    together = solved("tanh", "rbf", width=40).terminal
    torch.set_num_threads(2)
    assert torch.equal(solved("tanh", "rbf", width=40).terminal, together)
    alone = solved("tanh", "rbf", part=(3, 1), width=40).terminal
    assert (alone - together[3:4]).abs().max() < 1e-13
    one_input = solved("tanh", "rbf", inputs=slice(1, 2), width=40).terminal
    assert (one_input - together[:, 1:2]).abs().max() < 1e-13


@pytest.mark.thorough
def test_a_kink_is_not_taken_for_smooth():
    # Its solution has no expansion: columns agree long before the answer is right.
    path = limits.SmoothPath(2, length_scale=0.3)
    sample = path.sample(depth=4, n_paths=4, seed=1)
    limit, h0 = limits.depth_limit(limits.ResNet("relu", beta=1.0), path), normal_inputs(2, 2)
    exact = limits.TorchDiffEq(method="dopri8", rtol=1e-10, atol=1e-12).solve(limit, h0, sample)
    found = limits.MidpointExtrapolation(rtol=1e-5, atol=1e-7).solve(limit, h0, sample)
    assert (found.terminal - exact.terminal).abs().max() < 1e-5 * exact.terminal.abs().max()


@pytest.mark.thorough
def test_gradients_are_those_of_finite_differences():
    path = limits.SmoothPath(2, length_scale=0.5)
    sample = path.sample(depth=4, n_paths=1, seed=0)
    limit = limits.depth_limit(ODE["tanh"], path)

    def last(h0):
        return limits.MidpointExtrapolation().solve(limit, h0, sample).terminal

    h0 = normal_inputs(1, 2).requires_grad_()
    assert torch.autograd.gradcheck(last, h0, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("rtol", [0.0, -1e-8, float("nan"), float("inf"), "1e-8"])
def test_tolerances_are_positive_numbers(rtol):
    with pytest.raises(limits.SolverError, match=r"rtol=.*rtol=1e-8"):
        limits.MidpointExtrapolation(rtol=rtol)


def test_what_it_cannot_solve_is_refused():
    net, path = limits.ResNet("tanh"), limits.BrownianPath(4)
    sample = path.sample(depth=4, n_paths=2, seed=0)
    with pytest.raises(limits.SolverError, match=r"'sde'.*Use EulerMaruyama"):
        limits.MidpointExtrapolation().solve(
            limits.depth_limit(net, path), normal_inputs(1, 4), sample
        )


def test_single_precision_cannot_resolve_the_default():
    path = limits.SmoothPath(4)
    sample = path.sample(depth=4, n_paths=2, seed=0, dtype=torch.float32)
    limit, h0 = limits.depth_limit(ODE["tanh"], path), normal_inputs(1, 4, dtype=torch.float32)
    with pytest.raises(limits.SolverError, match=r"rtol=1e-10 .*float64"):
        limits.MidpointExtrapolation().solve(limit, h0, sample)
    found = limits.MidpointExtrapolation(rtol=1e-4, atol=1e-6).solve(limit, h0, sample)
    assert found.terminal.dtype == torch.float32
