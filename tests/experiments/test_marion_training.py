"""Figures 8 and 9: what their numbers say, and checks that can fail."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from experiments.marion2025 import fig8, fig9
from limits.sweeps import run
from tests.experiments.stored import at_smoke_scale, stored


@pytest.fixture(scope="module")
def weights() -> xr.Dataset:
    return stored("marion2025.fig8")


@pytest.fixture(scope="module")
def accuracies() -> xr.Dataset:
    return stored("marion2025.fig9")


def test_training_keeps_the_regularity_of_the_weights(weights):
    verdicts = fig8.check(weights)
    assert [each for each in verdicts if not each.passed] == []
    assert len(verdicts) == 4
    after = weights["hurst"].sel(stage="after", bound="value")
    assert float(after.sel(case="smooth-1")) > 1.8
    assert abs(float(after.sel(case="iid-half")) - 0.5) < 0.05
    change = weights["weight"].sel(stage="after") - weights["weight"].sel(stage="before")
    assert np.allclose(change, weights["weight"].sel(stage="change"), atol=1e-6)


def test_the_check_of_figure_eight_notices_weights_that_became_rough(weights):
    broken = weights.copy(deep=True)
    broken["regularity"].loc[{"case": "smooth-1", "stage": "after"}] = "rough"
    broken["hurst"].loc[{"case": "smooth-1", "stage": "after"}] = 0.5
    assert [each.passed for each in fig8.check(broken)] == [False, False, True, True]


@pytest.mark.thorough
def test_the_accuracy_map_fails_in_its_corner_and_works_at_its_border():
    accuracies = at_smoke_scale(fig9)
    verdicts = fig9.check(accuracies)
    assert [each for each in verdicts if not each.passed] == []
    assert len(verdicts) == 5
    best = fig9.best(accuracies)
    assert best.shape == (3, 3)
    assert np.nan_to_num(best[0, 2]) < 0.25 < 0.9 < best[1, 1]


def test_the_check_of_figure_nine_notices_a_wrong_map(accuracies):
    everything = accuracies.copy(deep=True)
    everything["accuracy"][:] = 0.95
    assert [each.passed for each in fig9.check(everything)] == [False, True, True, True, False]
    nothing = accuracies.copy(deep=True)
    nothing["accuracy"][:] = 0.1
    assert [each.passed for each in fig9.check(nothing)] == [True, False, False, False, False]


def test_the_best_of_a_cell_ignores_runs_that_diverged():
    accuracy = np.array([[[np.nan, 0.5], [np.nan, np.nan]]])
    dataset = xr.Dataset({"accuracy": (("hurst", "beta", "learning_rate"), accuracy)})
    best = fig9.best(dataset)
    assert best.shape == (2, 1)
    assert best[0, 0] == 0.5
    assert np.isnan(best[1, 0])


def test_settings_that_cannot_run_are_refused():
    with pytest.raises(ValueError, match="--folder PATH"):
        replace(fig9.SCALES["laptop"], data="mnist")
    with pytest.raises(ValueError, match="must lie below width=30"):
        replace(fig8.SCALES["laptop"], row=30)


def test_figure_nine_reads_files_on_disk(tmp_path):
    from tests.vocabulary.test_data import write_cifar, write_mnist

    write_mnist(tmp_path, n_train=20)
    write_cifar(tmp_path)
    for data, classes in (("mnist", 3), ("cifar10", 10)):
        config = replace(
            fig9.SCALES["smoke"], data=data, folder=str(tmp_path), hursts=(0.5,), betas=(0.5,),
            learning_rates=(1e-3,), depth=8, epochs=1,
        )  # fmt: skip
        dataset = run(fig9, config, seed=0)
        assert dataset.attrs["n_classes"] == classes
        assert [each.passed for each in fig9.check(dataset)][0::3] == [False, False]
        assert "nan (0 cells)" in fig9.check(dataset)[3].measured
