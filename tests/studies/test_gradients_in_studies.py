"""Studies of inputs and parameters that require gradients: numbers, and no graph behind them."""

import pytest
import torch

import limits

PATH = limits.BrownianPath(4)
H0 = torch.ones(1, 4, dtype=torch.float64)
LADDER = {"depths": (4, 8, 16), "n_paths": 32, "seed": 0}


@pytest.mark.parametrize(
    "h0", [H0.clone().requires_grad_(), torch.nn.Parameter(H0.clone())], ids=["leaf", "parameter"]
)
@pytest.mark.parametrize("path", [PATH, limits.SmoothPath(4)], ids=["sde", "ode"])
def test_study_of_inputs_that_require_gradients_has_the_usual_numbers(h0, path):
    net = limits.ResNet("tanh")
    found = limits.convergence_study(net, path, h0=h0, **LADDER)
    usual = limits.convergence_study(net, path, h0=H0, **LADDER)
    assert found.order == usual.order


def test_study_of_a_trained_activation_runs():
    net = limits.ResNet(torch.nn.PReLU().double())
    assert limits.convergence_study(net, PATH, **LADDER).order.value > 0


def test_expectation_of_a_trained_functional_is_a_number():
    head = torch.nn.Linear(4, 1).double()
    found = limits.infinite_depth_expectation(
        limits.ResNet("tanh"), PATH, lambda h: head(h)[..., 0],
        h0=H0.clone().requires_grad_(), tolerance=0.1, seed=0,
    )  # fmt: skip
    assert isinstance(found.value, float)


def test_errors_of_trajectories_with_a_graph_are_numbers():
    h0 = H0.clone().requires_grad_()
    sample = PATH.sample(depth=8, n_paths=16, seed=0)
    net = limits.ResNet("tanh")
    a, b = net(h0, sample.at_depth(4)), net(h0, sample)
    assert limits.strong_error(a, b).value > 0
    assert limits.weak_error(a, b, functional=lambda h: h.norm(dim=-1)).n == 16
    limits.path_errors(a, b).sum().backward()
    assert h0.grad is not None
