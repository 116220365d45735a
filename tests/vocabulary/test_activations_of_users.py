"""Callables as activations: in place, constant, in any mode, on any number of entries."""

import copy
import pickle

import pytest
import torch

import limits
from limits.activations import Activation, as_activation

PATH = limits.BrownianPath(4)


@pytest.mark.parametrize("entries", [1, 60, 64, 68, 128])
@pytest.mark.parametrize(
    "act", [torch.nn.SiLU(inplace=True), torch.relu_, lambda x: x.mul_(2), lambda x: x.clamp_(0)]
)
def test_callable_that_acts_in_place_changes_only_its_own_copy(act, entries):
    x = torch.linspace(-2, 2, entries, dtype=torch.float64)
    before = x.clone()
    values = as_activation(act).value(x)
    assert torch.equal(x, before)
    assert torch.equal(values, act(before.clone()))


@pytest.mark.parametrize("n_paths", [16, 17])
def test_network_with_an_activation_in_place_is_the_usual_network(n_paths):
    h0 = -torch.ones(n_paths, 1, 4, dtype=torch.float64)
    sample = PATH.sample(depth=8, n_paths=n_paths, seed=0)
    found = limits.ResNet(torch.nn.SiLU(inplace=True))(h0, sample)
    assert bool((h0 == -1).all())
    assert torch.equal(found.terminal, limits.ResNet(torch.nn.SiLU())(h0, sample).terminal)


def test_trained_module_with_an_activation_in_place_is_the_usual_module():
    inputs = torch.ones(16, 4)
    made = [
        limits.training.ResNetModule(PATH, depth=8, seed=0, activation=torch.nn.SiLU(inplace=each))
        for each in (True, False)
    ]
    assert torch.equal(made[0](inputs), made[1](inputs))
    assert bool((inputs == 1).all())


def test_activation_made_by_hand_may_act_in_place():
    act = Activation("mine", torch.relu_, lambda x: x.gt_(0))
    x = torch.linspace(-1, 1, 64)
    act.value(x), act.derivative(x)
    assert torch.equal(x, torch.linspace(-1, 1, 64))


@pytest.mark.parametrize("act", [lambda x: (x > 0).to(x), torch.ones_like, torch.sign, torch.round])
def test_derivative_of_steps_and_constants_is_zero(act):
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    assert torch.equal(as_activation(act).derivative(x), torch.zeros_like(x))
    h = torch.ones(1, 4, dtype=torch.float64)
    sample = PATH.sample(depth=8, n_paths=2, seed=0)
    _, q = limits.ResNet(act).tangent(h, h, sample)
    assert torch.equal(q.terminal, h.expand(2, 1, 4))


def test_derivative_in_inference_mode_is_the_usual_one():
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    with torch.inference_mode():
        inside = torch.linspace(-2, 2, 5, dtype=torch.float64)
        assert torch.equal(as_activation(torch.sin).derivative(inside), x.cos())
    with torch.no_grad():
        assert torch.equal(as_activation(torch.sin).derivative(x), x.cos())


def test_complex_and_other_dtypes_of_an_activation_are_refused():
    with pytest.raises(limits.DTypeError, match=r"complex .*real and the imaginary part"):
        limits.ResNet(lambda x: torch.exp(1j * x))
    with pytest.raises(limits.DTypeError, match=r"turns torch\.float64 into torch\.float32"):
        limits.ResNet(lambda x: x.float())


@pytest.mark.parametrize("act", [torch.nn.functional.mish, torch.nn.functional.softplus])
def test_values_do_not_depend_on_layout_or_company(act):
    row = torch.linspace(-1, 2, 8, dtype=torch.float64)
    value = as_activation(act).value
    whole = value(row.expand(64, 8))
    for count in (1, 2, 7, 8, 16, 32):
        assert torch.equal(value(row.expand(count, 8)), whole[:count])
        assert torch.equal(value(row.repeat(count, 1)), whole[:count])


def test_activations_of_callables_travel():
    act = as_activation(torch.sin)
    x = torch.linspace(-2, 2, 5)
    for copied in (pickle.loads(pickle.dumps(act)), copy.deepcopy(act)):
        assert torch.equal(copied.derivative(x), act.derivative(x))
