"""Figures of Chizat (2025): checks that can fail, and the problem that they share."""

import importlib

import numpy as np
import pytest
import torch
import xarray as xr

import limits
from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import at_smoke_scale, stored

package_of_experiments()
FIGURES = ("alpha", "orders", "output_error", "reference")
figure = {name: importlib.import_module(f"{PACKAGE}.chizat2025.{name}") for name in FIGURES}
problem = importlib.import_module(f"{PACKAGE}.chizat2025._problem")


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return {name: stored(f"chizat2025.{name}") for name in FIGURES}


def failing(name: str, dataset: xr.Dataset) -> list[str]:
    return [each.claim for each in figure[name].check(dataset) if not each.passed]


def test_networks_without_the_right_scale_are_noticed(results):
    broken = results["orders"].copy(deep=True)
    broken["deviation"] = broken["deviation"] * broken["depth"] ** -0.1
    broken["common"] = broken["common"] * broken["depth"] ** 0.3
    claims = failing("orders", broken)
    assert sum("slope of the fluctuation in L" in claim for claim in claims) == 3
    assert not any("in M" in claim for claim in claims)
    assert "k = 10: slope of the bias in L" in claims
    assert "k = 0: standard deviation times sqrt(LM/D)" in claims


@pytest.mark.thorough
def test_errors_that_add_linearly_or_with_other_constants_are_noticed():
    right = at_smoke_scale(figure["output_error"])
    shape = np.sqrt(10 / (right["depth"] * right["hidden_width"]))
    linear = right.assign(
        error=(0.37 * shape + 0.25 / right["depth"]).expand_dims({"step": 1, "path": 8})
    )
    linear = linear.assign_coords(step=right["step"])
    assert any("quadrature" in claim for claim in failing("output_error", linear))
    doubled = right.assign(error=2 * right["error"])
    assert failing("output_error", doubled)[0].endswith("constants of the fit in quadrature")


def test_a_network_that_is_not_at_its_limit_is_noticed(results):
    right = results["reference"]
    away = right.assign(gap=3 * right["gap"], particle=right["particle"] + 0.2)
    assert len(failing("reference", away)) == 3


@pytest.mark.thorough
def test_features_that_do_not_move_and_outputs_that_spread_are_noticed():
    right = at_smoke_scale(figure["alpha"])
    assert len(failing("alpha", right.assign(change=0.5 * right["change"]))) == 3
    assert len(failing("alpha", right.assign(deviation=1.6 * right["deviation"]))) == 2


def test_the_constant_of_the_start_is_the_integral():
    x, _ = problem.data(10)
    normals = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    second = torch.tanh(x.square().mean(dim=1).sqrt() * normals[:, None]).square().mean()
    assert figure["orders"].exact_constant(10) == pytest.approx(float(second.sqrt()), rel=0.005)


def test_all_published_points_are_compared():
    module = figure["output_error"]
    config = module.SCALES["laptop"]
    assert set(module.GRID) == set(config.depths) == set(config.hidden_widths)
    error = np.full((9, 9, 2, 5), 0.02) * np.linspace(0.9, 1.1, 5)
    dataset = xr.Dataset(
        {"error": (("depth", "hidden_width", "step", "path"), error)},
        coords={"depth": list(module.GRID), "hidden_width": list(module.GRID), "step": [10, 100]},
        attrs={"width": 10, "n_paths": 5},
    )
    points = module.published_points(dataset)
    assert len(points) == 48
    assert ("L=3, M=1", 0.682) in [each[:2] for each in points]
    assert ("L=316, M=316", 0.00319) in [each[:2] for each in points]
    assert sum(each[3] for each in points) < 24


@pytest.mark.slow
def test_outputs_after_ten_steps_are_known_to_one_in_ten_thousand():
    # 50 s on one core.
    x, y = problem.data(10)
    solver = limits.ParticleTransport(particles=2**18, nodes=4, replicates=16, tolerance=1e-4)
    solution = solver.solve(limits.MeanODE(10), x, y, steps=10, seed=0)
    assert float(solution.standard_errors[0] + solution.depth_errors[0]) < 1e-4
