"""Mistakes a user can make with the new laws and limits: each gets numbers and a remedy."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import limits
from limits.activations import as_activation

WIDTH = 3
H0 = torch.ones(1, WIDTH, dtype=torch.float64)
TANH = limits.ResNet("tanh")
RES2 = limits.ResNet("tanh", block="res-2")
RES3 = limits.ResNet("relu", block="res-3")
YOUNG = limits.FractionalPath(WIDTH, hurst=0.7)
ROUGH = limits.FractionalPath(WIDTH, hurst=0.2)
BROWNIAN = limits.BrownianPath(WIDTH)
V = torch.ones(8, WIDTH, WIDTH, dtype=torch.float64)


class Problem:
    """A correct problem, to be spoilt."""

    noise_type, sde_type = "diagonal", "ito"

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return -y

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return 0.1 * y


def problem(**changed: object) -> object:
    """Return a problem with some attributes replaced."""
    return type("Problem", (Problem,), changed)()


def without(*missing: str) -> object:
    """Return a problem that lacks some attributes."""
    members = {k: v for k, v in vars(Problem).items() if not k.startswith("__")}
    return type("Partial", (), {k: v for k, v in members.items() if k not in missing})()


EQUATION = limits.from_torchsde(Problem())


def noise(**changed: object) -> limits.NoiseSample:
    arguments = {"depth": 8, "n_paths": 4, "seed": 0, "channels": WIDTH} | changed
    return EQUATION.sample(**arguments)


def law_noise(net: limits.ResNet = RES3, path: limits.WeightPath = BROWNIAN, **changed: object):
    arguments = {"depth": 8, "n_paths": 4, "seed": 0} | changed
    return limits.depth_limit(net, path).sample(**arguments)


def solve_foreign(y0: object = H0, driver: object = None, steps: object = None) -> object:
    driver = noise() if driver is None else driver
    return limits.EulerMaruyama(steps=steps).solve(EQUATION, y0, driver)


def study(**changed: object) -> limits.ConvergenceStudy:
    arguments = {"depths": (2, 4, 8), "n_paths": 4, "seed": 0} | changed
    net, path = arguments.pop("net", TANH), arguments.pop("path", YOUNG)
    return limits.convergence_study(net, path, **arguments)


def out(path: limits.WeightPath = YOUNG, **changed: object) -> limits.Trajectory:
    arguments = {"depth": 8, "n_paths": 4, "seed": 0} | changed
    return TANH(H0, path.sample(**arguments))


def squared(h: Tensor) -> Tensor:
    return h.square().sum(dim=-1)


HALF_PATHS = torch.ones(2, 1, WIDTH, dtype=torch.float64)
NAN = torch.full((8, WIDTH, WIDTH), float("nan"))

# What is done, the class of the error, and what its message must say: the numbers and the remedy.
CASES: dict[str, tuple[Callable[[], object], type, str]] = {
    # fractional weights
    "hurst of zero": (
        lambda: limits.FractionalPath(WIDTH, hurst=0),
        limits.LimitsError,
        r"strictly between 0 and 1, found 0\. Use 0\.5",
    ),
    "hurst of one": (
        lambda: limits.FractionalPath(WIDTH, hurst=1.0),
        limits.LimitsError,
        r"found 1\.0\..*SmoothPath",
    ),
    "hurst that is negative": (
        lambda: limits.FractionalPath(WIDTH, hurst=-0.3),
        limits.LimitsError,
        r"found -0\.3",
    ),
    "hurst that is not a number": (
        lambda: limits.FractionalPath(WIDTH, hurst=float("nan")),
        limits.LimitsError,
        r"found nan",
    ),
    "hurst as text": (
        lambda: limits.FractionalPath(WIDTH, hurst="0.7"),
        limits.LimitsError,
        r"found '0\.7'",
    ),
    "hurst as a truth value": (
        lambda: limits.FractionalPath(WIDTH, hurst=True),
        limits.LimitsError,
        r"found True",
    ),
    "fractional width of zero": (
        lambda: limits.FractionalPath(0, hurst=0.7),
        limits.ShapeError,
        r"width must be a positive integer, found 0",
    ),
    "fractional seed that is negative": (
        lambda: YOUNG.sample(depth=8, n_paths=4, seed=-1),
        limits.LimitsError,
        r"found -1.*seed=0",
    ),
    "fractional draw in half precision": (
        lambda: YOUNG.sample(depth=8, n_paths=4, seed=0, dtype=torch.float16),
        limits.DTypeError,
        r"float16.*dtype=torch\.float64",
    ),
    "fractional reading at a depth that does not divide": (
        lambda: YOUNG.sample(depth=64, n_paths=4, seed=0).at_depth(10),
        limits.DepthMismatchError,
        r"64 at depth 10.*depth=320",
    ),
    "fractional weights between layers": (
        lambda: YOUNG.sample(depth=8, n_paths=4, seed=0).weights_at(0.3),
        limits.LimitsError,
        r"no weights at t=0\.3.*sample\.increments",
    ),
    "fractional weights as a Brownian motion": (
        lambda: YOUNG.sample(depth=8, n_paths=4, seed=0).as_torchsde(),
        limits.CouplingError,
        r"fractional-0\.7.*BrownianPath",
    ),
    # trained weights
    "trained weights of two axes": (
        lambda: limits.TrainedPath(V[0], index=1.0),
        limits.ShapeError,
        r"\(layer, width, width\), found .*\(3, 3\).*torch\.stack",
    ),
    "trained weights that are not square": (
        lambda: limits.TrainedPath(V[:, :2], index=1.0),
        limits.ShapeError,
        r"\(8, 2, 3\)",
    ),
    "trained weights that are whole numbers": (
        lambda: limits.TrainedPath(V.long(), index=1.0),
        limits.ShapeError,
        r"int64",
    ),
    "trained weights as a list": (
        lambda: limits.TrainedPath([V[0], V[1]], index=1.0),
        limits.ShapeError,
        r"found list.*torch\.stack",
    ),
    "trained weights of no layer": (
        lambda: limits.TrainedPath(V[:0], index=1.0),
        limits.ShapeError,
        r"\(0, 3, 3\)",
    ),
    "trained weights that diverged": (
        lambda: limits.TrainedPath(NAN, index=1.0),
        limits.NonFiniteStateError,
        r"72 NaN or infinite entries out of 72.*checkpoint",
    ),
    "trained inner weights that diverged": (
        lambda: limits.TrainedPath(V, index=1.0, inner=NAN.double()),
        limits.NonFiniteStateError,
        r"72 NaN or infinite entries out of 72",
    ),
    "trained inner weights of another depth": (
        lambda: limits.TrainedPath(V, index=1.0, inner=V[:4]),
        limits.ShapeError,
        r"\(8, 3, 3\)",
    ),
    "trained index of two": (
        lambda: limits.TrainedPath(V, index=2),
        limits.LimitsError,
        r"\(0, 1\], found 2",
    ),
    "trained weights read at a depth that does not divide": (
        lambda: limits.TrainedPath(V, index=1.0).sample(depth=3),
        limits.DepthMismatchError,
        r"8 trained layers at depth 3.*divisor of 8",
    ),
    "trained weights in a study": (
        lambda: study(path=limits.TrainedPath(V, index=1.0)),
        limits.LimitsError,
        r"asked for 4",
    ),
    # blocks
    "unknown block": (
        lambda: limits.ResNet("tanh", block="res-4"),
        limits.LimitsError,
        r"'res-4'.*res-1, res-2, res-3",
    ),
    "res-3 with tanh": (
        lambda: limits.ResNet("tanh", block="res-3"),
        limits.LimitsError,
        r'"res-3".*\'tanh\'.*block="res-2"',
    ),
    "block that is a class and not an object": (
        lambda: limits.ResNet("tanh", block=3.0),
        limits.LimitsError,
        r"found float",
    ),
    "corrected network on independent weights": (
        lambda: limits.depth_limit(limits.ResNet("tanh", corrected=True), BROWNIAN),
        limits.NoLimitError,
        r"H > 1/2.*brownian.*Leave out corrected=True",
    ),
    # limits
    "limit of a path and a network in the wrong order": (
        lambda: limits.depth_limit(YOUNG, TANH),
        limits.LimitsError,
        r"found FractionalPath and ResNet",
    ),
    "unknown form": (
        lambda: limits.depth_limit(TANH, YOUNG, form="weak"),
        limits.LimitsError,
        r'"path" or "law", found \'weak\'',
    ),
    "weights for a limit in law": (
        lambda: limits.EulerMaruyama().solve(
            limits.depth_limit(RES3, BROWNIAN), H0, BROWNIAN.sample(depth=8, n_paths=4, seed=0)
        ),
        limits.CouplingError,
        r"law only.*limit\.sample\(depth=",
    ),
    "noise for a limit path by path": (
        lambda: limits.EulerMaruyama().solve(limits.depth_limit(TANH, BROWNIAN), H0, law_noise()),
        limits.CouplingError,
        r"Pass the WeightSample",
    ),
    "weights of another Hurst index": (
        lambda: limits.EulerMaruyama().solve(
            limits.depth_limit(TANH, YOUNG),
            H0,
            limits.FractionalPath(WIDTH, hurst=0.8).sample(depth=8, n_paths=4, seed=0),
        ),
        limits.CouplingError,
        r"fractional-0\.7 weights, the draw is one of fractional-0\.8",
    ),
    "noise of too many steps": (
        lambda: limits.EulerMaruyama(steps=3).solve(
            limits.depth_limit(RES3, BROWNIAN), H0, law_noise()
        ),
        limits.DepthMismatchError,
        r"3 steps.*drawn with 8",
    ),
    "noise read at a depth that does not divide": (
        lambda: law_noise().at_depth(3),
        limits.DepthMismatchError,
        r"8 steps with 3 steps",
    ),
    "noise of no steps": (
        lambda: law_noise(depth=0),
        limits.ShapeError,
        r"depth must be a positive integer, found 0",
    ),
    "noise in half precision": (
        lambda: law_noise(dtype=torch.float16),
        limits.DTypeError,
        r"float16",
    ),
    "noise of whole numbers": (
        lambda: noise(dtype=torch.int64),
        limits.DTypeError,
        r"int64",
    ),
    "rough law of two inputs": (
        lambda: limits.EulerMaruyama().solve(
            limits.depth_limit(RES3, ROUGH), H0.expand(2, -1), law_noise(path=ROUGH)
        ),
        limits.NoLimitError,
        r"2 inputs.*one input at a time",
    ),
    "rough law of res-2": (
        lambda: limits.EulerMaruyama().solve(
            limits.depth_limit(limits.ResNet("tanh", block="res-2"), ROUGH),
            H0,
            law_noise(path=ROUGH),
        ),
        limits.NoLimitError,
        r"H = 0\.2.*block=\"res-3\"",
    ),
    "contraction solved": (
        lambda: limits.EulerMaruyama().solve(
            limits.depth_limit(limits.ResNet("tanh", beta=0.2), ROUGH),
            H0,
            ROUGH.sample(depth=8, n_paths=4, seed=0),
        ),
        limits.NoLimitError,
        r"beta=0\.2.*critical exponent 0\.5.*shrink",
    ),
    "Young limit given to torchdiffeq": (
        lambda: limits.TorchDiffEq().solve(
            limits.depth_limit(TANH, YOUNG), H0, YOUNG.sample(depth=8, n_paths=4, seed=0)
        ),
        limits.SolverError,
        r"kind 'young'",
    ),
    "closed form of a wide network": (
        lambda: limits.ClosedForm().solve(
            limits.depth_limit(limits.ResNet("identity"), YOUNG),
            H0,
            YOUNG.sample(depth=8, n_paths=4, seed=0),
        ),
        limits.NoLimitError,
        r"width 3.*EulerMaruyama on a deeper draw",
    ),
    # weak errors
    "weak study without a functional": (
        lambda: study(error="weak", reference=64),
        limits.LimitsError,
        r"functional=None.*functional=lambda h",
    ),
    "strong study with a functional": (
        lambda: study(functional=squared),
        limits.LimitsError,
        r"only a weak error takes one",
    ),
    "strong study against a number": (
        lambda: study(reference=2.7),
        limits.LimitsError,
        r'2\.7 is an expectation.*error="weak"',
    ),
    "strong study of a limit in law": (
        lambda: study(net=RES3, path=BROWNIAN),
        limits.CouplingError,
        r'res-3.*in law only.*error="weak"',
    ),
    "weak study of a limit in law without a reference": (
        lambda: study(net=RES3, path=BROWNIAN, error="weak", functional=squared),
        limits.CouplingError,
        r"exact expectation as reference=, a float",
    ),
    "reference that is not deeper": (
        lambda: study(reference=8),
        limits.DepthMismatchError,
        r"reference depth 8.*reference=128",
    ),
    "reference that is no multiple": (
        lambda: study(reference=100),
        limits.DepthMismatchError,
        r"100 must be a larger multiple.*\(8,\)",
    ),
    "functional of the wrong shape": (
        lambda: limits.weak_error(out(), 0.0, functional=lambda h: h.sum()),
        limits.ShapeError,
        r"\(4, 1\).*Reduce the last axis",
    ),
    "functional that is none": (
        lambda: limits.weak_error(out(), 0.0, functional=None),
        limits.LimitsError,
        r"functional",
    ),
    "weak error against a text": (
        lambda: limits.weak_error(out(), "e", functional=squared),
        limits.LimitsError,
        r"'e'|str",
    ),
    "weak error against a number that is none": (
        lambda: limits.weak_error(out(), float("nan"), functional=squared),
        limits.LimitsError,
        r"nan",
    ),
    "strong error of two draws": (
        lambda: limits.strong_error(out(), out(seed=1)),
        limits.CouplingError,
        r"#\w+ and #\w+.*use weak_error",
    ),
    "strong error of two Hurst indices": (
        lambda: limits.strong_error(out(), out(ROUGH)),
        limits.CouplingError,
        r"use weak_error",
    ),
    # torchsde's problems
    "problem without a drift": (
        lambda: limits.from_torchsde(without("f")),
        limits.SolverError,
        r"Partial lacks f\..*f\(t, y\)",
    ),
    "problem without a diffusion": (
        lambda: limits.from_torchsde(without("g")),
        limits.SolverError,
        r"lacks g or g_prod",
    ),
    "problem without anything": (
        lambda: limits.from_torchsde(object()),
        limits.SolverError,
        r"object lacks f, noise_type, sde_type, g or g_prod",
    ),
    "problem in the Stratonovich sense": (
        lambda: limits.from_torchsde(problem(sde_type="stratonovich")),
        limits.SolverError,
        r"'stratonovich'.*Add the drift correction",
    ),
    "problem of unknown noise": (
        lambda: limits.from_torchsde(problem(noise_type="full")),
        limits.SolverError,
        r"'full'.*diagonal, additive, scalar, general",
    ),
    "interval that is empty": (
        lambda: limits.from_torchsde(Problem(), start=1.0, stop=1.0),
        limits.LimitsError,
        r"start=1\.0 must lie before stop=1\.0",
    ),
    "interval that is infinite": (
        lambda: limits.from_torchsde(Problem(), stop=float("inf")),
        limits.LimitsError,
        r"inf",
    ),
    "problem driven by weights": (
        lambda: solve_foreign(driver=YOUNG.sample(depth=8, n_paths=4, seed=0)),
        limits.CouplingError,
        r"equation\.sample\(\.\.\.\) or a torchsde Brownian motion, found WeightSample",
    ),
    "problem with too many channels": (
        lambda: solve_foreign(driver=noise(channels=5)),
        limits.ShapeError,
        r"5 channels.*Sample with channels",
    ),
    "problem of no channels": (
        lambda: noise(channels=0),
        limits.ShapeError,
        r"channels must be a positive integer, found 0",
    ),
    "problem with a state of one axis": (
        lambda: solve_foreign(y0=H0[0]),
        limits.ShapeError,
        r"found \(3,\).*y0\[None\]",
    ),
    "problem with as many states as other paths": (
        lambda: solve_foreign(y0=HALF_PATHS),
        limits.ShapeError,
        r"\(4, input, width\), found \(2, 1, 3\)",
    ),
    "problem with a state that is a list": (
        lambda: solve_foreign(y0=[[1.0, 2.0, 3.0]]),
        limits.ShapeError,
        r"found list",
    ),
    "problem with a state that is not finite": (
        lambda: solve_foreign(y0=H0 / 0),
        limits.NonFiniteStateError,
        r"y0.*Clean the data",
    ),
    "problem with steps that do not divide": (
        lambda: solve_foreign(steps=3),
        limits.DepthMismatchError,
        r"8 steps with 3 steps",
    ),
    "motion of torchsde without a number of steps": (
        lambda: solve_foreign(driver=noise().as_torchsde()),
        limits.SolverError,
        r"no grid.*steps=1024",
    ),
    "solution that is kept in an unknown way": (
        lambda: limits.EulerMaruyama().solve(EQUATION, H0, noise(), keep="some"),
        limits.LimitsError,
        r"'some'",
    ),
    "solution that overflows": (
        lambda: limits.EulerMaruyama().solve(
            limits.from_torchsde(problem(f=lambda self, t, y: y**9 * 1e40)), 1e9 * H0, noise()
        ),
        limits.NonFiniteStateError,
        r"8 steps overflowed in 4 of 4.*Use more steps",
    ),
    "foreign equation given to torchsde's solver": (
        lambda: limits.TorchSDE().solve(EQUATION, H0, noise()),
        limits.LimitsError,
        r"found ForeignSDE",
    ),
    "averaged block over an activation's name": (
        lambda: limits.ResNet("identity", block=limits.AveragedInner("tanh")).__call__(
            H0, YOUNG.sample(depth=8, n_paths=4, seed=0)
        ),
        limits.LimitsError,
        r"'tanh'",
    ),
    "bias that is not a number": (
        lambda: limits.Inner(as_activation("tanh"), bias=float("nan")),
        limits.LimitsError,
        r"nan",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_mistake_is_answered_with_numbers_and_a_remedy(name: str) -> None:
    act, expected, message = CASES[name]
    with pytest.raises(limits.LimitsError) as caught:
        act()
    assert isinstance(caught.value, expected)
    text = str(caught.value)
    assert re.search(message, text, re.DOTALL), text
    # A sentence that ends, and not somebody else's traceback.
    assert text.rstrip().endswith(".")
    assert "Traceback" not in text


def test_there_are_enough_mistakes() -> None:
    assert len(CASES) >= 25
