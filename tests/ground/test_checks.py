import math

import pytest
import torch

import limits
from limits.checks import (
    check_coefficient,
    check_count,
    check_counts,
    check_finite,
    check_progress,
    is_count,
    is_number,
)


@pytest.mark.parametrize("value", [True, False, 0, -1, 2.0, "3", None, math.nan])
def test_what_counts_nothing_is_refused_with_an_example(value: object) -> None:
    assert not is_count(value)
    with pytest.raises(limits.ShapeError, match=r"positive integer, found .*Pass for example n=64"):
        check_count(value, "n")
    with pytest.raises(limits.ShapeError, match=r"positive integers, .*depths=\(8, 16, 32\)"):
        check_counts((8, value), "depths")


def test_counts_start_where_they_are_asked_to() -> None:
    check_count(0, "n", least=0)
    check_counts((1, 2), "depths")
    for least, wanted in ((0, "a non-negative integer"), (2, "an integer from 2 on")):
        with pytest.raises(limits.ShapeError, match=f"n must be {wanted}, found {least - 1}"):
            check_count(least - 1, "n", least=least)
    with pytest.raises(limits.ShapeError, match=r"found \(\)"):
        check_counts((), "depths")


@pytest.mark.parametrize("value", [True, "1", None, math.nan, -math.inf, torch.ones(1), 1j])
def test_a_coefficient_is_a_finite_number(value: object) -> None:
    assert not is_number(value)
    with pytest.raises(limits.LimitsError, match=r"finite number, found .*Use 1\.0"):
        check_coefficient(value)


def test_progress_is_silence_or_callable() -> None:
    check_progress(None)
    check_progress(print)
    with pytest.raises(limits.LimitsError, match=r"progress\(done, total, label\), found 'bar'"):
        check_progress("bar")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64])
def test_entries_that_are_not_finite_are_counted(dtype: torch.dtype) -> None:
    values = torch.tensor([1, math.nan, math.inf, -math.inf, 2], dtype=dtype)
    with pytest.raises(limits.NonFiniteStateError, match=r"x has 3 NaN or .* out of 5. Clean the"):
        check_finite(values, "x")
    with pytest.raises(limits.NonFiniteStateError, match=r"out of 5\. Sleep on it\."):
        check_finite(values, "x", "Sleep on it.")
    check_finite(values[::4], "x")
