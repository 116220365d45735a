"""The phase of training that is measured on networks of finite size."""

import math

import pytest
import torch

from limits.exceptions import LimitsError
from limits.mean_field import MeanFieldResNet, phase_of, training_phase
from tests.helpers import normal_inputs

X, Y = normal_inputs(6, 6), normal_inputs(6, 6, seed=1)


def network(alpha, *, hidden_width=64, depth=32, **settings):
    settings = {"convention": "initialisation", **settings}
    return MeanFieldResNet(6, hidden_width, depth=depth, alpha=alpha, **settings)


@pytest.mark.parametrize(
    ("alpha", "phase", "regime"),
    [
        (0.01, "vanishing", "identity"),
        (1.0, "complete", "limit"),
        (7.0, "lazy", "limit"),
        (30.0, "random", "limit"),
        (300.0, "explosive", "explosion"),
    ],
)
def test_every_phase_is_recognised(alpha, phase, regime):
    found = training_phase(network(alpha), X, Y, n_paths=4, seed=0)
    assert (found.phase, found.regime) == (phase, regime)


def test_the_numbers_follow_the_residual_scale():
    small, large = (training_phase(network(a), X, Y, n_paths=8, seed=0) for a in (0.02, 0.2))
    assert large.feature_movement.value / small.feature_movement.value == pytest.approx(10, rel=0.1)
    assert small.weight_movement.value / large.weight_movement.value == pytest.approx(10, rel=0.1)
    assert large.output_fluctuation.value == pytest.approx(
        10 * small.output_fluctuation.value, rel=1e-3
    )
    # alpha sqrt(D/(LM)) sqrt(E tanh^2): E tanh(p)^2 of these inputs is about 0.35.
    assert large.output_fluctuation.value == pytest.approx(0.2 * (6 / 2048) ** 0.5 * 0.6, rel=0.2)


def test_movements_are_those_of_one_step_by_hand():
    net = network(0.5, hidden_width=8, depth=4)
    weights = net.sample(n_paths=2, seed=3)
    after = net.descend(X, Y, weights, steps=1).weights
    moved = torch.einsum("nd,lpdm->plnm", X, after.u - weights.u).square().sum((1, 2, 3))
    size = torch.einsum("nd,lpdm->plnm", X, weights.u).square().sum((1, 2, 3))
    found = training_phase(net, X, Y, n_paths=2, seed=3)
    assert found.feature_movement.value == pytest.approx(float((moved / size).mean().sqrt()))


def test_the_fluctuation_by_hand_is_that_of_independent_paths():
    # Two paths, where dividing by the paths themselves would lose a half of the variance.
    net = network(0.5, hidden_width=8, depth=4)
    out = net(X, net.sample(n_paths=2, seed=3))
    moved = out.terminal - X
    expected = (moved.var(dim=0).mean() / X.square().mean()).sqrt()
    found = training_phase(net, X, Y, n_paths=2, seed=3).output_fluctuation
    assert found.value == pytest.approx(float(expected), rel=1e-12)


def test_frozen_embeddings_do_not_change_the_phase():
    net = network(1.0, features=6, outputs=6)
    assert training_phase(net, X, Y, n_paths=4, seed=0).phase == "complete"


def test_phases_of_numbers():
    assert phase_of(0.2, 0.2, 0.29) == "complete"
    assert phase_of(0.2, 0.2, 0.31) == "random"
    assert phase_of(0.2, 0.2, 3.1) == phase_of(0.2, 0.2, math.inf) == "explosive"
    assert phase_of(math.nan, 0.2, 0.1) == "explosive"
    assert phase_of(0.01, 0.02, 0.1) == "lazy"
    assert phase_of(0.01, 2.0, 0.1) == "vanishing"


def test_one_path_is_refused_with_the_remedy():
    with pytest.raises(LimitsError, match="Use 8"):
        training_phase(network(1.0), X, Y, n_paths=1, seed=0)


def test_rates_of_the_other_convention_are_refused_with_the_remedy():
    with pytest.raises(LimitsError, match=r'alpha=0.01, convention="initialisation"'):
        training_phase(network(0.01, convention="residual"), X, Y, n_paths=4, seed=0)
    asked = network(0.01, convention="initialisation")
    assert training_phase(asked, X, Y, n_paths=4, seed=0).phase == "vanishing"
