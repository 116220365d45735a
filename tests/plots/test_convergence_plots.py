"""Errors on a logarithmic axis: what it cannot show, and what cannot be drawn at all."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import limits
from limits.plots.look import positive, style
from limits.reports.figures import png_bytes

INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _closed():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def study(errors=(0.4, 0.2, 0.1), **changes) -> xr.Dataset:
    numbers = {
        "error": ("depth", np.array(errors)),
        "standard_error": ("depth", np.full(len(errors), 0.01)),
        "order": 1.0,
        "order_low": 0.9,
        "order_high": 1.1,
        "expected_order": 1.0,
    }
    depths = 4 * 2 ** np.arange(len(errors))
    return xr.Dataset(numbers | changes, coords={"depth": depths})


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -INF, -1.0, 1e-320])
def test_an_error_that_a_logarithmic_axis_cannot_show_is_named_in_the_legend(bad):
    axes = limits.plots.convergence(study((0.4, bad, 0.1)), name="mine")
    line = axes.get_lines()[0]
    assert np.array_equal(np.isnan(np.asarray(line.get_ydata())), [False, True, False])
    assert str(line.get_label()).endswith(f"not shown: L = 8: {bad:g}")
    low, high = axes.get_ylim()
    assert 0 < low < 0.1 < 0.4 < high < 10
    axes.figure.savefig(io.BytesIO())


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -1.0])
def test_a_study_without_any_error_to_show_is_an_empty_frame_that_says_so(bad):
    axes = limits.plots.convergence(study((bad, bad, bad, bad)))
    assert "and 1 more" in str(axes.get_lines()[0].get_label())
    axes.figure.savefig(io.BytesIO())


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -1.0, 1e308])
@pytest.mark.parametrize("name", ["standard_error", "order", "order_low", "expected_order"])
def test_any_number_beside_the_errors_can_be_drawn(name, bad):
    dataset = study()
    dataset[name][...] = bad if name == "standard_error" or bad < 1e300 else INF
    axes = limits.plots.convergence(dataset)
    assert np.isfinite(np.asarray(axes.get_lines()[0].get_ydata())).all()


def test_the_line_of_theory_passes_through_the_deepest_error_that_is_shown():
    axes = limits.plots.convergence(study((0.4, 0.2, INF)))
    assert np.allclose(axes.get_lines()[1].get_ydata(), [0.4, 0.2, 0.1])


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (study()["error"], "found DataArray"),
        ([0.4, 0.2], "found list"),
        (None, "found NoneType"),
        (study().drop_vars("standard_error"), "standard_error is missing"),
        (study().expand_dims(law=2), "Choose one line with dataset.sel"),
        (study().isel(depth=[]), "Choose one line"),
        (study().assign_coords(depth=[0, 8, 16]), "depths positive"),
        (study().assign_coords(depth=["a", "b", "c"]), "real numbers"),
        (study(error=("depth", [1j, 2, 3])), "real numbers"),
        (study(closed_form=("depth", [1j, 2, 3])), "real numbers"),
        (study(expected_order=((), 0.5j)), "real numbers"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_remedy(given, remedy):
    with pytest.raises(limits.StoreError, match=remedy):
        limits.plots.convergence(given)


def test_several_axes_are_refused():
    with pytest.raises(limits.LimitsError, match=r"panels\[0\]"):
        limits.plots.convergence(study(), ax=plt.subplots(1, 2)[1])


def test_infinity_and_what_rounds_to_nothing_have_no_place_on_the_axis():
    assert np.array_equal(np.isnan(positive([1e300, 5e-324, 1e-3, 3])), [True, True, False, False])


def drawn() -> bytes:
    with style():
        axes = limits.plots.convergence(study())
        payload = png_bytes(axes.figure)
        plt.close(axes.figure)
    return payload


def test_settings_of_the_user_change_no_byte_and_are_back_afterwards():
    plain = drawn()
    theirs = {
        "axes.facecolor": "black",
        "font.size": 20,
        "text.usetex": True,
        "savefig.facecolor": "red",
        "savefig.bbox": "tight",
        "xtick.minor.visible": True,
        "figure.dpi": 30,
        "axes.formatter.limits": [-1, 1],
        "path.sketch": (1, 100, 2),
    }
    with plt.rc_context(theirs):
        assert drawn() == plain
        assert plt.rcParams["text.usetex"]
        assert plt.rcParams["figure.dpi"] == 30
