"""Phases, large widths, shapes and digits at smoke scale: their claims on numbers."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest

from limits.sweeps import run
from limits.sweeps.experiment import PACKAGE, package_of_experiments

package_of_experiments()
NAMES = ("digits", "large_width", "phases", "shape")
EXPERIMENTS = {name: importlib.import_module(f"{PACKAGE}.chizat2025.{name}") for name in NAMES}
COUNTS = {"phases": 4, "large_width": 5, "shape": 3, "digits": 4}


@pytest.fixture(scope="module", params=sorted(EXPERIMENTS))
def finished(request):
    module = EXPERIMENTS[request.param]
    return request.param, module, run(module, module.SCALES["smoke"], seed=0)


def test_every_claim_holds_at_smoke_scale(finished):
    name, module, dataset = finished
    verdicts = module.check(dataset)
    assert [each for each in verdicts if not each.passed] == []
    assert len(verdicts) == COUNTS[name]


def test_every_figure_is_drawn(finished):
    _, module, dataset = finished
    figure = module.draw(dataset)
    assert len(figure.axes) >= 2
    plt.close(figure)


def test_the_checks_notice_wrong_numbers(finished):
    name, module, dataset = finished
    broken = dataset.copy(deep=True)
    if name == "phases":
        broken["phase"][:] = 1
        broken["feature_movement"] = broken["feature_movement"] ** 2
        broken["weight_movement"] = broken["weight_movement"] ** 2
        broken["output_fluctuation"] = broken["output_fluctuation"] ** 2
    elif name == "large_width":
        broken["limit"] = broken["limit"] * 1.01
        broken["error"] = broken["error"] ** 2
    elif name == "shape":
        tilt = broken["budget"].astype(float) ** 0.5
        broken["square"] = broken["square"] * (1 + broken["dimension"] * tilt / 1e3)
    else:
        broken["output"] = broken["output"] * (1 + broken["hidden_width"] / 10)
        broken["loss"] = broken["loss"] * (1 + broken["hidden_width"] / 10)
        broken["own_error"] = broken["own_error"] + 1
        broken["accuracy"][:] = 0.1
    assert not any(each.passed for each in module.check(broken))


def test_the_best_shape_of_exact_errors_is_found():
    dimensions = 2.0 ** np.arange(2, 9)
    budget, a, b = 2.0**16, 0.9, 0.4
    errors = np.sqrt(a**2 / dimensions + b**2 * dimensions**2 / budget + 0.01**2)
    best, error = EXPERIMENTS["shape"].best(dimensions, errors)
    optimum = (a**2 * budget / (2 * b**2)) ** (1 / 3)
    assert best == pytest.approx(optimum)
    assert error == pytest.approx(np.sqrt(a**2 / optimum + b**2 * optimum**2 / budget + 0.01**2))
