"""Convergence studies: the same numbers however they are computed, and nothing lost in a file."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import limits
from limits.errors.metrics import path_errors
from limits.parallel import Ticker, balanced
from tests.helpers import normal_inputs

TANH = limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")
LADDER = (4, 8, 16)
# Far from exact but quick: what is asked here is whether numbers change.
ROUGH = limits.TorchDiffEq(rtol=1e-4, atol=1e-6)


def squared_norm(h: Tensor) -> Tensor:
    return h.square().sum(dim=-1)


def sde_study(**changes: object) -> limits.ConvergenceStudy:
    settings = {
        "depths": LADDER,
        "n_paths": 72,
        "seed": 0,
        "h0": normal_inputs(2, 3),
        "reference": 64,
    }
    return limits.convergence_study(TANH, limits.BrownianPath(3), **(settings | changes))


def ode_study(**changes: object) -> limits.ConvergenceStudy:
    settings = {
        "depths": LADDER,
        "n_paths": 72,
        "seed": 0,
        "h0": normal_inputs(2, 3),
        "reference": ROUGH,
    }
    return limits.convergence_study(TANH, limits.SmoothPath(3), **(settings | changes))


def weak_study(**changes: object) -> limits.ConvergenceStudy:
    settings = {
        "depths": (1, 2, 4),
        "n_paths": 72,
        "seed": 0,
        "error": "weak",
        "functional": squared_norm,
        "reference": math.exp(0.5),
        "h0": torch.eye(1, 3, dtype=torch.float64),
    }
    return limits.convergence_study(RES3, limits.IIDPath(3), **(settings | changes))


STUDIES = {
    "sde": sde_study,
    "sde, uniform": lambda **changes: sde_study(error="uniform", **changes),
    "ode": ode_study,
    # By rk4: that adaptive steps depend on nothing but the block is asked of the terminal error.
    "ode, uniform": lambda **changes: ode_study(
        **({"error": "uniform", "reference": limits.TorchDiffEq(method="rk4")} | changes)
    ),
    "weak": weak_study,
}


def assert_identical(a: limits.ConvergenceStudy, b: limits.ConvergenceStudy) -> None:
    assert a.depths == b.depths
    assert np.array_equal(a.path_errors, b.path_errors)
    assert a.errors == b.errors
    assert a.order == b.order
    if a.closed_form is None or b.closed_form is None:
        assert a.closed_form is b.closed_form
    else:
        assert np.array_equal(a.closed_form, b.closed_form)
    for name in ("expected_order", "error_kind", "limit", "equation", "network", "path"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("reference", "p", "seed", "width", "n_inputs"):
        assert getattr(a, name) == getattr(b, name)


# --- what must not change a number -------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_chunks_change_no_bit(name: str) -> None:
    # Seventy-two paths: the last block of sixteen is partly filled.
    studies = [STUDIES[name](chunk=chunk) for chunk in (None, 16, 48, 64)]
    for other in studies[1:]:
        assert_identical(studies[0], other)


@pytest.mark.parametrize("name", STUDIES)
def test_threads_change_no_bit(name: str) -> None:
    studies = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        studies.append(STUDIES[name](chunk=16))
        studies.append(STUDIES[name]())
        assert torch.get_num_threads() == threads
    for other in studies[1:]:
        assert_identical(studies[0], other)


@pytest.mark.thorough
def test_chunks_and_threads_change_no_bit_at_a_width_that_fills_vector_registers() -> None:
    # Width 40 and eight inputs: other kernels of the linear algebra library than width 3.
    def study(chunk: int | None, threads: int) -> limits.ConvergenceStudy:
        torch.set_num_threads(threads)
        return limits.convergence_study(
            TANH,
            limits.BrownianPath(40),
            depths=(2, 4, 8),
            n_paths=100,
            seed=0,
            h0=normal_inputs(8, 40),
            chunk=chunk,
        )

    whole = study(None, 2)
    for chunk, threads in ((None, 1), (16, 1), (48, 2), (64, 2)):
        assert_identical(whole, study(chunk, threads))


@pytest.mark.parametrize("name", STUDIES)
def test_the_first_paths_of_a_longer_study_are_the_same(name: str) -> None:
    short, long = STUDIES[name](n_paths=32), STUDIES[name](n_paths=72)
    assert np.array_equal(short.path_errors, long.path_errors[:, :32])


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_can_be_repeated_and_another_seed_is_another_study(name: str) -> None:
    first, again, other = STUDIES[name](), STUDIES[name](), STUDIES[name](seed=1)
    assert_identical(first, again)
    assert not np.array_equal(first.path_errors, other.path_errors)


def test_a_reference_at_another_depth_keeps_the_ladder_coupled() -> None:
    # The draw is made at the reference's depth, so another reference is another draw; but adding
    # a depth between to the ladder reads the same draw and changes no error of the others.
    few, more = sde_study(), sde_study(depths=(4, 8, 16, 32))
    assert np.allclose(few.path_errors, more.path_errors[:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["sde", "ode", "ode, uniform"])
def test_single_and_double_precision_agree(name: str) -> None:
    double = STUDIES[name]()
    single = STUDIES[name](h0=normal_inputs(2, 3, dtype=torch.float32), dtype=torch.float32)
    for one, two in zip(single.errors, double.errors, strict=True):
        assert one.value == pytest.approx(two.value, rel=1e-4)
    assert single.order.value == pytest.approx(double.order.value, abs=1e-4)
    assert single.path_errors.dtype == np.float64


# --- one pass is as good as many ---------------------------------------------------------------


@pytest.mark.parametrize("error", ["strong", "uniform"])
@pytest.mark.parametrize("p", [1, 2])
def test_depths_in_lockstep_are_the_networks_one_by_one(error: str, p: int) -> None:
    study = sde_study(error=error, p=p)
    sample = limits.BrownianPath(3).sample(depth=64, n_paths=72, seed=0)
    h0 = normal_inputs(2, 3)
    time = "uniform" if error == "uniform" else "terminal"
    deep = TANH(h0, sample, keep="all")
    for depth, row, estimate in zip(study.depths, study.path_errors, study.errors, strict=True):
        shallow = TANH(h0, sample.at_depth(depth), keep="all")
        separate = path_errors(shallow, deep, p=p, time=time)
        torch.testing.assert_close(torch.from_numpy(row), separate, rtol=0, atol=1e-12)
        alone = limits.strong_error(shallow, deep, p=p, time=time)
        assert estimate.value == pytest.approx(alone.value, rel=1e-12)
        assert estimate.standard_error == pytest.approx(alone.standard_error, rel=1e-12)
        assert estimate.n == alone.n == 72
    fitted = limits.fit_order(study.path_errors, depths=study.depths, p=p, seed=0)
    assert fitted == study.order


@pytest.mark.parametrize("net", [TANH, RES3], ids=["res-1", "res-3"])
def test_smooth_networks_in_lockstep_are_the_networks_one_by_one(net: limits.ResNet) -> None:
    path, h0 = limits.SmoothPath(3), normal_inputs(2, 3)
    depths = (4, 6, 12)
    study = limits.convergence_study(
        net, path, depths=depths, n_paths=20, seed=0, h0=h0, reference=ROUGH
    )
    sample = path.sample(depth=12, n_paths=20, seed=0)
    exact = ROUGH.solve(limits.depth_limit(net, path), h0, sample)
    for depth, row in zip(depths, study.path_errors, strict=True):
        separate = path_errors(net(h0, sample.at_depth(depth)), exact)
        torch.testing.assert_close(torch.from_numpy(row), separate, rtol=0, atol=1e-12)


def test_a_weak_study_is_the_weak_errors_one_by_one() -> None:
    study = weak_study()
    sample = limits.IIDPath(3).sample(depth=4, n_paths=72, seed=0)
    h0 = torch.eye(1, 3, dtype=torch.float64)
    for depth, estimate in zip(study.depths, study.errors, strict=True):
        out = RES3(h0, sample.at_depth(depth))
        alone = limits.weak_error(out, math.exp(0.5), functional=squared_norm)
        assert estimate.value == pytest.approx(alone.value, rel=1e-12)
        assert estimate.standard_error == pytest.approx(alone.standard_error, rel=1e-12)


def test_depths_need_not_be_nested() -> None:
    h0 = normal_inputs(1, 3)
    study = sde_study(depths=(4, 6, 9), n_paths=64, reference=72, h0=h0)
    sample = limits.BrownianPath(3).sample(depth=72, n_paths=64, seed=0)
    for depth, row in zip(study.depths, study.path_errors, strict=True):
        separate = path_errors(TANH(h0, sample.at_depth(depth)), TANH(h0, sample))
        torch.testing.assert_close(torch.from_numpy(row), separate, rtol=0, atol=1e-12)


def test_the_default_input_comes_from_the_seed_and_is_one() -> None:
    first, again = sde_study(h0=None), sde_study(h0=None, chunk=16)
    assert first.n_inputs == 1
    assert_identical(first, again)
    # With one more reading of the same draw, the input stays as well.
    more = sde_study(h0=None, depths=(4, 8, 16, 32))
    assert np.allclose(first.path_errors, more.path_errors[:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("net", "path", "error", "reference"),
    [
        (limits.ResNet("identity"), limits.BrownianPath(1), "strong", "closed form"),
        (limits.ResNet("identity"), limits.BrownianPath(2), "strong", "same path, L = 256"),
        (TANH, limits.BrownianPath(2), "uniform", "same path, L = 256"),
        (TANH, limits.SmoothPath(2), "strong", "MidpointExtrapolation"),
        (TANH, limits.SmoothPath(2), "uniform", "MidpointExtrapolation"),
        (limits.ResNet("tanh", beta=1.0), limits.BrownianPath(2), "strong", "input"),
        (limits.ResNet("tanh", beta=1.5), limits.SmoothPath(2), "uniform", "input"),
    ],
)
def test_without_a_reference_the_best_one_is_taken(
    net: limits.ResNet, path: limits.WeightPath, error: str, reference: str
) -> None:
    study = limits.convergence_study(net, path, depths=(4, 8, 16), n_paths=16, seed=0, error=error)
    assert study.reference == reference


def test_any_solver_may_be_the_reference() -> None:
    # rk4 with as many steps as the deepest network has layers is right to 1e-3 of its error.
    by_rk4 = ode_study(reference=limits.TorchDiffEq(method="rk4"))
    assert by_rk4.reference == "TorchDiffEq(rk4)"
    for one, two in zip(by_rk4.errors, ode_study().errors, strict=True):
        assert one.value == pytest.approx(two.value, rel=0.02)


@pytest.mark.thorough
def test_two_adaptive_references_agree_far_below_the_error_they_measure() -> None:
    fifth = ode_study(reference=limits.TorchDiffEq(rtol=1e-9, atol=1e-11), n_paths=32)
    eighth = ode_study(reference=None, n_paths=32)
    assert np.abs(fifth.path_errors - eighth.path_errors).max() < 1e-7


def test_every_input_may_have_its_own_exponent() -> None:
    beta = torch.tensor([0.75, 1.0], dtype=torch.float64)
    study = limits.convergence_study(
        limits.ResNet("identity", beta=beta),
        limits.BrownianPath(4),
        depths=(8, 16, 32),
        n_paths=32,
        seed=0,
        h0=normal_inputs(2, 4),
    )
    # The slower of the two inputs sets the order: beta - 1/2.
    assert study.limit == "identity"
    assert study.expected_order == pytest.approx(0.25)


def test_the_closed_form_is_in_the_units_of_the_inputs() -> None:
    h0 = torch.tensor([[3.0, 4.0], [0.0, 12.0]], dtype=torch.float64)
    study = limits.convergence_study(
        limits.ResNet("identity", coefficient=0.5),
        limits.BrownianPath(2),
        depths=(4, 8, 16),
        n_paths=2000,
        seed=0,
        h0=h0,
        reference=32,
    )
    rms = math.sqrt((25 + 144) / 2)
    exact = limits.closed_forms.linear_nested_strong_error(
        np.array([4, 8, 16]), 32, coefficient=0.5
    )
    assert study.closed_form is not None
    assert np.allclose(study.closed_form, rms * exact, rtol=1e-12)
    # Over eight seeds the largest distance was between 0.4 and 2.9 standard errors.
    for errors, theory in zip(study.path_errors, study.closed_form, strict=True):
        squares = errors**2
        assert abs(squares.mean() - theory**2) < 4 * squares.std(ddof=1) / 2000**0.5


def test_what_a_study_says_of_itself() -> None:
    study = sde_study()
    assert (study.limit, study.path, study.network) == ("sde", "brownian", "res-1 tanh")
    assert (study.expected_order, study.error_kind, study.p) == (0.5, "strong", 2)
    assert (study.seed, study.width, study.n_inputs) == (0, 3, 2)
    assert study.order.depths == study.depths == LADDER
    assert weak_study().expected_order == 1.0
    assert ode_study().expected_order == 1.0


# --- progress ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 16])
@pytest.mark.parametrize("name", STUDIES)
def test_progress_rises_to_its_total(name: str, chunk: int | None) -> None:
    calls: list[tuple[int, int, str]] = []
    with_progress = STUDIES[name](
        chunk=chunk, progress=lambda done, total, label: calls.append((done, total, label))
    )
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert len(set(done)) == len(done)
    assert done[0] > 0
    assert done[-1] == calls[-1][1]
    assert len({call[1:] for call in calls}) == 1
    assert calls[0][2] == f"{with_progress.path}, {with_progress.network}"
    assert_identical(with_progress, STUDIES[name](chunk=chunk))


def test_progress_reports_about_two_hundred_times_however_long_the_work() -> None:
    calls: list[int] = []
    ticker = Ticker(10_007, "work", lambda done, total, label: calls.append(done))
    for _ in range(10_007):
        ticker()
    assert calls[-1] == 10_007
    assert 100 <= len(calls) <= 210


def test_what_a_callback_raises_ends_the_study() -> None:
    class CancelledByTheUserError(Exception):
        pass

    def cancel(done: int, total: int, label: str) -> None:
        raise CancelledByTheUserError

    torch.set_num_threads(2)
    with pytest.raises(CancelledByTheUserError):
        sde_study(chunk=16, progress=cancel)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("n_paths", [1, 16, 100, 256, 1000])
def test_balanced_ranges_cover_every_path_once_in_whole_blocks(n_paths: int, workers: int) -> None:
    sample = limits.BrownianPath(40).sample(depth=8, n_paths=n_paths, seed=0)
    ranges = balanced(sample.chunks(), workers)
    assert ranges[0][0] == 0
    for (first, count), (following, _) in itertools.pairwise(ranges):
        assert first + count == following
        assert following % 16 == 0
    assert sum(count for _, count in ranges) == n_paths


# --- files -------------------------------------------------------------------------------------

SAVED = {
    **STUDIES,
    "closed form": lambda: limits.convergence_study(
        limits.ResNet("identity"), limits.BrownianPath(1), depths=LADDER, n_paths=32, seed=0
    ),
    "identity": lambda: limits.convergence_study(
        limits.ResNet("tanh", beta=0.75), limits.BrownianPath(2), depths=LADDER, n_paths=32, seed=0
    ),
    "input exponents": lambda: limits.convergence_study(
        limits.ResNet("tanh", beta=torch.tensor([0.75, 1.0])),
        limits.BrownianPath(3),
        depths=LADDER,
        n_paths=32,
        seed=0,
        h0=normal_inputs(2, 3),
    ),
    "callable": lambda: limits.convergence_study(
        limits.ResNet(torch.sin), limits.BrownianPath(2), depths=LADDER, n_paths=32, seed=0
    ),
    "huge seed": lambda: sde_study(seed=2**70 + 1),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_study_survives_its_dataset(name: str) -> None:
    study = SAVED[name]()
    assert_identical(study, limits.ConvergenceStudy.from_dataset(study.to_dataset()))


@pytest.mark.parametrize("name", SAVED)
def test_a_study_survives_a_netcdf_file(name: str, tmp_path: Path) -> None:
    study = SAVED[name]()
    file = tmp_path / "study.nc"
    study.to_dataset().to_netcdf(file)
    with xr.open_dataset(file) as stored:
        assert_identical(study, limits.ConvergenceStudy.from_dataset(stored))


def test_a_dataset_names_its_axes() -> None:
    dataset = sde_study().to_dataset()
    assert dataset["error"].dims == dataset["standard_error"].dims == ("depth",)
    assert dataset["path_error"].dims == ("depth", "path")
    assert dataset["depth"].values.tolist() == list(LADDER)
    assert float(dataset["error"].sel(depth=16)) == sde_study().errors[2].value
    assert dataset.attrs["network"] == "res-1 tanh"


def test_a_transposed_dataset_is_read_all_the_same() -> None:
    study = sde_study()
    transposed = study.to_dataset().transpose("path", "depth")
    assert_identical(study, limits.ConvergenceStudy.from_dataset(transposed))
