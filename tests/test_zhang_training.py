"""Descent, training and practice of Zhang et al. at smoke scale: claims, and pictures."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest

from limits.sweeps import run
from limits.sweeps.experiment import PACKAGE, package_of_experiments

package_of_experiments()
descent, practice, training = (
    importlib.import_module(f"{PACKAGE}.zhang2022.{name}")
    for name in ("descent", "practice", "training")
)

MODULES = {"descent": descent, "training": training, "practice": practice}


@pytest.fixture(scope="module")
def datasets():
    return {name: run(each, each.SCALES["smoke"], seed=0) for name, each in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_the_claims_hold_at_smoke_scale(datasets, name):
    assert [each for each in MODULES[name].check(datasets[name]) if not each.passed] == []


@pytest.mark.parametrize(("name", "panels"), [("descent", 6), ("training", 5), ("practice", 3)])
def test_figures_are_drawn(datasets, name, panels):
    figure = MODULES[name].draw(datasets[name])
    assert len(figure.axes) == panels
    plt.close(figure)


def test_the_check_of_descent_notices_a_rate_that_falls(datasets):
    broken = datasets["descent"].copy(deep=True)
    broken["rate"].loc[{"case": "half"}] = broken["rate"].sel(case="one").to_numpy()
    passed = [each.passed for each in descent.check(broken)]
    assert passed == [False, True, True, False, True]
    broken["log_loss"].loc[{"case": "quarter"}] = 0.0
    broken["log_loss"].loc[{"case": "half"}] = 0.0
    assert [each.passed for each in descent.check(broken)] == [False, False, True, False, False]


def test_the_check_of_training_notices_what_trains_and_what_does_not(datasets):
    broken = datasets["training"].copy(deep=True)
    swapped = {"half": "one", "one": "half", "quarter": "half", "feed-forward-1": "half"}
    for case, source in swapped.items():
        broken["loss"].loc[{"case": case}] = datasets["training"]["loss"].sel(case=source)
    assert [each.passed for each in training.check(broken)] == [False] * 4


def test_the_check_of_practice_notices_exchanged_networks(datasets):
    broken = datasets["practice"].copy(deep=True)
    other = {"plain": "tau", "tau": "plain"}
    for name in broken["network"].to_numpy():
        kind, scaling, depth = name.split("/")
        source = datasets["practice"].sel(network=f"{kind}/{other[scaling]}/{depth}")
        for value in ("last_error", "diverged_at"):
            broken[value].loc[{"network": name}] = source[value]
    assert [each.passed for each in practice.check(broken)] == [False] * 4


def test_the_mean_rate_is_that_of_all_draws_of_all_parts(datasets):
    middle, reach = descent.mean_rates(datasets["descent"], "half")
    values = datasets["descent"]["rate"].sel(case="half").transpose("depth", ...).to_numpy()
    flat = values.reshape(len(middle), -1)
    assert flat.shape[1] == 8
    assert np.allclose(middle, flat.mean(axis=1))
    assert np.allclose(reach, 1.96 * flat.std(axis=1, ddof=1) / np.sqrt(8))


def test_settings_that_cannot_run_are_refused():
    with pytest.raises(ValueError, match="must not repeat width=64"):
        descent.Config(width=64)
