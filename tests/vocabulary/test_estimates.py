import dataclasses

import pytest

from limits import Estimate, Order, Verdict

FIT = Order(value=0.5, low=0.48, high=0.52, constant=1.1, depths=(8, 16, 32, 64))


def test_interval_of_an_estimate_is_normal_at_95_percent():
    low, high = Estimate(2.0, 0.5, 100).interval
    assert (low, high) == pytest.approx((2 - 0.98, 2 + 0.98))


def test_estimate_prints_value_half_width_and_paths():
    assert str(Estimate(0.1234, 0.005, 64)) == "0.123 ± 0.0098 (64 paths)"


@pytest.mark.parametrize("order", [0.5, 0.455, 0.545])
def test_order_agrees_with_a_theory_inside_its_widened_interval(order):
    assert FIT.agrees_with(order)


@pytest.mark.parametrize("order", [0.445, 0.555, 1.0, -0.5])
def test_order_disagrees_with_a_theory_outside(order):
    assert not FIT.agrees_with(order)


def test_margin_of_agreement_is_the_callers():
    assert FIT.agrees_with(0.48, margin=0)
    assert not FIT.agrees_with(0.479, margin=0)


def test_noisy_order_agrees_with_nothing():
    noisy = dataclasses.replace(FIT, low=0.4, high=0.6)
    assert not noisy.agrees_with(0.5)
    assert noisy.agrees_with(0.5, widest=0.21)


def test_interval_exactly_as_wide_as_allowed_is_too_wide():
    assert not dataclasses.replace(FIT, low=0.0, high=0.5).agrees_with(0.5, widest=0.5)


def test_order_of_nan_agrees_with_nothing():
    nan = float("nan")
    assert not dataclasses.replace(FIT, low=nan, high=nan).agrees_with(0.5)


def test_order_prints_the_depths_it_is_about():
    assert "L = 8-64" in str(FIT)
    assert "L = 8-64" in str(dataclasses.replace(FIT, depths=(64, 8)))


@pytest.mark.parametrize("thing", [Estimate(1.0, 0.1, 2), FIT, Verdict("a", "b", "c", True)])
def test_results_cannot_be_changed_after_the_fact(thing):
    field = dataclasses.fields(thing)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, None)
