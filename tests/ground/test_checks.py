import math

import numpy as np
import pytest
import torch

import limits
from limits.checks import (
    check_coefficient,
    check_count,
    check_counts,
    check_finite,
    check_progress,
    check_real,
    checked_array,
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
    with pytest.raises(limits.LimitsError, match=r"finite number .*found .*Use 1\.0"):
        check_coefficient(value)


def test_progress_is_silence_or_callable() -> None:
    check_progress(None)
    check_progress(print)
    with pytest.raises(limits.LimitsError, match=r"progress\(done, total, label\), found 'bar'"):
        check_progress("bar")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_entries_that_are_not_finite_are_counted(dtype: torch.dtype) -> None:
    values = torch.tensor([1, math.nan, math.inf, -math.inf, 2], dtype=dtype)
    with pytest.raises(limits.NonFiniteStateError, match=r"x has 3 NaN or .* out of 5. Clean the"):
        check_finite(values, "x")
    with pytest.raises(limits.NonFiniteStateError, match=r"out of 5\. Sleep on it\."):
        check_finite(values, "x", "Sleep on it.")
    check_finite(values[::4], "x")


UNREADABLE = {
    "complex": torch.ones(2, 2, dtype=torch.complex64),
    "sparse": torch.ones(2, 2).to_sparse(),
    "meta device": torch.ones(2, 2, device="meta"),
    "float8": torch.ones(2, 2).to(torch.float8_e4m3fn),
    "nested": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
}


@pytest.mark.parametrize("found", UNREADABLE)
def test_tensors_that_cannot_be_read_entry_by_entry_are_refused(found: str) -> None:
    with pytest.raises(limits.DTypeError, match=f"x must be a dense tensor of real.*{found}"):
        check_real(UNREADABLE[found], "x")
    with pytest.raises(limits.DTypeError, match=found):
        check_finite(UNREADABLE[found], "x")


ENTRANCES = {
    "network": lambda h: limits.ResNet("tanh")(h, SAMPLE),
    "tangent": lambda h: limits.ResNet("tanh").tangent(H0, h, SAMPLE),
    "solver": lambda h: limits.EulerMaruyama().solve(LIMIT, h, SAMPLE),
    "study": lambda h: limits.convergence_study(
        limits.ResNet("tanh"), PATH, depths=(2, 4, 8), n_paths=2, seed=0, h0=h
    ),
    "expectation": lambda h: limits.infinite_depth_expectation(
        limits.ResNet("tanh"), PATH, lambda s: s[..., 0], h0=h, tolerance=0.1, seed=0
    ),
    "embedding": lambda h: limits.embed(h, width=2, seed=0),
    "trained weights": lambda h: limits.TrainedPath(h.expand(2, 2, 2), index=1.0),
    "exponent": lambda h: limits.ResNet("tanh", beta=h),
    "functional": lambda h: limits.weak_error(
        limits.ResNet("tanh")(H0, SAMPLE), 0.0, functional=lambda s: s[..., 0] * h[0, 0]
    ),
    "cotangent": lambda h: limits.ResNet("tanh").backward(
        limits.ResNet("tanh")(H0, SAMPLE), SAMPLE, h
    ),
    "equation for torchsde": lambda h: LIMIT.as_torchsde(SAMPLE).g_prod(
        torch.zeros(()), h.expand(2, 2), torch.ones(2, 4, dtype=torch.float64)
    ),
    "equation for torchdiffeq": lambda h: limits.depth_limit(
        limits.ResNet("tanh"), limits.SmoothPath(2)
    ).as_torchdiffeq(limits.SmoothPath(2).sample(depth=4, n_paths=2, seed=0))(
        0.5, h.expand(2, 1, 2)
    ),
    "cotangent of neurons": lambda h: MEAN_FIELD.backward(
        MEAN_FIELD(H0, NEURONS, keep="all"), NEURONS, h.expand(2, 1, 2)
    ),
    "Gram matrix": lambda h: limits.mean_field.LargeWidthLimit("tanh").descend(
        H0, H0, steps=1, seed=0, gram=torch.eye(4, dtype=torch.float64) * h[0, 0]
    ),
    "analysed inputs": lambda h: analysed().outputs(h),
    "analysed slope": lambda h: analysed().descend(h.expand(2, 1, 2), rate=0.1),
    "squares, inputs": lambda h: limits.training.descend_squares(
        analysed(), h, H0, rate=1, steps=1
    ),
    "squares, targets": lambda h: limits.training.descend_squares(
        analysed(), H0, h, rate=1, steps=1
    ),
    "classes": lambda h: limits.data.LabelledData(H0, h[0, :1], H0, torch.zeros(1).int(), 2),
}


def analysed() -> limits.training.AnalysedEnsemble:
    nets = limits.training.AnalysedEnsemble(
        PATH, depth=2, n_paths=2, seed=0, features=2, outputs=2, tau=0.5, dtype=torch.float64
    )
    nets.outputs(H0)
    return nets


MEAN_FIELD = limits.MeanFieldResNet(2, 4, depth=2)
NEURONS = MEAN_FIELD.sample(n_paths=2, seed=0)
PATH = limits.BrownianPath(2)
SAMPLE = PATH.sample(depth=4, n_paths=2, seed=0)
LIMIT = limits.depth_limit(limits.ResNet("tanh"), PATH)
H0 = torch.ones(1, 2, dtype=torch.float64)


@pytest.mark.parametrize("name", ENTRANCES)
def test_complex_numbers_are_refused_at_every_entrance(name: str) -> None:
    with pytest.raises(limits.DTypeError, match=r"real numbers, found complex.*imaginary part"):
        ENTRANCES[name](H0 * 1j)


@pytest.mark.parametrize("values", [torch.ones(2) * 1j, np.ones(2) * 1j, [1j, 2.0]])
def test_complex_arrays_are_refused_not_cut(values: object) -> None:
    with pytest.raises(limits.DTypeError, match=r"x must be real numbers|x must be a dense"):
        checked_array(values, "x")
    with pytest.raises(limits.DTypeError, match="complex"):
        limits.Estimate.of_power_mean(values, 2)


def test_arrays_come_from_whatever_holds_numbers() -> None:
    expected = np.array([1.0, 2.0])
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    for values in ([1, 2], (1.0, 2), expected.astype(np.float16), half):
        found = checked_array(values, "x")
        assert found.dtype == np.float64
        assert (found == expected).all()
    for values in (["a"], [[1.0], [1.0, 2.0]], None):
        with pytest.raises(limits.ShapeError, match="x must be numbers"):
            checked_array(values, "x")
