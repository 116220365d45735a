"""Numbers from numpy are numbers: taken wherever one is asked for, and made plain at once."""

import importlib
import inspect

import numpy as np
import pytest
import torch

import limits
from limits.scalars import plain, takes_numpy_numbers
from limits.sweeps.grid import tasks

MADE_BY_THE_LIBRARY = {
    "Block", "ConvergenceStudy", "ErrorSplit", "Growth", "InfiniteDepthExpectation", "Judgement",
    "LogNormal", "Recommendation", "ResidualStream", "ScaledResiduals", "ScaledStream",
    "StreamCheck", "Task", "TrainedClassifier", "TrainingPhase", "Trajectory", "WeightRegularity",
}  # fmt: skip
OF_WEIGHTS = {"as_activation"}
"""Asks for no number, but its annotation names a class with one in its name."""
H0 = torch.ones(1, 2, dtype=torch.float64)
PATH = limits.BrownianPath(2)
STUDY = {"n_paths": 16, "seed": 0}


def doors() -> dict[str, object]:
    """Return every function and class that the library offers."""
    wings = [importlib.import_module(f"limits.{each}") for each in limits._MODULES]
    found = [getattr(limits, name) for name in limits._HOMES]
    for wing in wings:
        names = getattr(wing, "__all__", None) or [n for n in dir(wing) if not n.startswith("_")]
        found += [getattr(wing, name) for name in names]
    return {
        each.__name__: each for each in found if inspect.isroutine(each) or inspect.isclass(each)
    }


def asks_for_numbers(door: object) -> bool:
    """Say whether a function, or the making of a class, has a parameter that is a number."""
    function = door.__init__ if isinstance(door, type) else door
    if not inspect.isfunction(inspect.unwrap(function)):
        return False
    notes = {n: str(a) for n, a in function.__annotations__.items() if n != "return"}
    return any(
        word
        in note.replace("<class '", "")
        .replace("'>", "")
        .replace("[", " ")
        .replace(",", " ")
        .split()
        for note in notes.values()
        for word in ("int", "float")
    )


def test_every_door_that_asks_for_a_number_takes_numpys():
    asking = {name: each for name, each in doors().items() if asks_for_numbers(each)}
    assert len(asking) > 40
    closed = {name for name, each in asking.items() if not takes_numpy_numbers(each)}
    assert closed <= MADE_BY_THE_LIBRARY | OF_WEIGHTS


@pytest.mark.parametrize(
    "value",
    [np.int8(8), np.uint64(8), np.float16(0.5), np.float64(0.5), np.array(8), np.longdouble(0.5)],
)
def test_scalars_and_arrays_without_axes_become_pythons_numbers(value):
    made = plain(value)
    assert type(made) in (int, float)
    assert made == value


def test_true_from_numpy_is_no_count():
    with pytest.raises(limits.ShapeError, match="positive integer"):
        PATH.sample(depth=np.bool_(True), n_paths=2, seed=0)


def test_arrays_of_data_are_left_alone():
    data = np.arange(6.0)
    assert plain(data) is data


@pytest.mark.parametrize("of", [np.int64, np.int8, np.uint16, np.array])
def test_a_draw_asked_for_in_numpys_integers_is_the_same_draw(of):
    asked = limits.BrownianPath(of(3)).sample(depth=of(8), n_paths=of(2), seed=of(5))
    usual = limits.BrownianPath(3).sample(depth=8, n_paths=2, seed=5)
    assert asked.tag == usual.tag
    assert torch.equal(asked.at_depth(of(4)).increments, usual.at_depth(4).increments)


def test_small_integers_do_not_overflow():
    out = limits.EulerMaruyama(steps=np.int8(64)).solve(
        limits.depth_limit(limits.ResNet("tanh"), PATH),
        H0,
        PATH.sample(depth=64, n_paths=2, seed=0),
    )
    assert out.depth == 64


def test_parameters_of_laws_and_networks_become_plain():
    assert type(limits.FractionalPath(2, hurst=np.float32(0.7)).hurst) is float
    assert type(limits.SmoothPath(2, length_scale=np.float32(0.1)).length_scale) is float
    assert type(limits.ResNet("tanh", beta=np.float32(0.5), coefficient=np.int64(1)).beta) is float
    assert type(limits.TrainedPath(torch.ones(4, 2, 2), index=np.float64(1)).index) is float


@pytest.mark.parametrize("kind", [np.asarray, tuple, list])
def test_depths_may_be_an_array_or_hold_numpys_integers(kind):
    depths = kind(2 ** np.arange(2, 5))
    study = limits.convergence_study(limits.ResNet("tanh"), PATH, depths=depths, **STUDY)
    usual = limits.convergence_study(limits.ResNet("tanh"), PATH, depths=(4, 8, 16), **STUDY)
    assert study.depths == usual.depths == (4, 8, 16)
    assert study.order == usual.order
    errors = [[2.0, 2.1], [1.0, 1.1], [0.5, 0.6]]
    assert limits.fit_order(errors, depths=depths, seed=np.int64(0)).depths == (4, 8, 16)


def test_residuals_are_scaled_by_numpys_numbers():
    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = torch.nn.Linear(2, 2)

        def forward(self, x):
            return x + self.branch(x)

    for tau in (np.float32(0.5), lambda depth: np.float64(0.5)):
        scaled = limits.scale_residuals(Residual(), tau, branch="branch", inputs=torch.ones(1, 2))
        assert type(scaled.tau) is float
        assert scaled.tau == 0.5


def test_weak_errors_are_taken_from_numpys_numbers():
    out = limits.ResNet("tanh")(H0, PATH.sample(depth=4, n_paths=8, seed=0))
    found = limits.weak_error(out, np.float64(1.0), functional=lambda h: h[..., 0])
    assert found == limits.weak_error(out, 1.0, functional=lambda h: h[..., 0])


def test_a_grid_of_numpys_numbers_has_the_same_tasks():
    asked = tasks({"width": np.array([8, 40]), "beta": [np.float64(0.5)]}, seed=np.int64(3))
    assert asked == tasks({"width": [8, 40], "beta": [0.5]}, seed=3)
