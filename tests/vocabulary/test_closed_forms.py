import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import limits
from limits import closed_forms
from tests.problems import linear_log_moments, relu_log_moments

DEPTHS = (1, 2, 7, 64, 1000)


@pytest.mark.parametrize("depth", DEPTHS)
def test_second_moments_at_the_critical_exponent_agree_with_rational_arithmetic(depth):
    linear = float((1 + Fraction(1, depth)) ** depth)
    relu = float((1 + Fraction(1, 2 * depth)) ** depth)
    assert float(closed_forms.linear_second_moment(depth)) == pytest.approx(linear, rel=1e-13)
    assert float(closed_forms.relu_second_moment(depth)) == pytest.approx(relu, rel=1e-13)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("scale", [1.0, 0.3, 1e-3, 0.0, -0.3])
def test_second_moments_at_any_scale_are_compound_growth(depth, scale):
    linear = float(closed_forms.linear_second_moment(depth, scale))
    relu = float(closed_forms.relu_second_moment(depth, scale))
    assert linear == pytest.approx((1 + scale**2) ** depth, rel=1e-12)
    assert relu == pytest.approx((1 + scale**2 / 2) ** depth, rel=1e-12)


def test_second_moments_keep_their_digits_where_a_power_would_lose_them():
    # (1 + 1e-18)^(1e9) is exp(1e-9); 1 + 1e-18 itself rounds to 1.
    found = float(closed_forms.linear_second_moment(1e9, 1e-9)) - 1
    assert found == pytest.approx(1e-9, rel=1e-6)


def test_second_moments_take_arrays():
    depths = np.array([4, 16, 64])
    found = closed_forms.linear_second_moment(depths)
    assert found == pytest.approx([float(closed_forms.linear_second_moment(d)) for d in depths])
    assert closed_forms.relu_second_moment(depths, 1 / depths).shape == (3,)


def test_second_moments_tend_to_exponentials():
    assert float(closed_forms.linear_second_moment(10**7)) == pytest.approx(math.e, rel=1e-6)
    assert float(closed_forms.relu_second_moment(10**7)) == pytest.approx(math.exp(0.5), rel=1e-6)


@pytest.mark.parametrize("coefficient", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("depth", DEPTHS)
def test_strong_error_of_the_linear_network_is_that_of_its_moments(depth, coefficient):
    c2 = Fraction(coefficient) ** 2
    expected = math.exp(c2) - float((1 + c2 / depth) ** depth)
    found = float(closed_forms.linear_strong_error(depth, coefficient=coefficient)) ** 2
    assert found == pytest.approx(expected, rel=1e-10)


def test_strong_error_has_order_one_half_and_the_stated_constant():
    assert float(closed_forms.linear_strong_error(10**5)) == pytest.approx(
        math.sqrt(math.e / (2 * 10**5)), rel=1e-4
    )


@pytest.mark.parametrize("coefficient", [1.0, 0.5])
def test_nested_strong_errors_add_in_squares(coefficient):
    # E|h_4 - h_64|^2 = E|h_4 - h_16|^2 + E|h_16 - h_64|^2: martingale differences.
    def error(depth, finer):
        nested = closed_forms.linear_nested_strong_error(depth, finer, coefficient=coefficient)
        return float(nested) ** 2

    assert error(4, 64) == pytest.approx(error(4, 16) + error(16, 64), rel=1e-12)


def test_nested_strong_errors_are_those_of_the_theory_file():
    assert float(closed_forms.linear_nested_strong_error(4, 16)) ** 2 == pytest.approx(
        0.1965, abs=5e-5
    )
    assert float(closed_forms.linear_nested_strong_error(16, 64)) ** 2 == pytest.approx(
        0.0594, abs=5e-5
    )


def test_nested_strong_error_of_a_network_against_itself_is_zero():
    assert float(closed_forms.linear_nested_strong_error(8, 8)) == 0


def test_nested_strong_error_tends_to_the_strong_error():
    nested = float(closed_forms.linear_nested_strong_error(8, 10**8))
    assert nested == pytest.approx(float(closed_forms.linear_strong_error(8)), rel=1e-7)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 40, 101])
def test_log_norm_law_has_the_second_moment_of_the_limit(width):
    # E exp(X) = exp(mean + variance / 2) must be exp(1/2) for res-3 and e for linear res-1.
    for block, growth in (("res-3", 0.5), ("res-1", 1.0)):
        law = closed_forms.log_norm_law(block, width)
        assert law.mean + law.variance / 2 == pytest.approx(growth, rel=1e-14)


@pytest.mark.parametrize("width", [2, 4, 8, 16, 40])
def test_log_norm_law_is_where_finite_depth_tends_to(width):
    for block, moments in (("res-3", relu_log_moments), ("res-1", linear_log_moments)):
        law, found = closed_forms.log_norm_law(block, width), moments(4096, width, 4096**-0.5)
        assert found.mean == pytest.approx(law.mean, abs=2e-4)
        assert found.variance == pytest.approx(law.variance, rel=1e-3)


@pytest.mark.parametrize("width", [2, 4, 8, 16, 40])
def test_depth_bias_is_the_first_term_of_the_exact_one(width):
    # Exact moments of the layer's factor, by quadrature: the remainder must fall like L^-2.
    limit = closed_forms.log_norm_law("res-3", width).mean
    remainders = []
    for depth in (256, 512):
        exact = relu_log_moments(depth, width, depth**-0.5).mean - limit
        bias = float(closed_forms.relu_log_mean_depth_bias(depth, width))
        remainders.append(abs(exact - bias) * depth**2)
    assert max(remainders) < 0.1
    if width > 4:
        assert remainders[0] == pytest.approx(remainders[1], rel=0.05)


def test_depth_bias_vanishes_at_widths_two_and_four():
    assert float(closed_forms.relu_log_mean_depth_bias(64, 2)) == 0
    assert float(closed_forms.relu_log_mean_depth_bias(64, 4)) == 0


def test_depth_bias_takes_arrays_of_depths():
    assert closed_forms.relu_log_mean_depth_bias([8, 16], 8).shape == (2,)


@pytest.mark.parametrize(
    "form",
    [
        closed_forms.linear_strong_error,
        closed_forms.linear_weak_error,
        closed_forms.relu_weak_error,
    ],
)
def test_complex_arguments_of_closed_forms_are_refused(form):
    with pytest.raises(limits.DTypeError, match="complex"):
        form(np.array([8 + 0j]))
    with pytest.raises(limits.LimitsError, match="coefficient must be a finite number"):
        form(8, coefficient=1j)
    depths = torch.tensor([8.0, 16.0], requires_grad=True)
    assert form(depths) == pytest.approx(form(np.array([8.0, 16.0])))


OUT_OF_RANGE = {
    "no layers": lambda: closed_forms.linear_strong_error(0),
    "fewer than none": lambda: closed_forms.relu_second_moment([8, -1]),
    "no number of layers": lambda: closed_forms.relu_weak_error(math.nan),
    "no units": lambda: closed_forms.log_norm_law("res-3", 0),
    "half a unit": lambda: closed_forms.relu_log_mean(8, 2.5),
    "units of an edge": lambda: closed_forms.linear_product_edge(8, width=-1),
    "unknown block": lambda: closed_forms.log_norm_law("res-2", 8),
    "list of blocks": lambda: closed_forms.log_norm_law(["res-3"], 8),
    "Hurst index of one": lambda: closed_forms.young_linear_error(8, 1.0),
    "complex Hurst index": lambda: closed_forms.rough_drift(8, 0.2j, 4),
    "persistent weights": lambda: closed_forms.rough_relu_law(0.7, 16),
    "two equal depths": lambda: closed_forms.fractional_relu_border(0.7, 8, 8),
    "no time": lambda: closed_forms.linear_product_edge_limit(0.0),
    "correlation of two": lambda: closed_forms.relu_correlation(1.0, 2.0),
    "zero states": lambda: closed_forms.post_relu_ratio([[1.0, 0.0], [0.0, 0.0]], 0.1),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_what_closed_forms_do_not_know_is_refused(name):
    with pytest.raises(limits.LimitsError, match=r"(Use|Leave|Pass|For|must be \".*\") "):
        OUT_OF_RANGE[name]()
