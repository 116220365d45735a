import math

import pytest
import torch
from scipy.special import erf

import limits
from limits.activations import ACTIVATIONS, as_activation

POINTS = torch.linspace(-4, 4, 81, dtype=torch.float64) + 0.013
DEFINITIONS = {
    "identity": lambda x: x,
    "relu": lambda x: x.clamp_min(0),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "gelu": lambda x: x * (1 + torch.from_numpy(erf(x.numpy() / math.sqrt(2)))) / 2,
}


def central_difference(function, x, step=1e-5):
    return (function(x + step) - function(x - step)) / (2 * step)


def test_every_name_has_a_definition_here():
    assert set(DEFINITIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_are_those_of_the_definition(name):
    torch.testing.assert_close(
        as_activation(name).value(POINTS), DEFINITIONS[name](POINTS), rtol=1e-14, atol=1e-15
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_are_those_of_the_definition(name):
    slope = central_difference(DEFINITIONS[name], POINTS)
    torch.testing.assert_close(as_activation(name).derivative(POINTS), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_agree_with_autograd(name):
    points = POINTS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(as_activation(name).value(points).sum(), points)
    torch.testing.assert_close(
        as_activation(name).derivative(POINTS), slope, rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_exactly_the_positively_homogeneous_ones_say_so(name):
    activation = as_activation(name)
    # A power of two rounds nothing, so homogeneity holds in every bit or not at all.
    scales = torch.equal(activation.value(8 * POINTS), 8 * activation.value(POINTS))
    assert activation.homogeneous is scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives_keep_shape_and_dtype(name, dtype):
    x = torch.ones(2, 3, dtype=dtype)
    for result in (as_activation(name).value(x), as_activation(name).derivative(x)):
        assert (result.shape, result.dtype) == (x.shape, dtype)


def test_callable_gets_its_derivative_by_autograd():
    softplus = as_activation(torch.nn.functional.softplus)
    assert (softplus.name, softplus.homogeneous) == ("softplus", False)
    torch.testing.assert_close(softplus.derivative(POINTS), torch.sigmoid(POINTS))


def test_derivative_of_a_callable_leaves_no_graph_behind():
    assert not as_activation(torch.sin).derivative(POINTS).requires_grad


def test_derivative_of_a_callable_can_be_differentiated_again():
    points = POINTS.clone().requires_grad_()
    (second,) = torch.autograd.grad(as_activation(torch.sin).derivative(points).sum(), points)
    torch.testing.assert_close(second, -torch.sin(POINTS))


def test_derivative_of_a_callable_works_without_gradients():
    with torch.no_grad():
        torch.testing.assert_close(as_activation(torch.sin).derivative(POINTS), torch.cos(POINTS))


def test_module_is_a_callable():
    assert as_activation(torch.nn.ELU()).name == "ELU"


def test_activation_passes_through():
    relu = as_activation("relu")
    assert as_activation(relu) is relu


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(limits.LimitsError, match=r"Use one of identity, relu, tanh, gelu"):
        as_activation("swish")


@pytest.mark.parametrize("activation", [3, None, ["relu"]])
def test_neither_name_nor_callable_says_what_to_use(activation):
    with pytest.raises(limits.LimitsError, match=r"Use one of .* or a callable"):
        as_activation(activation)


@pytest.mark.parametrize(
    "activation",
    [
        lambda x: torch.softmax(x, dim=-1),
        lambda x: x - x.mean(),
        lambda x: x.sum(dim=-1),
        lambda x: x.numpy(),
    ],
    ids=["softmax", "centred", "reduced", "not-a-tensor"],
)
def test_callable_that_mixes_entries_is_refused(activation):
    with pytest.raises(limits.LimitsError, match=r"Pass a (pointwise function|callable that maps)"):
        as_activation(activation)


def test_callable_that_fails_is_reported_with_a_remedy():
    with pytest.raises(limits.LimitsError, match="Pass a callable that maps a tensor"):
        as_activation(math.sqrt)
