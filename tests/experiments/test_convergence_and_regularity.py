"""The two experiments at smoke scale: their own verdicts, their figures, their settings."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import limits
from experiments import convergence
from experiments.beyond import regularity
from tests.experiments.stored import stored

SEED = 0


def computed(module: object, config: object, **only: tuple[object, ...]) -> xr.Dataset:
    """Run every task of an experiment and glue the results, as the command line does."""
    ((name, values),) = (module.axes(config) | only).items()
    parts = [module.task(config, seed=SEED, **{name: value}) for value in values]
    return xr.concat(
        parts, xr.DataArray(list(values), dims=name, name=name), combine_attrs="drop_conflicts",
        join="outer", coords="minimal", compat="override", data_vars="all",
    )  # fmt: skip


@pytest.fixture(scope="module")
def borders() -> xr.Dataset:
    config = replace(regularity.SCALES["smoke"], n_paths=1000, depths=(16, 32, 64, 128, 256))
    return computed(regularity, config)


@pytest.mark.thorough
def test_regularity_at_smoke_scale_passes_its_own_check(borders: xr.Dataset) -> None:
    verdicts = regularity.check(borders)
    assert len(verdicts) == 3
    assert all(isinstance(each, limits.Verdict) for each in verdicts)
    assert [each for each in verdicts if not each.passed] == []


@pytest.mark.thorough
def test_regularity_measures_orders_and_borders_of_every_index(borders: xr.Dataset) -> None:
    hursts = borders["hurst"].to_numpy()
    np.testing.assert_array_equal(hursts, [0.1, 0.5, 0.7])
    orders = borders["order"].sel(bound="value").to_numpy()
    assert abs(orders - [0.4, 0.5, 0.4]).max() < 0.08
    corrected = borders["corrected_order"].sel(bound="value").to_numpy()
    assert np.isnan(corrected[:2]).all()
    assert abs(corrected[2] - 0.9) < 0.12
    low, high = (borders["order"].sel(bound=bound).to_numpy() for bound in ("low", "high"))
    assert (low < orders).all()
    assert (orders < high).all()
    border = borders["critical"].sel(bound="value").to_numpy()
    assert abs(border - np.maximum(hursts, 0.5)).max() < 0.12


def test_check_of_regularity_fails_on_wrong_numbers() -> None:
    borders = stored("beyond.regularity")
    for name in ("order", "corrected_order", "critical"):
        wrong = borders.copy()
        wrong[name] = wrong[name] + 0.3
        failed = [each for each in regularity.check(wrong) if not each.passed]
        assert len(failed) == 1


def test_theoretical_order_has_an_isolated_point_at_one_half() -> None:
    found = [regularity.theoretical_order(hurst) for hurst in (0.1, 0.4999, 0.5, 0.5001, 0.9)]
    assert found == pytest.approx([0.4, 0.0001, 0.5, 0.0002, 0.8])


@pytest.mark.parametrize("n_betas", [5, 21])
def test_border_is_found_where_growth_crosses_zero(n_betas: int) -> None:
    tried = regularity.betas(replace(regularity.SCALES["smoke"], n_betas=n_betas), 0.7)
    assert (tried.min(), tried.max()) == pytest.approx((0.45, 0.95))
    growth = np.tile(0.72 - tried, (3, 1))
    assert regularity._zero_with_interval(tried, growth, 0) == pytest.approx((0.72,) * 3)
    assert np.isnan(regularity._zero(tried, np.ones(n_betas)))


LINES = ("young-one", "young-wide", "young-corrected", "weak-linear")


@pytest.fixture(scope="module")
def lines() -> xr.Dataset:
    """Compute the new lines, at a size between nothing and smoke; the old ones cost nothing."""
    config = replace(
        convergence.SCALES["smoke"],
        n_paths=64,
        ode_paths=64,
        young_paths=128,
        weak_paths=4000,
        width=4,
    )
    return computed(convergence, config, line=tuple(convergence.LINES))


@pytest.mark.thorough
def test_convergence_draws_four_panels_with_every_line(lines: xr.Dataset) -> None:
    figure = convergence.draw(lines)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    titles = [ax.get_title() for ax in figure.axes]
    assert ["SDE" in titles[0], "ODE" in titles[1], "Young" in titles[2]] == [True] * 3
    assert "in law" in titles[3]
    assert "$H=0.7$" in titles[2]
    # Three lines, the leading term of the scalar one and the sum of two terms of the wide one.
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert sum("width" in label for label in labels) == 3
    assert any("equal at" in label for label in labels)


@pytest.mark.thorough
def test_convergence_measures_the_orders_of_the_new_panels(lines: xr.Dataset) -> None:
    orders = {line: float(lines["order"].sel(line=line)) for line in LINES}
    # Over 8 seeds: 0.366 to 0.400, 0.853 to 0.918, 0.735 to 0.808 (wide), 0.826 to 1.129 (weak).
    assert abs(orders["young-one"] - 0.4) < 0.06
    assert abs(orders["young-corrected"] - 0.9) < 0.12
    assert orders["young-wide"] < orders["young-corrected"] - 0.05
    assert abs(orders["weak-linear"] - 1) < 0.4
    verdicts = {each.claim: each for each in convergence.check(lines)}
    for claim in ("young: the correction helps", "weak-linear: closed form at every depth"):
        assert verdicts[claim].passed, verdicts[claim]


def test_two_terms_are_fitted_exactly_where_there_are_two() -> None:
    depths, hurst = np.array([8.0, 16, 32, 64]), 0.7
    squared = 0.3 * depths ** (2 - 4 * hurst) + 5 * depths ** (1 - 4 * hurst)
    line = xr.Dataset({"error": ("depth", np.sqrt(squared))}, coords={"depth": depths})
    a, c, crossover = convergence.two_terms(line, hurst)
    assert (a, c, crossover) == pytest.approx((0.3, 5, 50 / 3))


@pytest.mark.slow
def test_convergence_at_smoke_scale_passes_its_own_check() -> None:
    verdicts = convergence.check(computed(convergence, convergence.SCALES["smoke"]))
    assert [each for each in verdicts if not each.passed] == []


@pytest.mark.slow
def test_regularity_at_its_own_smoke_scale_passes_its_own_check() -> None:
    verdicts = regularity.check(computed(regularity, regularity.SCALES["smoke"]))
    assert [each for each in verdicts if not each.passed] == []


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1/2, 1\).*found 0\.3"):
        convergence.Config(hurst=0.3)
    with pytest.raises(ValueError, match=r"deep=100.*multiple of shallow=64"):
        regularity.Config(shallow=64, deep=100)
