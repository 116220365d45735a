"""The tutorial of the depth check and the transfer of learning rates, from their stored numbers."""

import numpy as np
import pytest
import xarray as xr

import limits
from limits.sweeps.experiment import package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
from limits.experiments.beyond import depth_check, learning_rate  # noqa: E402


def test_wrong_numbers_fail_their_check():
    dataset = stored("beyond.depth_check")
    assert not all(
        each.passed for each in depth_check.check(dataset.assign(critical=dataset.critical + 0.2))
    )
    swapped = dataset.assign_coords(state=dataset["state"].to_numpy()[::-1])
    assert sum(not each.passed for each in depth_check.check(swapped)) >= 4
    rates = stored("beyond.learning_rate")
    other = rates.assign_coords(scaling=rates["scaling"].to_numpy()[::-1])
    assert not any(each.passed for each in learning_rate.check(other))


def test_the_best_rate_is_that_of_the_parabola():
    rates = 2.0 ** np.arange(-8, 0)
    losses = np.exp((np.log2(rates) + 4.3) ** 2 / 10)
    found = learning_rate.best_rate(
        xr.DataArray(np.stack([losses] * 2, axis=1), {"rate": rates}, ("rate", "draw"))
    )
    assert found == pytest.approx(2**-4.3, rel=1e-6)


def test_a_draw_that_diverged_rules_its_rate_out():
    rates = 2.0 ** np.arange(-8, 0)
    losses = np.linspace(2, 1, 8)[:, None].repeat(2, axis=1)
    losses[6:, 1] = np.nan
    found = learning_rate.best_rate(xr.DataArray(losses, {"rate": rates}, ("rate", "draw")))
    assert found == rates[5]


def test_one_task_of_the_transfer_of_rates():
    config = learning_rate.Config(depths=(4,), exponents=(-6, -5), n_seeds=1, epochs=1)
    found = learning_rate.task(config, seed=0, scaling="recommended", depth=4)
    assert found["loss"].shape == (2, 1)
    assert isinstance(limits.__version__, str)
