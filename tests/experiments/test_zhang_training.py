"""Descent, training and practice of Zhang et al.: checks that can fail, and pictures."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
descent, training, practice = (
    importlib.import_module(f"{PACKAGE}.zhang2022.{name}")
    for name in ("descent", "training", "practice")
)
MODULES = {"descent": descent, "training": training, "practice": practice}


@pytest.fixture(scope="module")
def datasets():
    return {name: stored(f"zhang2022.{name}") for name in MODULES}


def planted(dataset: xr.Dataset, names: tuple[str, ...], swapped: dict[str, str]) -> list[bool]:
    """Return whether verdicts pass where cases have the numbers of other cases."""
    broken = dataset.copy(deep=True)
    for case, source in swapped.items():
        for name in names:
            broken[name].loc[{"case": case}] = dataset[name].sel(case=source).to_numpy()
    return [each.passed for each in descent.check(broken)]


def test_the_check_of_descent_notices_exchanged_scalings(datasets):
    right = datasets["descent"]
    exchanged = {"one": "quarter", "half": "quarter", "quarter": "one", "feed-forward": "one"}
    passed = planted(right, ("log_condition",), exchanged)
    assert passed[:3] == [False] * 3
    assert not passed[5]
    # Networks that stay where they are do not follow their kernel.
    still = right.copy(deep=True)
    still["log_loss"][:] = still["log_loss"].isel(step=0)
    assert [each.passed for each in descent.check(still)][3:5] == [False] * 2


def test_the_check_of_descent_notices_widths_that_are_all_alike(datasets):
    right = datasets["descent"]
    widths = [case for case in right["case"].to_numpy() if case.startswith("half-")]
    for same in (widths[0], widths[-1]):
        swapped = dict.fromkeys(widths, same)
        passed = planted(right, ("log_loss", "log_condition"), swapped)
        assert passed == [True] * 6 + [False]


def test_intervals_of_shares_are_those_of_clopper_and_pearson():
    # Of 10 draws without a hit, 1 - 0.005^(1/10).
    assert descent.share_interval(0, 10) == pytest.approx((0, 1 - 0.005**0.1))
    assert descent.share_interval(10, 10) == pytest.approx((0.005**0.1, 1))


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


PUBLISHED = {
    "batch/plain": (8.07, 7.39, 6.73, 6.61, 6.92),
    "batch/tau": (7.89, 7.16, 6.17, 5.83, 5.01),
    "none/plain": (9.0,),
    "none/tau": (8.0,),
}
"""Per cent on CIFAR-10 at 20 to 110 layers and at 1202, as the paper has them; none made up."""


def on_cifar10(**changes):
    layers, values = (20, 32, 44, 110, 1202), {}
    for kind, found in (PUBLISHED | changes).items():
        values |= {f"{kind}/{depth}": each for depth, each in zip(layers, found, strict=False)}
    last = np.array(list(values.values()))[:, None] / 100
    shape = ("network", "draw")
    return xr.Dataset(
        {
            "last_error": (shape, last),
            "error": ((*shape, "epoch"), np.stack([2 * last, last], axis=-1)),
            "diverged_at": (shape, np.full(last.shape, -1)),
        },
        coords={"network": list(values), "epoch": [1, 2]},
        attrs={"data": "CIFAR-10", "chance": 0.9},
    )


def test_the_check_of_practice_takes_the_published_errors_and_not_their_opposite():
    assert [each.passed for each in practice.check(on_cifar10())] == [True] * 3
    worse = on_cifar10(**{"batch/tau": (7.89, 7.16, 6.17, 6.62, 5.01)})
    assert [each.passed for each in practice.check(worse)] == [False, True, True]
    even = on_cifar10(**{"batch/tau": (7.89, 7.16, 6.17, 5.83, 6.80)})
    assert [each.passed for each in practice.check(even)] == [True, False, True]


def test_published_networks_are_named_by_layers():
    figure = practice.draw(on_cifar10())
    assert figure.axes[0].get_xlabel() == "layers $6n+2$"
    assert figure.axes[1].get_title().endswith("1202 layers")
    plt.close(figure)


def test_the_epoch_of_a_divergence_is_that_of_the_numbers():
    dataset = on_cifar10()
    dataset["error"].loc[{"network": "none/tau/20", "epoch": 2}] = np.nan
    dataset["diverged_at"].loc[{"network": "none/tau/20"}] = 400
    figure = practice.draw(dataset)
    assert [each.get_text() for each in figure.axes[2].texts] == [
        "$\\tau=L^{-1/2}$: 1 of 1\ndiverged by epoch 2"
    ]
    plt.close(figure)


def test_settings_that_cannot_run_are_refused():
    with pytest.raises(ValueError, match="must not repeat width=64"):
        descent.Config(width=64)
    with pytest.raises(ValueError, match="narrow_depth=5 must be one of"):
        descent.Config(narrow_depth=5)
