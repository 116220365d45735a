"""The tutorial of the depth check and the transfer of learning rates, from their stored numbers."""

import numpy as np
import pytest
import xarray as xr

import limits
from limits.sweeps.experiment import package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
from limits.experiments.beyond import _rates, depth_check, learning_rate  # noqa: E402


def test_wrong_numbers_fail_their_check():
    dataset = stored("beyond.depth_check")
    assert not all(
        each.passed for each in depth_check.check(dataset.assign(critical=dataset.critical + 0.2))
    )
    swapped = dataset.assign_coords(state=dataset["state"].to_numpy()[::-1])
    assert sum(not each.passed for each in depth_check.check(swapped)) >= 4


def test_exponential_growth_is_not_named_by_a_power():
    counts = np.array([8, 16, 32, 64])
    assert depth_check.grown(counts, np.exp(0.25 * counts), 3.9) == "$e^{0.25L}$"
    assert depth_check.grown(counts, counts**1.5, 1.5) == "$L^{+1.50}$"
    assert depth_check.grown(counts, 1 + 1e-3 * counts, 0.01) == "$L^{+0.01}$"


def losses_with_best_rates(shifts: dict[str, float], *, spread: float = 0.2) -> xr.Dataset:
    """Make up losses whose best rates move by 2^shift between depths, draws by 2^spread."""
    steps = np.arange(-24, -3) / 2
    noise = spread * np.random.default_rng(0).standard_normal((3, 2, 5))
    loss = np.empty((3, 2, len(steps), 5))
    for i, branches in enumerate(learning_rate.BRANCHES):
        for j in range(2):
            best = -7 + shifts[branches] * (j - 0.5) + noise[i, j]
            loss[i, j] = np.exp((steps[:, None] - best) ** 2 / 20)
    return xr.Dataset(
        {"loss": (("branches", "depth", "exponent", "draw"), loss)},
        coords={
            "branches": list(learning_rate.BRANCHES), "depth": [4, 64], "exponent": steps,
            "draw": np.arange(5),
        },
    )  # fmt: skip


def words(dataset: xr.Dataset) -> list[str]:
    return [each.word for each in learning_rate.check(dataset)]


def test_shifts_of_the_best_rate_are_judged_by_their_intervals():
    expected = {"0": -4.0, "1/2": -2.0, "1": 0.0}
    assert words(losses_with_best_rates(expected)) == ["pass"] * 6
    # Had branches done nothing, the recommended scaling would not transfer.
    idle = dict.fromkeys(expected, -4.0)
    assert [words(losses_with_best_rates(idle))[place] for place in (3, 4)] == ["FAIL"] * 2
    # Had nothing moved, nothing would need a cure.
    still = words(losses_with_best_rates(dict.fromkeys(expected, 0.0)))
    assert [still[place] for place in (0, 2)] == ["FAIL"] * 2
    # A rate that is the same on its own axis moves on the scaled one: by sqrt(16).
    assert words(losses_with_best_rates({"0": -2.0, "1/2": -2.0, "1": 0.0}))[1] == "FAIL"
    downwards = losses_with_best_rates({"0": -2.0, "1/2": -4.0, "1": 0.0})
    assert words(downwards)[5] == "FAIL"
    assert "not decided" in words(losses_with_best_rates(expected, spread=2.0))


def test_a_best_rate_at_the_end_of_what_was_tried_is_no_result():
    dataset = losses_with_best_rates({"0": -4.0, "1/2": -2.0, "1": 0.0})
    cut = dataset.sel(exponent=slice(-6.5, None))
    assert words(cut)[0] == "not decided"


def test_a_grid_is_refined_around_its_best():
    asked = []

    def losses(exponents):
        asked.append(list(exponents))
        return np.exp(np.square(np.array(exponents) + 4.3))[:, None].repeat(2, axis=1)

    steps, found = _rates.refined(losses, range(-7, -1))
    assert asked[1] == [-5.5, -4.5, -3.5, -2.5]
    assert np.isnan(found[steps == -6.5]).all()
    assert _rates.log_best(steps, found[:, 0]) == (pytest.approx(-4.3), True)


def test_a_rate_at_which_a_draw_diverged_is_worst():
    steps = np.arange(-8.0, 0)
    losses = np.linspace(2, 1, 8)
    losses[6:] = np.inf
    assert _rates.log_best(steps, losses) == (steps[5], True)
    assert _rates.log_best(steps, np.full(8, np.inf))[1] is False


def test_one_task_of_the_transfer_of_rates():
    config = learning_rate.Config(depths=(4,), exponents=(-6, -5), n_draws=1, epochs=1)
    found = learning_rate.task(config, seed=0, branches="1/2", depth=4)
    assert found["loss"].shape == (3, 1)
    assert isinstance(limits.__version__, str)
