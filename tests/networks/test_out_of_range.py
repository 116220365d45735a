"""Factors beyond what a float can hold are refused before anything is computed with them."""

import math

import pytest
import torch

import limits
from limits import closed_forms

ONE, SINGLE = torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2)
LAWS = (limits.BrownianPath(2), limits.FractionalPath(2, hurst=0.3), limits.SmoothPath(2))


@pytest.mark.parametrize("value", [1e200, -1e151, math.inf, math.nan])
def test_coefficient_whose_square_overflows_is_refused(value):
    with pytest.raises(limits.LimitsError, match=r"whose square a float can hold.*Use 1\.0"):
        limits.ResNet("tanh", coefficient=value)


@pytest.mark.parametrize("activation", ["tanh", torch.sin], ids=["compiled", "plain"])
@pytest.mark.parametrize("path", LAWS, ids=lambda path: path.label)
def test_factor_beyond_single_precision_is_refused_by_every_reader(path, activation):
    net = limits.ResNet(activation, coefficient=1e60)
    sample = path.sample(depth=4, n_paths=2, seed=0, dtype=torch.float32)
    limit = limits.depth_limit(net, path)
    readers = (
        lambda: net(SINGLE, sample),
        lambda: net.tangent(SINGLE, SINGLE, sample),
        lambda: limits.EulerMaruyama().solve(limit, SINGLE, sample),
        lambda: limits.convergence_study(
            net, path, depths=(2, 4, 8), n_paths=4, seed=0, h0=SINGLE, dtype=torch.float32
        ),
    )
    for read in readers:
        with pytest.raises(limits.LimitsError, match=r"torch\.float32 can hold.*float64"):
            read()


def test_factor_of_an_input_beyond_single_precision_is_refused():
    net = limits.ResNet("tanh", beta=torch.tensor([0.5, -100.0]))
    sample = limits.BrownianPath(2).sample(depth=4, n_paths=2, seed=0, dtype=torch.float32)
    with pytest.raises(limits.LimitsError, match=r"torch\.float32 can hold"):
        net(SINGLE.expand(2, -1), sample)


def test_correction_whose_square_overflows_is_refused():
    net = limits.ResNet("tanh", beta=-300.0, corrected=True)
    sample = limits.FractionalPath(2, hurst=0.7).sample(depth=8, n_paths=2, seed=0)
    with pytest.raises(limits.LimitsError, match="a layer multiplies by inf"):
        net(ONE, sample)


@pytest.mark.parametrize(
    ("path", "activation", "solver"),
    [
        (limits.BrownianPath(2), "identity", limits.TorchSDE()),
        (limits.SmoothPath(2), "identity", limits.TorchDiffEq("rk4")),
        (limits.SmoothPath(2), "identity", limits.MidpointExtrapolation()),
        (limits.BrownianPath(2), "identity", limits.EulerMaruyama()),
    ],
    ids=["torchsde", "torchdiffeq", "midpoints", "euler"],
)
def test_solution_that_overflows_is_reported_by_every_solver(path, activation, solver):
    limit = limits.depth_limit(limits.ResNet(activation, coefficient=1e140), path)
    with pytest.raises(limits.NonFiniteStateError, match=r"overflowed in 2 of 2 paths\. Use more"):
        solver.solve(limit, ONE, path.sample(depth=8, n_paths=2, seed=0))


def test_closed_form_that_overflows_is_reported():
    path = limits.BrownianPath(1)
    limit = limits.depth_limit(limits.ResNet("identity", coefficient=1e140), path)
    sample = path.sample(depth=8, n_paths=2, seed=0)
    found = limits.ClosedForm()
    # exp(c X - c^2 / 2) vanishes where it does not overflow.
    assert float(found.solve(limit, ONE[:, :1], sample).terminal.abs().max()) == 0
    young = limits.FractionalPath(1, hurst=0.7)
    limit = limits.depth_limit(limits.ResNet("identity", coefficient=1e140), young)
    with pytest.raises(limits.NonFiniteStateError, match="the closed form overflowed"):
        found.solve(limit, ONE[:, :1], young.sample(depth=8, n_paths=8, seed=0))


@pytest.mark.parametrize("form", ["linear_strong_error", "linear_weak_error", "relu_weak_error"])
def test_moment_beyond_a_float_is_refused_with_the_number(form):
    with pytest.raises(limits.LimitsError, match=r"a moment exp\(.*Use a smaller coefficient"):
        getattr(closed_forms, form)(10**6, coefficient=50.0)


def test_study_goes_on_where_only_its_closed_form_overflows():
    study = limits.convergence_study(
        limits.ResNet("identity", coefficient=30.0), limits.BrownianPath(1),
        depths=(4, 8, 16), n_paths=8, seed=0, reference=32,
    )  # fmt: skip
    assert math.isfinite(study.order.value)


def test_functional_whose_fourth_powers_overflow_is_refused():
    with pytest.raises(limits.NonFiniteStateError, match="fourth powers"):
        limits.infinite_depth_expectation(
            limits.ResNet("tanh"), limits.BrownianPath(2), lambda h: 1e100 * h.sum(dim=-1),
            h0=ONE, tolerance=1.0, seed=0,
        )  # fmt: skip
