import math

import pytest
import torch

import limits
from limits.scaling import critical_beta, regime, residual_scale


@pytest.mark.parametrize(
    ("index", "critical"), [(0.1, 0.5), (0.5, 0.5), (0.7, 0.7), (0.97, 0.97), (1.0, 1.0)]
)
def test_critical_exponent_is_the_index_but_at_least_one_half(index, critical):
    assert critical_beta(index) == critical


@pytest.mark.parametrize("depth", [1, 2, 10, 1000, 10_000])
@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0, 1.3, -0.5])
def test_residual_scale_is_a_power_of_depth(depth, beta):
    assert residual_scale(depth, beta) == pytest.approx(depth ** (-beta), rel=1e-15)
    assert residual_scale(depth, beta, 3.0) == pytest.approx(3 * depth ** (-beta), rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residual_scale_of_a_tensor_is_one_value_per_input_in_float64(dtype):
    betas = (0.25, 0.5, 1.0)  # exact in float32
    scale = residual_scale(1000, torch.tensor(betas, dtype=dtype), -2.0)
    assert scale.dtype == torch.float64
    expected = [residual_scale(1000, beta, -2.0) for beta in betas]
    assert scale.tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("index", [0.2, 0.5, 0.7, 1.0])
def test_regimes_are_separated_by_the_critical_exponent(index):
    critical = critical_beta(index)
    assert regime(critical, index) == "limit"
    assert regime(critical + 1e-6, index) == "identity"
    assert regime(critical - 1e-6, index) == "explosion"


def test_rounding_does_not_push_an_exponent_off_the_border():
    assert regime(0.1 + 0.2 + 0.2, 0.5) == "limit"
    assert regime(math.nextafter(0.5, 0), 0.5) == "limit"


@pytest.mark.parametrize("beta", [math.nan, math.inf, -math.inf])
def test_regime_of_a_non_finite_exponent_is_refused(beta):
    with pytest.raises(limits.LimitsError, match=r"Use for example 0\.5"):
        regime(beta, 0.5)


@pytest.mark.parametrize(
    ("path", "index"),
    [
        (limits.BrownianPath(3), 0.5),
        (limits.IIDPath(3), 0.5),
        (limits.SmoothPath(3), 1.0),
    ],
)
def test_paths_know_their_index_and_critical_exponent(path, index):
    assert (path.index, path.critical_beta) == (index, max(index, 0.5))
