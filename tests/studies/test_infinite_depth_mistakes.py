"""What an infinite-depth expectation refuses, each with numbers and a remedy."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import limits

TANH = limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")
WIDTH = 3
BROWNIAN = limits.BrownianPath(WIDTH)
SMOOTH = limits.SmoothPath(WIDTH)
H0 = torch.ones(1, WIDTH, dtype=torch.float64)


def norm(h: Tensor) -> Tensor:
    return h.norm(dim=-1)


def ask(net: limits.ResNet = TANH, path: limits.WeightPath = BROWNIAN, **changed: object) -> object:
    arguments = {"functional": norm, "h0": H0, "tolerance": 0.1, "seed": 0} | changed
    return limits.infinite_depth_expectation(net, path, arguments.pop("functional"), **arguments)


TRAINED = limits.TrainedPath(torch.ones(8, WIDTH, WIDTH, dtype=torch.float64), index=1.0)
ROUGH = limits.FractionalPath(WIDTH, hurst=0.2)
TWO = torch.ones(2, WIDTH, dtype=torch.float64)

CASES: dict[str, tuple[Callable[[], object], type, str]] = {
    "tolerance of zero": (
        lambda: ask(tolerance=0), limits.LimitsError, r"found 0\. Pass for example tolerance=0\.001"
    ),
    "negative tolerance": (lambda: ask(tolerance=-1e-3), limits.LimitsError, r"found -0\.001"),
    "tolerance that is not a number": (
        lambda: ask(tolerance=math.nan), limits.LimitsError, r"positive finite number, found nan"
    ),
    "tolerance as text": (lambda: ask(tolerance="1e-3"), limits.LimitsError, r"found '1e-3'"),
    "confidence of everything": (
        lambda: ask(confidence=1.0), limits.LimitsError, r"for example confidence=0\.95"
    ),
    "confidence as text": (
        lambda: ask(confidence="95 %"), limits.LimitsError, r"between 0 and 1, found '95 %'"
    ),
    "tolerance beyond the budget": (
        lambda: ask(tolerance=1e-9), limits.LimitsError,
        r"tolerance=1e-09 needs at least \d\S+ layer evaluations.*a larger tolerance, or budget=",
    ),
    "budget below the pilot": (
        lambda: ask(budget=100), limits.LimitsError, r"more than budget=1e\+02\."
    ),
    "budget of nothing": (lambda: ask(budget=0), limits.LimitsError, r"budget must be a positive"),
    "first depth of zero": (
        lambda: ask(first_depth=0), limits.ShapeError, r"first_depth must be a positive integer"
    ),
    "coupling that does not exist": (
        lambda: ask(coupling="weights"), limits.LimitsError, r'"isotropic" or "path"'
    ),
    "functional that is no function": (
        lambda: ask(functional="norm"), limits.LimitsError, r"must be callable, found 'norm'"
    ),
    "functional that keeps an axis": (
        lambda: ask(functional=lambda h: h), limits.ShapeError, r"Reduce the last axis only"
    ),
    "functional that drops an axis": (
        lambda: ask(functional=lambda h: h.sum()), limits.ShapeError, r"Reduce the last axis only"
    ),
    "functional that is not finite": (
        lambda: ask(functional=lambda h: norm(h) / 0), limits.NonFiniteStateError,
        r"finite on these states",
    ),
    "progress that is no function": (
        lambda: ask(progress=1), limits.LimitsError, r"progress\(done, total, label\), found 1"
    ),
    "input per path": (
        lambda: ask(h0=torch.ones(4, 1, WIDTH).double()), limits.ShapeError, r"\(4, 1, 3\)"
    ),
    "input of another width": (
        lambda: ask(h0=torch.ones(1, 5).double()), limits.ShapeError, r"\(1, 5\)"
    ),
    "input of another precision": (lambda: ask(h0=H0.float()), limits.DTypeError, r"float32"),
    "input that is not finite": (
        lambda: ask(h0=H0 / 0), limits.NonFiniteStateError, r"h0 has 3 NaN or infinite"
    ),
    "seed that is negative": (lambda: ask(seed=-1), limits.LimitsError, r"found -1"),
    "explosion": (
        lambda: ask(limits.ResNet("tanh", beta=0.2)), limits.NoLimitError, r"Use beta=0\.5"
    ),
    "contraction": (
        lambda: ask(limits.ResNet("tanh", beta=0.2), ROUGH), limits.NoLimitError, r"Use beta=0\.5"
    ),
    "trained weights": (lambda: ask(path=TRAINED), limits.NoLimitError, r"no law.*TorchDiffEq"),
    "drift": (lambda: ask(path=ROUGH), limits.NoLimitError, r"deterministic.*TorchDiffEq"),
    "isotropic noise for smooth weights": (
        lambda: ask(path=SMOOTH, coupling="isotropic"), limits.NoLimitError, r'coupling="path"'
    ),
    "weight path where only laws converge": (
        lambda: ask(RES3, coupling="path"), limits.NoLimitError, r'Use coupling="isotropic"'
    ),
    "two inputs without a joint law": (
        lambda: ask(RES3, limits.IIDPath(WIDTH), h0=TWO), limits.NoLimitError, r"one input"
    ),
    "kernel without a closed form": (
        lambda: ask(limits.ResNet("tanh", block="res-2"), limits.IIDPath(WIDTH)),
        limits.NoLimitError, r"Use BrownianPath, or relu",
    ),
    "no network": (lambda: ask(net="tanh"), limits.LimitsError, r"needs a ResNet"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_mistake_is_answered_with_its_remedy(name: str) -> None:
    action, error, message = CASES[name]
    with pytest.raises(error, match=message):
        action()
