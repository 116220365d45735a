"""Phases, large widths, shapes and digits: checks that notice wrong numbers."""

import importlib

import numpy as np
import pytest
import xarray as xr

from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
NAMES = ("chaos", "digits", "large_width", "lazy_limit", "phases", "shape")
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
        # As if r D/(LM) and r / (LM) were the borders, and movement did not know of r.
        broken["movement"] = broken["movement"].mean("alpha") * broken["alpha"] ** -0.2
        tilt = broken["dimension"].astype(float) ** 0.5 * broken["size"].astype(float) ** 0.5
        broken["movement"] = broken["movement"] * tilt / float(tilt.mean())
        broken["fluctuation"] = broken["fluctuation"] * tilt / float(tilt.mean())
    elif name == "chaos":
        # Units with noise of their own: a half instead of one.
        size = (broken["depth"] * broken["hidden_width"]).astype(float)
        broken["covariance"] = broken["covariance"] * size
    elif name == "lazy_limit":
        broken["apart"] = broken["apart"] * broken["alpha"] + 0.1
        broken["noise"] = broken["noise"] * broken["alpha"]
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


def made_phases(power: float) -> xr.Dataset:
    """Return exact phases: movement .35/a at a = r LM / D^power, fluctuation .6 r sqrt(LM)."""
    phases = EXPERIMENTS["phases"]
    config = phases.SCALES["laptop"]
    dimension, size, alpha, spread, path = (
        xr.DataArray(np.array(values, dtype=float), dims=name, coords={name: list(values)})
        for name, values in (
            ("dimension", config.dimensions), ("size", config.sizes), ("alpha", config.alphas),
            ("spread", config.spreads), ("path", range(6)),
        )
    )  # fmt: skip
    noise = 1 + 0.01 * np.cos(7 * path + 3 * size) * np.sin(path + dimension)
    # The axis alpha is in units of sqrt(D).
    movement = 0.35 / alpha * dimension ** (power - 0.5) * noise
    return xr.Dataset({"movement": movement, "fluctuation": 0.6 * spread * noise})


def test_exact_phases_pass_and_another_power_of_the_dimension_fails():
    phases = EXPERIMENTS["phases"]
    words = {each.claim: each.word for each in phases.check(made_phases(0.5))}
    assert set(words.values()) == {"pass"}, words
    claim = "r at which neurons move by their size: exponent of D"
    # Below a half the border leaves the scales that are measured.
    for power, word in ((0.25, "not decided"), (0.6, "FAIL"), (0.75, "FAIL")):
        words = {each.claim: each.word for each in phases.check(made_phases(power))}
        assert words[claim] == word


def test_the_rate_of_half_halves_the_loss():
    phases = EXPERIMENTS["phases"]
    x, y = phases.data(4)
    net = phases.network(4, 256, 1.0)
    weights = net.sample(n_paths=2, seed=0)
    rate = phases.rate_of_half(net, x, y, weights, 3)
    losses = net.descend(x, y, weights, steps=3, learning_rate=rate).losses.mean(dim=1)
    # Five bisections of a factor of two.
    assert 0.5 ** (1 + 1 / 16) <= float(losses[-1] / losses[0]) <= 0.5


def test_a_movement_that_does_not_cross_decides_nothing():
    made = made_phases(0.5)
    far = made.assign(movement=made["movement"] / 100)
    words = [each.word for each in EXPERIMENTS["phases"].check(far)]
    assert words[:2] == ["not decided", "not decided"]


def test_the_best_shape_of_exact_errors_is_found():
    dimensions = 2.0 ** np.arange(2, 9)
    budget, a, b = 2.0**16, 0.9, 0.4
    errors = np.sqrt(a**2 / dimensions + b**2 * dimensions**2 / budget + 0.01**2)
    best, error = EXPERIMENTS["shape"].best(dimensions, errors)
    optimum = (a**2 * budget / (2 * b**2)) ** (1 / 3)
    assert best == pytest.approx(optimum)
    assert error == pytest.approx(np.sqrt(a**2 / optimum + b**2 * optimum**2 / budget + 0.01**2))
