"""Descent, training and practice of Zhang et al.: checks that can fail, and pictures."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from limits.sweeps.experiment import PACKAGE, package_of_experiments
from tests.experiments.stored import stored

package_of_experiments()
descent, training, practice, _best_rates = (
    importlib.import_module(f"{PACKAGE}.zhang2022.{name}")
    for name in ("descent", "training", "practice", "_best_rates")
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


def made_up_training(
    exponents: dict[str, float], *, spread: float = 0.05, rates: dict[str, float] | None = None
) -> xr.Dataset:
    """Make up test losses that go like L^exponent at best rates of order L^rate / lambda."""
    depths, shares = np.array([4, 16, 64]), 2.0 ** np.arange(0, 10)
    cases, rates = list(training.CASES), rates or {}
    kernel = {"half": 0.1, "one": -0.9, "quarter": 1.0, "feed-forward": 1.0}
    noise = spread * np.random.default_rng(0).standard_normal((len(cases), 3, 2, 1, 4))
    loss = np.empty((len(cases), 3, 2, len(shares), 4))
    best = np.empty((len(cases), 3))
    for i, case in enumerate(cases):
        for j, depth in enumerate(depths):
            at = 16 * (depth / 4) ** rates.get(case, 0.0)
            best[i, j] = shares[np.abs(np.log(shares / at)).argmin()]
            curve = np.square(np.log(shares / best[i, j])) / 10
            loss[i, j] = np.exp(curve[:, None] + noise[i, j]) * 0.2 * depth ** exponents[case]
    eigenvalues = [[depth ** kernel[case] for depth in depths] for case in cases]
    return xr.Dataset(
        {
            "loss": (("case", "depth", "kind", "share", "path"), loss),
            "best_share": (("case", "depth"), best),
            "inside": (("case", "depth"), np.ones(best.shape, dtype=bool)),
            "eigenvalue": (("case", "depth"), eigenvalues),
        },
        coords={
            "case": cases, "depth": depths, "kind": list(training.KINDS), "share": shares,
            "path": np.arange(4),
        },
        attrs={"width": 8, "epochs": 2, "batch": 64},
    )  # fmt: skip


FLAT = {"half": 0.0, "one": 0.0, "quarter": 0.3, "feed-forward": 0.3}


def test_the_check_of_training_follows_what_depth_does():
    assert [each.word for each in training.check(made_up_training(FLAT))] == ["pass"] * 5
    slow = made_up_training({"half": 0.2, "one": 0.2, "quarter": 0.0, "feed-forward": 0.0})
    assert [each.word for each in training.check(slow)][:4] == ["FAIL"] * 4
    # 1/L at the rates of L^-1/2: lambda times the rate falls with depth.
    still = training.check(made_up_training(FLAT, rates={"one": -1.0}))
    assert still[4].word == "FAIL"
    noisy = training.check(made_up_training(FLAT, spread=1.0))
    assert [each.word for each in noisy][:2] == ["not decided"] * 2


def test_the_check_of_training_takes_no_best_rate_at_the_end_of_its_grid():
    dataset = made_up_training(FLAT)
    dataset["inside"][:] = False
    assert {each.word for each in training.check(dataset)} == {"not decided"}
    # Where no rate trains all draws there is no best one, and the scaling has lost.
    lost = made_up_training(FLAT)
    lost["best_share"].loc[{"case": "quarter", "depth": 64}] = np.nan
    assert training.check(lost)[2].passed


def test_stored_curves_of_other_scalings_are_noticed(datasets):
    broken = datasets["training"].copy(deep=True)
    swapped = {"half": "quarter", "one": "quarter", "quarter": "half", "feed-forward": "half"}
    for case, source in swapped.items():
        for name in ("loss", "best_share", "inside", "eigenvalue"):
            broken[name].loc[{"case": case}] = (
                datasets["training"][name].sel(case=source).transpose(*broken[name].dims[1:])
                if broken[name].dims[0] == "case"
                else datasets["training"][name].sel(case=source)
            )
    assert not any(each.passed for each in training.check(broken))


def test_rates_are_tried_around_the_best_of_the_coarse_ones():
    asked = []

    def losses(rate: float) -> np.ndarray:
        asked.append(rate)
        return np.exp([np.square(np.log2(rate / 3)), 0.0])

    found = _best_rates.searched(losses, (1.0, 2.0, 4.0, 8.0))
    assert asked[4:] == pytest.approx([4 / 2**0.5, 4 * 2**0.5])
    assert _best_rates.best_of(found) == pytest.approx(4 / 2**0.5)
    assert _best_rates.is_inside(found)
    assert not _best_rates.is_inside({1.0: np.ones(2), 2.0: 2 * np.ones(2)})
    assert _best_rates.best_of({1.0: np.array([1.0, np.inf])}) is None


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
