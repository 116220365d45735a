"""Phases, large widths, shapes and digits: checks that notice wrong numbers."""

import importlib

import numpy as np
import pytest
import xarray as xr

from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
NAMES = ("digits", "large_width", "phases", "shape")
EXPERIMENTS = {name: importlib.import_module(f"{PACKAGE}.chizat2025.{name}") for name in NAMES}


# Thousands of paths to bootstrap.
STORED = [
    pytest.param(name, marks=pytest.mark.thorough) if name == "shape" else name for name in NAMES
]


@pytest.fixture(scope="module", params=STORED)
def finished(request):
    module = EXPERIMENTS[request.param]
    return request.param, module, stored(f"chizat2025.{request.param}")


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


def test_numbers_that_are_missing_or_wide_do_not_pass(finished):
    name, module, dataset = finished
    broken = dataset.copy(deep=True)
    if name == "shape":
        # As good at every D: no optimum.
        broken["square"] = broken["square"] * 0 + 1
        assert not any(each.passed for each in module.check(broken))
    if name == "large_width":
        middle = broken["output"].mean("net")
        broken["output"] = middle + 10 * (broken["output"] - middle)
        assert module.check(broken)[1].word == "not decided"
        broken = dataset.assign(output=dataset["output"] + 0.05)
        assert module.check(broken)[1].failed


def test_an_exponent_that_is_missing_decides_nothing(monkeypatch):
    shape = EXPERIMENTS["shape"]
    found = np.array([[1 / 3, np.nan], [0.32, -0.17], [0.35, -0.16]])
    monkeypatch.setattr(shape, "slopes", lambda _: found)
    empty = xr.Dataset(coords={"budget": [1, 2]})
    assert [each.word for each in shape.check(empty)] == ["pass", "not decided"]


def test_borders_have_the_exponents_of_their_phases():
    phases = EXPERIMENTS["phases"]
    sizes, tried = 2.0 ** np.arange(4, 17), np.logspace(-5, 1, 400)
    alpha = tried * sizes[:, None] / 10**0.5
    random = tried * sizes[:, None] ** 0.5
    index = np.select([random > 5, random > 0.5, alpha > 3.3, alpha > 0.3], [4, 3, 2, 1])
    made = xr.Dataset({"phase": (("size", "scale"), index)}, coords={"size": sizes, "scale": tried})
    found = phases.borders(made)
    expected = {"complete": -1, "lazy": -1, "random": -0.5, "explosive": -0.5}
    assert found == pytest.approx(expected, abs=0.01)
    made["phase"][:] = 1
    assert all(np.isnan(each) for each in phases.borders(made).values())


def test_the_best_shape_of_exact_errors_is_found():
    dimensions = 2.0 ** np.arange(2, 9)
    budget, a, b = 2.0**16, 0.9, 0.4
    errors = np.sqrt(a**2 / dimensions + b**2 * dimensions**2 / budget + 0.01**2)
    best, error = EXPERIMENTS["shape"].best(dimensions, errors)
    optimum = (a**2 * budget / (2 * b**2)) ** (1 / 3)
    assert best == pytest.approx(optimum)
    assert error == pytest.approx(np.sqrt(a**2 / optimum + b**2 * optimum**2 / budget + 0.01**2))
