"""Stability, law and spectral edge of Zhang et al.: checks that can fail."""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import limits
from limits import sweeps
from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import at_smoke_scale, stored

package_of_experiments()
NAMES = ("stability", "law", "edge")
figure = {name: importlib.import_module(f"{PACKAGE}.zhang2022.{name}") for name in NAMES}


@pytest.fixture(scope="module")
def results() -> dict[str, xr.Dataset]:
    return {name: stored(f"zhang2022.{name}") for name in NAMES}


def failing(name: str, dataset: xr.Dataset) -> list[str]:
    return [each.claim for each in figure[name].check(dataset) if not each.passed]


def test_another_exponent_is_noticed(results):
    right = results["stability"]
    swapped = right.assign_coords(beta=[0.5, 1.0, 0.25, 0.4])
    claims = failing("stability", swapped)
    assert any("Monte Carlo mean" in claim for claim in claims)
    assert any("L^-0.25: exponent" in claim for claim in claims)
    assert any("regime" in claim for claim in claims)


def test_layers_that_do_not_follow_the_closed_form_are_noticed(results):
    right = results["stability"]
    wrong = right.assign(mean_square=right["mean_square"] * 0.5)
    assert [claim[:8] for claim in failing("stability", wrong)] == ["realised"]


def test_gradients_of_another_regime_are_noticed(results):
    right = results["stability"]
    wrong = right.copy(deep=True)
    exploding = right["log_ratio"].sel(quantity="gradient", beta=0.25)
    wrong["log_ratio"].loc[{"quantity": "gradient", "beta": 0.5}] = exploding.to_numpy()
    assert [claim[:8] for claim in failing("stability", wrong)] == ["gradient"]


def test_a_growth_whose_exponent_is_off_by_a_hundredth_is_noticed(results):
    right = results["stability"]
    tilt = (right["depth"] / right["depth"][0]) ** 0.01
    claims = failing("stability", right.assign(log_ratio=right["log_ratio"] * tilt))
    assert ["exponent g" in claim for claim in claims].count(True) == 2


def test_without_reflection_in_steps_the_growth_would_be_refused(results):
    """Over all depths the bare power law is off: 1 - c tau is what decides."""
    part = results["stability"].isel(width=-1).sel(beta=0.25)
    mean, error, _ = figure["stability"].mean_logs(part, "output")
    depths = part["depth"].to_numpy().astype(float)
    width = int(part["width"])
    found, spread, share = figure["stability"].fitted_growth(
        depths, mean, error, width=width, beta=0.25
    )
    assert abs(found - 0.5) < 2.58 * spread
    assert share == pytest.approx(0.5, abs=0.1)
    bare = np.polyfit(np.log(depths), np.log(mean), 1, w=mean / error)[0]
    assert abs(bare - 0.5) > 5 * spread


def test_the_law_of_another_block_is_noticed(results, monkeypatch):
    exact = limits.closed_forms.log_norm_law

    def other(block: str, width: int, *, coefficient: float) -> object:
        return exact("res-3", width, coefficient=coefficient)

    monkeypatch.setattr(limits.closed_forms, "log_norm_law", other)
    assert len(failing("law", results["law"])) == 4


@pytest.mark.thorough
def test_without_extrapolation_the_mean_would_be_refused():
    dataset = at_smoke_scale(figure["law"])
    found = figure["law"].moments(dataset, 16)["mean"]
    exact = limits.closed_forms.log_norm_law("post-relu", 16).mean
    assert abs(found[0, 0] - exact) > 0.06
    assert found[0, 0] < found[0, 1] < found[0, 2] < exact


def test_an_extrapolation_of_exact_points_is_exact():
    depths = np.array([10.0, 40.0, 90.0])
    points = np.stack([0.7 - 0.3 * depths**-0.5, [0.1, 0.2, 0.3]])
    value, error, slope = figure["law"].extrapolated(depths, points)
    assert value == pytest.approx(0.7)
    assert slope == pytest.approx(-0.3)
    assert error > 0


def test_another_temperature_of_the_edge_is_noticed(results):
    right = results["edge"]
    assert len(failing("edge", right.assign(norm=right["norm"] * 1.3))) == 6


def test_the_edge_of_infinite_width_is_refused_where_its_shift_is_resolved(results, monkeypatch):
    edge = figure["edge"]
    exact = edge.exact
    monkeypatch.setattr(edge, "exact", lambda case, depths, width=None: exact(case, depths))
    refused = {claim.partition(":")[0] for claim in failing("edge", results["edge"])}
    assert {"T=1/4", "T=1", "T=4", "L^-0.25"} <= refused


def test_histograms_at_laptop_scale_ask_for_what_was_promised():
    laptop = figure["law"].SCALES["laptop"]
    assert laptop.widths == (16, 128)
    assert laptop.depths[-1] == 4000
    edge = figure["edge"].SCALES["laptop"]
    assert (edge.width, edge.n_draws, edge.most_draws) == (400, 5, 10)
    assert edge.depths[-2:] == (200, 1000)
    assert figure["stability"].SCALES["laptop"].depths[-1] == 10**4


@pytest.mark.thorough
def test_single_precision_is_enough_for_the_spectral_norm():
    net, path = limits.ResNet("identity", beta=0.5, coefficient=2.0), limits.BrownianPath(50)
    norms = []
    for dtype in (torch.float32, torch.float64):
        sample = path.sample(depth=1000, n_paths=2, seed=0, dtype=dtype)
        products = net(torch.eye(50, dtype=dtype), sample).terminal
        norms.append(torch.linalg.matrix_norm(products, ord=2).double())
    assert torch.allclose(norms[0], norms[1], rtol=1e-4)


def test_the_edge_at_finite_depth_is_what_wide_products_have():
    """At m = 500 the mean of two draws ends 1 % or less below the edge: m^(-2/3)."""
    net = limits.ResNet("identity", beta=0.0, coefficient=0.8)
    sample = limits.BrownianPath(500).sample(depth=3, n_paths=2, seed=0, dtype=torch.float32)
    products = net(torch.eye(500), sample).terminal
    found = torch.linalg.matrix_norm(products, ord=2).double().mean()
    edge = float(limits.closed_forms.linear_product_edge(3, 0.8))
    assert float(found) / edge == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize(("depth", "scale"), [(1, 1.0), (5, 0.5)])
def test_finite_widths_end_below_the_edge_by_a_tracy_widom_shift(depth, scale):
    """At m = 100 the shift explains all but a fifth of the gap to the edge of infinite width."""
    net = limits.ResNet("identity", beta=0.0, coefficient=scale)
    sample = limits.BrownianPath(100).sample(depth=depth, n_paths=200, seed=0, dtype=torch.float32)
    products = net(torch.eye(100), sample).terminal
    found = float(torch.linalg.matrix_norm(products, ord=2).double().mean())
    edge = limits.closed_forms.linear_product_edge
    gap = float(edge(depth, scale)) - found
    assert gap > 0
    assert abs(float(edge(depth, scale, width=100)) - found) < 0.2 * gap


def test_the_edge_of_one_layer_and_of_many_are_the_known_ones():
    """I + W of circular law ends at (27/4)^(1/2); the limit at T = 1 is 4.593."""
    edge = limits.closed_forms.linear_product_edge
    assert float(edge(1, 1.0)) == pytest.approx(math.sqrt(27 / 4), rel=1e-9)
    for time in (0.25, 1.0, 4.0):
        limit = float(limits.closed_forms.linear_product_edge_limit(time))
        depths = np.array([1e4, 1e6])
        gaps = edge(depths, np.sqrt(time / depths)) / limit - 1
        assert abs(gaps[1]) < 1e-4
        assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.02)


@pytest.mark.slow
def test_variance_reduction_keeps_the_mean():
    """Both estimates of E|h_L|^2 / |h_0|^2 agree where the plain one can tell."""
    dataset = at_smoke_scale(figure["stability"]).sel(beta=0.5)
    plain = np.expm1(dataset["log_ratio"].sel(quantity="output"))
    error = np.sqrt(plain.var("draw", ddof=1) / dataset.sizes["draw"])
    gap = abs(plain.mean("draw") - dataset["mean_square"].mean("draw")) / error
    assert float(gap.max()) < 4
    assert float(dataset["mean_square"].std("draw").max()) < float(plain.std("draw").min())


def test_inputs_that_no_unit_sees_are_turned_round():
    analysed = importlib.import_module(f"{PACKAGE}.zhang2022._post_relu")
    h0 = analysed.inputs(2, n_inputs=200, seed=0)
    assert h0.shape == (200, 1, 2)
    assert bool((h0.sum(dim=-1) > 0).all())


@pytest.mark.thorough
def test_numbers_do_not_depend_on_the_other_tasks():
    module = figure["stability"]
    config = replace(module.SCALES["smoke"], widths=(16,), depths=(100,), betas=(0.25,))
    alone = sweeps.run(module, config, seed=0)
    together = at_smoke_scale(module).sel(beta=[0.25], depth=[100], width=[16])
    np.testing.assert_array_equal(
        alone["log_ratio"].transpose(*together["log_ratio"].dims), together["log_ratio"]
    )
