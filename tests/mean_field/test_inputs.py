"""What mean-field functions take as data, and what they say otherwise."""

import numpy as np
import pytest
import torch

import limits
from limits.mean_field import (
    LargeWidthLimit,
    LazyLimit,
    ParticleTransport,
    split_error,
    training_phase,
)

X = torch.eye(3, dtype=torch.float64)
NET = limits.MeanFieldResNet(3, 8, depth=3)
FOR_PHASES = limits.MeanFieldResNet(3, 8, depth=3, convention="initialisation")
TRANSPORT = ParticleTransport(particles=64, nodes=3, replicates=2)

CALLS = {
    "large width": lambda x, y: LargeWidthLimit("tanh").descend(x, y, steps=1, seed=0),
    "lazy": lambda x, y: LazyLimit("tanh").descend(x, y, steps=1),
    "descend": lambda x, y: NET.descend(x, y, NET.sample(n_paths=2, seed=0), steps=1),
    "transport": lambda x, y: TRANSPORT.solve(limits.MeanODE.of(NET), x, y, steps=1, seed=0),
    "phase": lambda x, y: training_phase(FOR_PHASES, x, y, n_paths=2, seed=0),
}
UNUSABLE = {
    "array": (X.numpy(), "found ndarray"),
    "list": (X.tolist(), "found list"),
    "no inputs": (X[:0], r"\(0, 3\)"),
    "complex": (X * 1j, "complex"),
    "sparse": (X.to_sparse(), "sparse"),
    "meta": (X.to("meta"), "meta device"),
    "one axis": (X[0], r"\(3,\)"),
    "not finite": (X * float("nan"), "NaN or infinite entries"),
}


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("name", CALLS)
def test_unusable_data_are_refused_with_what_was_found(name, what):
    data, found = UNUSABLE[what]
    for pair in ((data, X), (X, data), (data, data)):
        with pytest.raises(limits.LimitsError, match=found):
            CALLS[name](*pair)


@pytest.mark.parametrize("name", ["lazy", "descend", "transport", "phase"])
def test_data_that_require_gradients_are_data(name):
    CALLS[name](X.clone().requires_grad_(), X.clone().requires_grad_())


def test_solution_does_not_follow_its_data():
    x, y = X.clone(), X.clone()
    solution = TRANSPORT.solve(limits.MeanODE.of(NET), x, y, steps=1, seed=0, keep_states=True)
    before = solution.gradients(0, torch.ones(1, dtype=torch.float64))
    x.zero_(), y.zero_()
    assert torch.equal(solution.gradients(0, torch.ones(1, dtype=torch.float64)), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_error_of_diverged_repetitions_is_refused(bad):
    with pytest.raises(limits.NonFiniteStateError, match="45 NaN or infinite entries"):
        split_error(torch.full((5, 3, 3), bad, dtype=torch.float64), X, seed=0)


def test_complex_errors_are_refused_and_graphs_left_out():
    values = torch.rand(5, 3, 3, dtype=torch.float64)
    with pytest.raises(limits.DTypeError, match="complex"):
        split_error(values * 1j, X, seed=0)
    with pytest.raises(limits.DTypeError, match="complex"):
        split_error(values.numpy().astype(np.complex128), X, seed=0)
    assert split_error(values.requires_grad_(), X, seed=0).n_paths == 5
