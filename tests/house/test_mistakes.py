"""Whatever a user gets wrong is answered by a `LimitsError` with the numbers and the remedy."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import limits
from tests.helpers import normal_inputs

F64, F32 = torch.float64, torch.float32
NAN, INF = math.nan, math.inf

BROWNIAN = limits.BrownianPath(4)
SMOOTH = limits.SmoothPath(4)
UNIFORM = limits.IIDPath(4)
TANH = limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")
H0 = normal_inputs(2, 4)


def brownian(depth: int = 64, **changes: Any) -> limits.WeightSample:
    return BROWNIAN.sample(depth=depth, **({"n_paths": 16, "seed": 0} | changes))


def smooth(depth: int = 64) -> limits.WeightSample:
    return SMOOTH.sample(depth=depth, n_paths=16, seed=0)


def noise(**changes: Any) -> limits.NoiseSample:
    return LAW.sample(**({"depth": 64, "n_paths": 16, "seed": 0} | changes))


SDE = limits.depth_limit(TANH, BROWNIAN)
ODE = limits.depth_limit(TANH, SMOOTH)
LAW = limits.depth_limit(RES3, BROWNIAN)
EXPLODING = limits.depth_limit(limits.ResNet("tanh", beta=0.25), BROWNIAN)
IDENTITY = limits.depth_limit(limits.ResNet("tanh", beta=2.0), BROWNIAN)


def out(seed: int = 0, depth: int = 64, **changes: Any) -> limits.Trajectory:
    return TANH(H0, brownian(depth, seed=seed), **changes)


def study(net: Any = TANH, path: Any = BROWNIAN, **changes: Any) -> limits.ConvergenceStudy:
    settings = {"depths": (4, 8, 16), "n_paths": 16, "seed": 0, "h0": H0, "reference": 32}
    return limits.convergence_study(net, path, **(settings | changes))


def weak_study(**changes: Any) -> limits.ConvergenceStudy:
    return study(**({"error": "weak", "functional": norm, "reference": 1.0} | changes))


def norm(h: Tensor) -> Tensor:
    return h.norm(dim=-1)


def errors(paths: int = 10) -> np.ndarray:
    return np.outer([1.0, 0.5, 0.25], np.linspace(1, 2, paths))


def dataset() -> xr.Dataset:
    return study().to_dataset()


def with_entry(value: float) -> Tensor:
    h0 = H0.clone()
    h0[1, 2] = value
    return h0


class Case(NamedTuple):
    """One mistake: the call, the error it deserves and a pattern of its message."""

    call: Callable[[], object]
    error: type[limits.LimitsError]
    message: str


def euler(limit: Any, h0: Any, sample: Any, **settings: Any) -> limits.Trajectory:
    return limits.EulerMaruyama(**settings).solve(limit, h0, sample)


class ImpatienceError(Exception):
    """Ends a computation that would go on for ever; no error that a library would catch."""


def impatient_tanh(most: int = 5000) -> Callable[[Tensor], Tensor]:
    calls = iter(range(most))

    def tanh(x: Tensor) -> Tensor:
        if next(calls, None) is None:
            raise ImpatienceError(f"more than {most} evaluations")
        return x.tanh()

    return tanh


DRAWS = {
    "width zero": Case(
        lambda: limits.BrownianPath(0), limits.ShapeError, r"positive integer, found 0.*width=64"
    ),
    "width of a float": Case(
        lambda: limits.SmoothPath(4.0), limits.ShapeError, r"positive integer, found 4\.0"
    ),
    "width of True": Case(lambda: limits.IIDPath(True), limits.ShapeError, "found True"),
    "depth zero": Case(lambda: brownian(0), limits.ShapeError, r"depth must .* found 0.*depth=64"),
    "negative depth": Case(lambda: brownian(-8), limits.ShapeError, "found -8"),
    "depth of a float": Case(lambda: brownian(8.0), limits.ShapeError, r"found 8\.0"),
    "depth of True": Case(lambda: brownian(True), limits.ShapeError, "found True"),
    "no paths": Case(lambda: brownian(n_paths=0), limits.ShapeError, "n_paths must .* found 0"),
    "paths of a string": Case(lambda: brownian(n_paths="16"), limits.ShapeError, "found '16'"),
    "negative seed": Case(lambda: brownian(seed=-1), limits.LimitsError, "found -1.*seed=0"),
    "seed of True": Case(lambda: brownian(seed=True), limits.LimitsError, "found True.*seed=0"),
    "seed of a float": Case(lambda: brownian(seed=1.0), limits.LimitsError, r"found 1\.0.*seed=0"),
    "no seed": Case(lambda: brownian(seed=None), limits.LimitsError, "found None.*seed=0"),
    "half precision": Case(
        lambda: brownian(dtype=torch.float16),
        limits.DTypeError,
        "float16.*Pass dtype=torch.float64",
    ),
    "dtype of a string": Case(
        lambda: brownian(dtype="float64"), limits.DTypeError, "float64.*Pass dtype=torch.float64"
    ),
    "a device that is not here": Case(
        lambda: brownian(device="cuda:63"), limits.DTypeError, 'cuda:63.*Pass device="cpu"'
    ),
    "a device that does not exist": Case(
        lambda: brownian(device="abacus"), limits.DTypeError, 'abacus.*Pass device="cpu"'
    ),
    "no device": Case(lambda: brownian(device=None), limits.DTypeError, 'None.*Pass device="cpu"'),
    "unknown law": Case(
        lambda: limits.IIDPath(4, law="cauchy"), limits.LimitsError, '"uniform" or.*cauchy'
    ),
    "unknown kernel": Case(
        lambda: limits.SmoothPath(4, kernel="rough"), limits.LimitsError, '"rbf" or.*rough'
    ),
    "length scale zero": Case(
        lambda: limits.SmoothPath(4, length_scale=0.0),
        limits.LimitsError,
        r"found 0\.0.*length_scale=0\.1",
    ),
    "length scale of NaN": Case(
        lambda: limits.SmoothPath(4, length_scale=NAN),
        limits.LimitsError,
        r"nan.*length_scale=0\.1",
    ),
    "length scale of a string": Case(
        lambda: limits.SmoothPath(4, length_scale="0.1"),
        limits.LimitsError,
        r"found '0\.1'.*length_scale=0\.1",
    ),
    "length scale below any layer": Case(
        lambda: limits.SmoothPath(4, length_scale=1e-6),
        limits.LimitsError,
        r"1e-06 needs [\d,]+ Fourier terms.*Use a longer length_scale",
    ),
}

READINGS = {
    "a depth that does not divide": Case(
        lambda: brownian(64).at_depth(10),
        limits.DepthMismatchError,
        r"10 does not divide 64.*depth=320, or use depths \(8, 16, 32, 64\)",
    ),
    "a depth beyond the drawn one": Case(
        lambda: smooth(64).at_depth(128), limits.DepthMismatchError, "128 does not divide 64.*128"
    ),
    "reading at depth zero": Case(
        lambda: brownian(64).at_depth(0), limits.DepthMismatchError, "Use for example depth=64"
    ),
    "reading at a float": Case(
        lambda: brownian(64).at_depth(8.0), limits.DepthMismatchError, r"8\.0.*depth=64"
    ),
    "noise at a depth that does not divide": Case(
        lambda: noise().at_depth(10), limits.DepthMismatchError, "10 does not divide 64.*multiple"
    ),
    "noise at True": Case(
        lambda: noise().at_depth(True), limits.DepthMismatchError, "True.*multiple"
    ),
    "weights between layers of a Brownian path": Case(
        lambda: brownian().weights_at(0.5), limits.LimitsError, r"t=0\.5.*Use SmoothPath"
    ),
    "weights after the last layer": Case(
        lambda: smooth().weights_at(1.5), limits.LimitsError, r"\[0, 1\].*1\.5.*Pass t = k / L"
    ),
    "weights before the first": Case(
        lambda: smooth().weights_at(torch.tensor([0.5, -0.25])),
        limits.LimitsError,
        r"-0\.25.*k / L",
    ),
    "weights at NaN": Case(lambda: smooth().weights_at(NAN), limits.LimitsError, "nan.*k / L"),
    "weights at a table of times": Case(
        lambda: smooth().weights_at(torch.zeros(2, 2)), limits.LimitsError, r"\(2, 2\).*k / L"
    ),
    "weights at a string": Case(lambda: smooth().weights_at("0.5"), limits.LimitsError, "k / L"),
    "a chunk of zero paths": Case(
        lambda: brownian().chunks(0), limits.ShapeError, "chunk must .* found 0.*chunk=64"
    ),
    "noise of another kind of path": Case(
        lambda: smooth().as_torchsde(), limits.CouplingError, "smooth-rbf.*Use BrownianPath"
    ),
    "an unknown unit of a sample": Case(
        lambda: brownian().as_torchsde(unit="years"), limits.LimitsError, "layer.*years"
    ),
    "an unknown unit of noise": Case(
        lambda: noise().as_torchsde(unit="years"), limits.LimitsError, "layer.*years"
    ),
    "an unknown unit of an equation": Case(
        lambda: SDE.as_torchsde(brownian(), unit="years"), limits.LimitsError, "layer.*years"
    ),
    "noise for no inputs": Case(
        lambda: noise().as_torchsde(n_inputs=0), limits.LimitsError, "n_inputs.*0"
    ),
    "noise increments for no inputs": Case(
        lambda: noise().increments(n_inputs=0), limits.LimitsError, "n_inputs.*0"
    ),
    "Brownian values instead of increments": Case(
        lambda: brownian().as_torchsde()(0.5), limits.SolverError, 'method="euler"'
    ),
    "a time off the grid": Case(
        lambda: brownian(64).as_torchsde()(0.0, 0.3),
        limits.SolverError,
        r"t=0\.3.*19\.200 layers.*Pass dt as a multiple of 0\.015625",
    ),
    "a time outside the path": Case(
        lambda: brownian(64).as_torchsde()(0.0, 2.0), limits.SolverError, "t=2.*drawn with 64"
    ),
}

NETWORKS = {
    "unknown activation": Case(
        lambda: limits.ResNet("swish"), limits.LimitsError, "swish.*Use one of identity.*callable"
    ),
    "no activation": Case(
        lambda: limits.ResNet(None), limits.LimitsError, "NoneType.*Use one of identity"
    ),
    "an activation that mixes entries": Case(
        lambda: limits.ResNet(lambda x: x.softmax(dim=-1)), limits.LimitsError, "Pass a pointwise"
    ),
    "an activation that fails": Case(
        lambda: limits.ResNet(lambda x: x @ x), limits.LimitsError, "failed.*entry by entry"
    ),
    "an activation that returns no tensor": Case(
        lambda: limits.ResNet(lambda x: 1.0), limits.LimitsError, "activation.*entry by entry"
    ),
    "unknown block": Case(
        lambda: limits.ResNet("tanh", block="res-9"), limits.LimitsError, "res-9.*Use one of res-1"
    ),
    "res-3 with tanh": Case(
        lambda: limits.ResNet("tanh", block="res-3"), limits.LimitsError, 'Use ResNet."relu"'
    ),
    "beta of NaN": Case(
        lambda: limits.ResNet("tanh", beta=NAN), limits.LimitsError, r"nan.*for example 0\.5"
    ),
    "beta with an infinite entry": Case(
        lambda: limits.ResNet("tanh", beta=torch.tensor([0.5, INF])), limits.LimitsError, "inf.*0.5"
    ),
    "beta of a string": Case(
        lambda: limits.ResNet("tanh", beta="critical"), limits.LimitsError, r"critical.*0\.5"
    ),
    "beta of a list": Case(
        lambda: limits.ResNet("tanh", beta=[0.5, 0.5])(H0, brownian()), limits.LimitsError, "beta"
    ),
    "beta of the wrong length": Case(
        lambda: limits.ResNet("tanh", beta=torch.full((3,), 0.5))(H0, brownian()),
        limits.ShapeError,
        r"shape \(3,\) for 2 inputs.*shape \(2,\)",
    ),
    "beta in a table": Case(
        lambda: limits.ResNet("tanh", beta=torch.full((1, 2), 0.5))(H0, brownian()),
        limits.ShapeError,
        r"shape \(1, 2\) for 2 inputs.*shape \(2,\)",
    ),
    "coefficient of infinity": Case(
        lambda: limits.ResNet("tanh", coefficient=INF), limits.LimitsError, r"inf.*Use 1\.0"
    ),
    "coefficient of a string": Case(
        lambda: limits.ResNet("tanh", coefficient="1"), limits.LimitsError, r"'1'.*Use 1\.0"
    ),
}

STATES = {
    "input of NaN": Case(
        lambda: TANH(with_entry(NAN), brownian()),
        limits.NonFiniteStateError,
        "1 NaN or infinite entries out of 8.*Clean the data",
    ),
    "input of infinity": Case(
        lambda: TANH(with_entry(-INF), brownian()), limits.NonFiniteStateError, "1 NaN.*Clean"
    ),
    "input without an axis of inputs": Case(
        lambda: TANH(H0[0], brownian()), limits.ShapeError, r"found \(4,\)\. Use h0\[None\]"
    ),
    "input of another width": Case(
        lambda: TANH(normal_inputs(2, 5), brownian()),
        limits.ShapeError,
        r"\(input, 4\).*found \(2, 5\).*path of that width",
    ),
    "input of another number of paths": Case(
        lambda: TANH(normal_inputs(15, 2, 4), brownian()),
        limits.ShapeError,
        r"\(16, input, 4\).*found \(15, 2, 4\)",
    ),
    "no inputs": Case(
        lambda: TANH(torch.zeros(0, 4, dtype=F64), brownian()), limits.ShapeError, r"found \(0, 4\)"
    ),
    "a number as input": Case(
        lambda: TANH(torch.tensor(1.0, dtype=F64), brownian()), limits.ShapeError, r"found \(\)"
    ),
    "input with four axes": Case(
        lambda: TANH(normal_inputs(1, 16, 2, 4), brownian()), limits.ShapeError, r"1, 16, 2, 4"
    ),
    "a list as input": Case(
        lambda: TANH([[1.0, 2.0, 3.0, 4.0]], brownian()), limits.ShapeError, "list.*torch.as_tensor"
    ),
    "an array as input": Case(
        lambda: TANH(H0.numpy(), brownian()), limits.ShapeError, "ndarray.*torch.as_tensor"
    ),
    "a string as input": Case(
        lambda: TANH("h0", brownian()), limits.ShapeError, "found str.*torch.as_tensor"
    ),
    "single-precision input": Case(
        lambda: TANH(H0.float(), brownian()),
        limits.DTypeError,
        r"float32 on cpu.*float64 on cpu.*Use h0\.to.*dtype=torch\.float32",
    ),
    "double-precision input on single-precision weights": Case(
        lambda: TANH(H0, brownian(dtype=F32)), limits.DTypeError, r"Use h0\.to"
    ),
    "integers as input": Case(
        lambda: TANH(torch.ones(2, 4, dtype=torch.int64), brownian()),
        limits.DTypeError,
        "int64.*Use",
    ),
    "input on another device": Case(
        lambda: TANH(H0.to("meta"), brownian()),
        limits.DTypeError,
        r"meta device, without data.*device=.cpu.",
    ),
    "nothing in place of the sample": Case(
        lambda: TANH(H0, None), limits.ShapeError, r"NoneType.*path\.sample"
    ),
    "the path in place of the sample": Case(
        lambda: TANH(H0, BROWNIAN), limits.ShapeError, r"BrownianPath.*path\.sample"
    ),
    "noise in place of the sample": Case(
        lambda: TANH(H0, noise()), limits.ShapeError, r"NoiseSample.*path\.sample"
    ),
    "unknown keep": Case(
        lambda: TANH(H0, brownian(), keep="last"),
        limits.LimitsError,
        'terminal.*"all", found .last',
    ),
    "unknown nonfinite": Case(
        lambda: TANH(H0, brownian(), nonfinite="ignore"), limits.LimitsError, 'raise.*"keep"'
    ),
    "an exploding network": Case(
        lambda: limits.ResNet(lambda x: x**3, beta=0.1)(10 * H0, brownian()),
        limits.NonFiniteStateError,
        r"overflowed at layer \d+ of 64 in 16 of 16 paths .*nonfinite=.keep",
    ),
    "a cotangent of another shape": Case(
        lambda: TANH.backward(out(), brownian(), normal_inputs(16, 3, 4)),
        limits.ShapeError,
        r"3 inputs, the trajectory has 2.*out\.terminal",
    ),
    "a cotangent of another width": Case(
        lambda: TANH.backward(out(), brownian(), normal_inputs(16, 2, 5)),
        limits.ShapeError,
        r"cotangent must .* found \(16, 2, 5\)",
    ),
    "no cotangent": Case(
        lambda: TANH.backward(out(), brownian(), None), limits.ShapeError, "cotangent.*NoneType"
    ),
    "a trajectory of another draw": Case(
        lambda: TANH.backward(out(seed=1), brownian(), normal_inputs(16, 2, 4)),
        limits.CouplingError,
        "Pass the sample that the network read",
    ),
    "a trajectory of another depth": Case(
        lambda: TANH.backward(out(), brownian().at_depth(8), normal_inputs(16, 2, 4)),
        limits.CouplingError,
        "at depth 64 .* at depth 8 .*Pass the sample",
    ),
    "no trajectory": Case(
        lambda: TANH.backward(None, brownian(), normal_inputs(16, 2, 4)),
        limits.LimitsError,
        "NoneType",
    ),
    "a direction for another number of inputs": Case(
        lambda: TANH.tangent(H0, normal_inputs(1, 4), brownian()),
        limits.ShapeError,
        r"\(2, 4\) and q0 \(1, 4\).*one direction per input",
    ),
}

LIMITS = {
    "no network": Case(
        lambda: limits.depth_limit("tanh", BROWNIAN), limits.LimitsError, "str and.*Use depth_limit"
    ),
    "a sample in place of the path": Case(
        lambda: limits.depth_limit(TANH, brownian()), limits.LimitsError, "WeightSample.*Use"
    ),
    "unknown form": Case(
        lambda: limits.depth_limit(TANH, BROWNIAN, form="weak"), limits.LimitsError, '"law", found'
    ),
    "inputs in several regimes": Case(
        lambda: limits.depth_limit(limits.ResNet("tanh", beta=torch.tensor([0.2, 0.9])), BROWNIAN),
        limits.LimitsError,
        r"explosion, identity.*0\.5.*one regime at a time",
    ),
    "an exploding limit": Case(
        lambda: euler(EXPLODING, H0, brownian()),
        limits.NoLimitError,
        r"beta=0\.25 is below the critical exponent 0\.5.*Use beta=0\.5",
    ),
    "an exploding limit by torchsde": Case(
        lambda: limits.TorchSDE().solve(EXPLODING, H0, brownian()),
        limits.NoLimitError,
        r"Use beta=0\.5",
    ),
    "an exploding limit as an equation": Case(
        lambda: EXPLODING.as_torchsde(brownian()), limits.NoLimitError, r"Use beta=0\.5"
    ),
    "weights for a law form": Case(
        lambda: euler(LAW, H0, brownian()), limits.CouplingError, r"limit\.sample.*weak_error"
    ),
    "weights for a law form by torchsde": Case(
        lambda: limits.TorchSDE().solve(LAW, H0, brownian()), limits.CouplingError, r"limit\.sample"
    ),
    "noise for a path form": Case(
        lambda: euler(SDE, H0, noise()), limits.CouplingError, "Pass the WeightSample"
    ),
    "a path of another law": Case(
        lambda: euler(SDE, H0, UNIFORM.sample(depth=64, n_paths=16, seed=0)),
        limits.CouplingError,
        "built for brownian .* iid-uniform.*path you sampled",
    ),
    "a smooth path of another length scale": Case(
        lambda: euler(
            ODE, H0, limits.SmoothPath(4, length_scale=0.2).sample(depth=64, n_paths=16, seed=0)
        ),
        limits.CouplingError,
        "smooth-rbf-0.1 .* smooth-rbf-0.2.*path you sampled",
    ),
    "a path of another width": Case(
        lambda: euler(
            SDE,
            normal_inputs(2, 5),
            limits.BrownianPath(5).sample(depth=64, n_paths=16, seed=0),
        ),
        limits.LimitsError,
        "4.*5",
    ),
    "noise of another law": Case(
        lambda: euler(
            LAW, H0, limits.depth_limit(TANH, UNIFORM).sample(depth=8, n_paths=16, seed=0)
        ),
        limits.CouplingError,
        "path you sampled",
    ),
    "nothing to drive the limit": Case(
        lambda: euler(SDE, H0, None), limits.ShapeError, r"NoneType.*limit\.sample"
    ),
    "the path in place of the driver": Case(
        lambda: euler(SDE, H0, BROWNIAN), limits.ShapeError, r"BrownianPath.*path\.sample"
    ),
    "an SDE as an ODE": Case(
        lambda: SDE.as_torchdiffeq(brownian()), limits.NoLimitError, "'sde'.*Use as_torchsde"
    ),
    "an ODE as an SDE": Case(
        lambda: ODE.as_torchsde(smooth()), limits.NoLimitError, "'ode'.*Use as_torchdiffeq"
    ),
    "the identity as an SDE": Case(
        lambda: IDENTITY.as_torchsde(brownian()), limits.NoLimitError, "'identity'"
    ),
    "packing another width": Case(
        lambda: SDE.pack(normal_inputs(2, 5), 16), limits.ShapeError, r"\(input, 4\).*\(16, 2, 5\)"
    ),
    "packing another number of paths": Case(
        lambda: SDE.pack(normal_inputs(8, 2, 4), 16), limits.ShapeError, r"found \(8, 2, 4\)"
    ),
    "packing a list": Case(lambda: SDE.pack([[1.0]], 16), limits.ShapeError, "list"),
    "packing for no paths": Case(lambda: SDE.pack(H0, 0), limits.ShapeError, "n_paths|positive"),
    "packing for a negative number of paths": Case(
        lambda: SDE.pack(H0, -1), limits.ShapeError, "n_paths|positive"
    ),
    "unpacking another width": Case(
        lambda: SDE.unpack(torch.zeros(16, 9)), limits.ShapeError, "9 columns.*width 4.*Pass what"
    ),
    "unpacking a list": Case(lambda: SDE.unpack([1.0]), limits.ShapeError, "list"),
    "law noise in half precision": Case(
        lambda: noise(dtype=torch.float16), limits.DTypeError, "Pass dtype=torch.float64"
    ),
    "law noise at depth zero": Case(
        lambda: noise(depth=0), limits.ShapeError, "depth must .* found 0"
    ),
    "law noise with a negative seed": Case(
        lambda: noise(seed=-3), limits.LimitsError, "found -3.*seed=0"
    ),
}

SOLVERS = {
    "a network in place of the limit": Case(
        lambda: euler(TANH, H0, brownian()), limits.LimitsError, "ResNet. Use depth_limit"
    ),
    "steps that do not divide": Case(
        lambda: euler(SDE, H0, brownian(), steps=10),
        limits.DepthMismatchError,
        "10 does not divide 64.*multiple of 10",
    ),
    "steps that do not divide by torchsde": Case(
        lambda: limits.TorchSDE(steps=10).solve(SDE, H0, brownian()),
        limits.DepthMismatchError,
        "10 does not divide 64.*multiple of 10",
    ),
    "zero steps": Case(
        lambda: euler(SDE, H0, brownian(), steps=0),
        limits.DepthMismatchError,
        "positive integer, found 0.*depth of the draw",
    ),
    "steps of a float": Case(
        lambda: euler(SDE, H0, brownian(), steps=8.0),
        limits.DepthMismatchError,
        r"found 8\.0.*steps=1024",
    ),
    "steps of True": Case(
        lambda: euler(SDE, H0, brownian(), steps=True), limits.DepthMismatchError, "found True"
    ),
    "a wrong keep for a solver": Case(
        lambda: limits.EulerMaruyama().solve(SDE, H0, brownian(), keep="none"),
        limits.LimitsError,
        'terminal" or "all", found .none',
    ),
    "a solver's input of NaN": Case(
        lambda: euler(SDE, with_entry(NAN), brownian()),
        limits.NonFiniteStateError,
        "Clean the data",
    ),
    "a solver's input in single precision": Case(
        lambda: euler(SDE, H0.float(), brownian()), limits.DTypeError, r"Use h0\.to"
    ),
    "a solver's input as a list": Case(
        lambda: limits.TorchDiffEq().solve(ODE, [[1.0] * 4], smooth()),
        limits.ShapeError,
        "list.*torch.as_tensor",
    ),
    "torchsde's milstein": Case(
        lambda: limits.TorchSDE(method="milstein"), limits.SolverError, 'milstein.*"euler" only'
    ),
    "torchsde on an ODE": Case(
        lambda: limits.TorchSDE().solve(ODE, H0, smooth()), limits.SolverError, "'ode'.*TorchDiffEq"
    ),
    "torchdiffeq on an SDE": Case(
        lambda: limits.TorchDiffEq().solve(SDE, H0, brownian()),
        limits.SolverError,
        "'sde'.*Use EulerMaruyama or TorchSDE",
    ),
    "torchdiffeq on a law form": Case(
        lambda: limits.TorchDiffEq().solve(LAW, H0, noise()),
        limits.SolverError,
        "Use EulerMaruyama",
    ),
    "an unknown method of torchdiffeq": Case(
        lambda: limits.TorchDiffEq(method="rk5"), limits.SolverError, "rk5.*Use one of euler"
    ),
    "a tolerance of zero": Case(
        lambda: limits.TorchDiffEq(rtol=0.0), limits.SolverError, r"rtol=0\.0.*rtol=1e-8"
    ),
    "a negative tolerance": Case(
        lambda: limits.TorchDiffEq(atol=-1e-9), limits.SolverError, "atol=-1e-09.*rtol=1e-8"
    ),
    "a tolerance of NaN": Case(
        lambda: limits.TorchDiffEq(rtol=NAN), limits.SolverError, "nan.*rtol=1e-8"
    ),
    "a tolerance of infinity": Case(
        lambda: limits.TorchDiffEq(rtol=INF), limits.SolverError, "inf.*rtol=1e-8"
    ),
    "a tolerance of a string": Case(
        lambda: limits.TorchDiffEq(rtol="1e-8"), limits.SolverError, "rtol=1e-8"
    ),
    "a tolerance below single precision": Case(
        lambda: limits.TorchDiffEq(rtol=1e-14, atol=1e-16).solve(
            limits.depth_limit(limits.ResNet(impatient_tanh()), SMOOTH),
            H0.float(),
            SMOOTH.sample(depth=8, n_paths=16, seed=0, dtype=F32),
        ),
        limits.SolverError,
        "1e-14.*float64",
    ),
    "a closed form that does not exist": Case(
        lambda: limits.ClosedForm().solve(SDE, H0, brownian()),
        limits.NoLimitError,
        "width 4 has no closed form.*Use EulerMaruyama",
    ),
    "several inputs of res-3 on uniform weights": Case(
        lambda: euler(
            limits.depth_limit(RES3, UNIFORM),
            H0,
            limits.depth_limit(RES3, UNIFORM).sample(depth=8, n_paths=16, seed=0),
        ),
        limits.NoLimitError,
        "2 inputs.*one input at a time, or use BrownianPath",
    ),
    "beta of the wrong length for a solver": Case(
        lambda: euler(
            limits.depth_limit(limits.ResNet("tanh", beta=torch.full((3,), 0.5)), BROWNIAN),
            H0,
            brownian(),
        ),
        limits.ShapeError,
        r"shape \(3,\) for 2 inputs",
    ),
}

ERRORS = {
    "uncoupled trajectories": Case(
        lambda: limits.strong_error(out(0), out(1)), limits.CouplingError, "#.* and #.*weak_error"
    ),
    "trajectories of drawn depths that differ": Case(
        lambda: limits.strong_error(out(depth=32), out(depth=64)),
        limits.CouplingError,
        "Solve the limit on the sample",
    ),
    "different numbers of inputs": Case(
        lambda: limits.strong_error(out(), TANH(H0[:1], brownian())),
        limits.ShapeError,
        r"\(16, 2, 4\) and \(16, 1, 4\).*Use the same inputs and n_paths",
    ),
    "different numbers of paths": Case(
        lambda: limits.strong_error(out(), TANH(H0, brownian(n_paths=32))),
        limits.ShapeError,
        "Use the same inputs and n_paths",
    ),
    "a norm of three": Case(
        lambda: limits.strong_error(out(), out(), p=3), limits.LimitsError, "1 or 2, found 3"
    ),
    "an unknown time": Case(
        lambda: limits.strong_error(out(), out(), time="mean"),
        limits.LimitsError,
        '"uniform", found',
    ),
    "the uniform error of end points": Case(
        lambda: limits.strong_error(out(), out(), time="uniform"), limits.ShapeError, 'keep="all"'
    ),
    "a tensor in place of a trajectory": Case(
        lambda: limits.strong_error(out(), out().terminal), limits.ShapeError, "Tensor.*Pass what"
    ),
    "nothing in place of a trajectory": Case(
        lambda: limits.strong_error(None, out()), limits.ShapeError, "NoneType.*Pass what"
    ),
    "a functional that keeps the width": Case(
        lambda: limits.weak_error(out(), out(), functional=lambda h: h),
        limits.ShapeError,
        r"\(16, 2\), found \(16, 2, 4\).*Reduce the last axis",
    ),
    "a functional that reduces everything": Case(
        lambda: limits.weak_error(out(), out(), functional=lambda h: h.mean()),
        limits.ShapeError,
        r"found \(\).*Reduce the last axis",
    ),
    "a functional that returns a number": Case(
        lambda: limits.weak_error(out(), 1.0, functional=lambda h: 1.0),
        limits.ShapeError,
        "found float.*Reduce",
    ),
    "a functional that is not finite": Case(
        lambda: limits.weak_error(out(), 1.0, functional=lambda h: h[..., 0].abs() * INF),
        limits.NonFiniteStateError,
        "32 NaN or infinite entries out of 32.*Use a functional",
    ),
    "no functional": Case(
        lambda: limits.weak_error(out(), 1.0, functional=None), limits.LimitsError, "functional"
    ),
    "a weak error of a tensor": Case(
        lambda: limits.weak_error(out().terminal, 1.0, functional=norm), limits.ShapeError, "Tensor"
    ),
    "a weak error against a string": Case(
        lambda: limits.weak_error(out(), "exact", functional=norm), limits.LimitsError, "str|exact"
    ),
    "a weak error against nothing": Case(
        lambda: limits.weak_error(out(), None, functional=norm), limits.LimitsError, "None"
    ),
    "a weak error against NaN": Case(
        lambda: limits.weak_error(out(), NAN, functional=norm), limits.LimitsError, "nan"
    ),
    "an order from two depths": Case(
        lambda: limits.fit_order(errors()[:2], depths=(8, 16), seed=0),
        limits.ShapeError,
        r"found shape \(2, 10\) for depths \(8, 16\).*Add depths or paths",
    ),
    "an order from one path": Case(
        lambda: limits.fit_order(errors(1), depths=(8, 16, 32), seed=0), limits.ShapeError, "Add"
    ),
    "an order from means": Case(
        lambda: limits.fit_order([1.0, 0.5, 0.25], depths=(8, 16, 32), seed=0),
        limits.ShapeError,
        r"\(depth, path\).*found shape \(3,\)",
    ),
    "an order of negative errors": Case(
        lambda: limits.fit_order(-errors(), depths=(8, 16, 32), seed=0),
        limits.NonFiniteStateError,
        r"found -2.*Pass \|h_L - H_1\|",
    ),
    "an order of NaN": Case(
        lambda: limits.fit_order(errors() * NAN, depths=(8, 16, 32), seed=0),
        limits.NonFiniteStateError,
        "30 of 30.*use the critical exponent",
    ),
    "an order of zeros": Case(
        lambda: limits.fit_order(errors() * 0, depths=(8, 16, 32), seed=0),
        limits.NonFiniteStateError,
        r"every depth, \(8, 16, 32\).*inputs that it moves",
    ),
    "an order without numbers": Case(
        lambda: limits.fit_order("errors", depths=(8, 16, 32), seed=0), limits.LimitsError, "depth"
    ),
    "an order from rows of different length": Case(
        lambda: limits.fit_order([[1.0, 2.0], [1.0], [1.0]], depths=(8, 16, 32), seed=0),
        limits.LimitsError,
        "depth",
    ),
    "an order at one depth three times": Case(
        lambda: limits.fit_order(errors(), depths=(8, 8, 8), seed=0), limits.LimitsError, "8, 8"
    ),
    "an order at depth zero": Case(
        lambda: limits.fit_order(errors(), depths=(0, 8, 16), seed=0), limits.LimitsError, "0, 8"
    ),
    "an order at no depths": Case(
        lambda: limits.fit_order(errors(), depths=None, seed=0), limits.LimitsError, "depths"
    ),
    "an order at depths of strings": Case(
        lambda: limits.fit_order(errors(), depths=("a", "b", "c"), seed=0),
        limits.LimitsError,
        "depths",
    ),
    "an order in norm three": Case(
        lambda: limits.fit_order(errors(), depths=(8, 16, 32), p=3, seed=0), limits.LimitsError, "3"
    ),
    "an order in norm zero": Case(
        lambda: limits.fit_order(errors(), depths=(8, 16, 32), p=0, seed=0), limits.LimitsError, "0"
    ),
    "an order with a negative seed": Case(
        lambda: limits.fit_order(errors(), depths=(8, 16, 32), seed=-1),
        limits.LimitsError,
        "seed=0",
    ),
}

STUDIES = {
    "a study of no network": Case(lambda: study(net="tanh"), limits.LimitsError, "str and.*Use"),
    "a study of a sample": Case(
        lambda: study(path=brownian()), limits.LimitsError, "WeightSample.*Use depth_limit"
    ),
    "a study of an exploding network": Case(
        lambda: study(net=limits.ResNet("tanh", beta=0.3)),
        limits.NoLimitError,
        r"beta=0\.3 is below .* 0\.5.*Use beta=0\.5",
    ),
    "two depths": Case(
        lambda: study(depths=(4, 8)), limits.ShapeError, r"found \(4, 8\).*\(8, 16, 32"
    ),
    "depths that fall": Case(
        lambda: study(depths=(16, 8, 4)), limits.ShapeError, r"increasing.*\(16, 8, 4\).*Use"
    ),
    "a depth twice": Case(lambda: study(depths=(4, 8, 8)), limits.ShapeError, r"\(4, 8, 8\).*Use"),
    "a ladder from zero": Case(lambda: study(depths=(0, 4, 8)), limits.ShapeError, r"0, 4, 8.*Use"),
    "depths of floats": Case(
        lambda: study(depths=(4.0, 8.0, 16.0)), limits.ShapeError, r"4\.0.*Use for example"
    ),
    "one depth that is no ladder": Case(
        lambda: study(depths=8), limits.ShapeError, r"8.*Use for example"
    ),
    "no depths": Case(lambda: study(depths=None), limits.ShapeError, "None.*Use for example"),
    "a reference that is no multiple": Case(
        lambda: study(reference=40), limits.DepthMismatchError, r"not for \(16,\).*reference=256"
    ),
    "a reference at the deepest depth": Case(
        lambda: study(reference=16), limits.DepthMismatchError, r"larger multiple.*reference=256"
    ),
    "a negative reference": Case(
        lambda: study(reference=-16), limits.DepthMismatchError, "reference=256"
    ),
    "an exact value for a strong error": Case(
        lambda: study(reference=1.0), limits.LimitsError, r'1\.0.*Use error="weak"'
    ),
    "a name in place of a reference": Case(
        lambda: study(reference="dopri8"), limits.LimitsError, "found 'dopri8'.*Leave it out"
    ),
    "a class in place of a solver": Case(
        lambda: study(reference=limits.EulerMaruyama), limits.LimitsError, "EulerMaruyama"
    ),
    "True in place of a reference": Case(
        lambda: study(reference=True), limits.LimitsError, "found True.*Leave it out"
    ),
    "a reference solver of another kind": Case(
        lambda: study(reference=limits.TorchDiffEq()), limits.SolverError, "Use EulerMaruyama"
    ),
    "a strong error where only laws converge": Case(
        lambda: study(net=RES3), limits.CouplingError, 'in law only.*Use error="weak"'
    ),
    "a uniform error where only laws converge": Case(
        lambda: study(path=UNIFORM, error="uniform", reference=None),
        limits.CouplingError,
        'uniform error.*Use error="weak"',
    ),
    "a weak error in law without an exact value": Case(
        lambda: weak_study(net=RES3, reference=None), limits.CouplingError, "reference=, a float"
    ),
    "an unknown error": Case(
        lambda: study(error="mean"), limits.LimitsError, '"weak", found .mean'
    ),
    "a weak error without a functional": Case(
        lambda: weak_study(functional=None), limits.LimitsError, "Use for example.*functional="
    ),
    "a strong error with a functional": Case(
        lambda: study(functional=norm), limits.LimitsError, "only a weak error takes one"
    ),
    "a functional of the wrong shape": Case(
        lambda: weak_study(functional=lambda h: h), limits.ShapeError, "Reduce the last axis"
    ),
    "a string in place of the functional": Case(
        lambda: weak_study(functional="norm"), limits.LimitsError, "functional.*norm"
    ),
    "an exact value of NaN": Case(lambda: weak_study(reference=NAN), limits.LimitsError, "nan|NaN"),
    "a study in norm three": Case(lambda: study(p=3), limits.LimitsError, "1 or 2, found 3"),
    "a study of one path": Case(lambda: study(n_paths=1), limits.ShapeError, "two paths.*Add"),
    "a study of no paths": Case(
        lambda: study(n_paths=0), limits.ShapeError, "n_paths must.*found 0"
    ),
    "a study without a seed": Case(lambda: study(seed=None), limits.LimitsError, "seed=0"),
    "a study of an input without an axis": Case(
        lambda: study(h0=H0[0]), limits.ShapeError, r"Use h0\[None\]"
    ),
    "a study of a list": Case(
        lambda: study(h0=[[1.0] * 4]), limits.ShapeError, "list.*torch.as_tensor"
    ),
    "a study in single precision of a double input": Case(
        lambda: study(dtype=F32), limits.DTypeError, r"Use h0\.to"
    ),
    "a study in an unknown dtype": Case(
        lambda: study(dtype="single"), limits.DTypeError, "single.*Pass dtype"
    ),
    "a study on a device that is not here": Case(
        lambda: study(device="cuda:63"), limits.DTypeError, 'Pass device="cpu"'
    ),
    "a chunk of nothing": Case(
        lambda: study(chunk=0), limits.ShapeError, "chunk .* found 0.*chunk=64"
    ),
    "a chunk of a float": Case(
        lambda: study(chunk=16.0), limits.ShapeError, r"chunk .* found 16\.0.*chunk=64"
    ),
    "a progress bar that cannot be called": Case(
        lambda: study(progress="bar"), limits.LimitsError, "progress.*bar"
    ),
    "a dataset of something else": Case(
        lambda: limits.ConvergenceStudy.from_dataset(xr.Dataset({"error": ("depth", [1.0])})),
        limits.StoreError,
        "lacks .*order.*Pass what to_dataset returned",
    ),
    "a dataset without its interval": Case(
        lambda: limits.ConvergenceStudy.from_dataset(dataset().drop_vars("order_low")),
        limits.StoreError,
        "order_low.*Pass what",
    ),
    "a dataset without its depths": Case(
        lambda: limits.ConvergenceStudy.from_dataset(dataset().drop_vars("depth")),
        limits.StoreError,
        "depth.*Pass what",
    ),
    "a dataset of averaged paths": Case(
        lambda: limits.ConvergenceStudy.from_dataset(dataset().mean("path", keep_attrs=True)),
        limits.StoreError,
        "path.*Pass what",
    ),
    "a dataset without attributes": Case(
        lambda: limits.ConvergenceStudy.from_dataset(dataset().drop_attrs()),
        limits.StoreError,
        "lacks equation.*Pass what",
    ),
    "a dataset with junk attributes": Case(
        lambda: limits.ConvergenceStudy.from_dataset(dataset().assign_attrs(seed="zero")),
        limits.StoreError,
        "seed",
    ),
    "a dictionary in place of a dataset": Case(
        lambda: limits.ConvergenceStudy.from_dataset({"error": [1.0]}),
        limits.StoreError,
        "Pass what",
    ),
    "nothing in place of a dataset": Case(
        lambda: limits.ConvergenceStudy.from_dataset(None), limits.StoreError, "Pass what"
    ),
}

GROUPS = (DRAWS, READINGS, NETWORKS, STATES, LIMITS, SOLVERS, ERRORS, STUDIES)
CASES = {name: case for group in GROUPS for name, case in group.items()}


def test_no_case_shadows_another() -> None:
    assert len(CASES) == sum(len(group) for group in GROUPS)


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_answered_with_numbers_and_a_remedy(name: str) -> None:
    case = CASES[name]
    # (?s): messages are one paragraph, but a pattern may span what the library wraps.
    with pytest.raises(limits.LimitsError, match=f"(?s){case.message}") as caught:
        case.call()
    assert isinstance(caught.value, case.error)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_mistake_inside_a_worker_leaves_the_number_of_threads_alone(threads: int) -> None:
    torch.set_num_threads(threads)
    with pytest.raises(limits.ShapeError):
        weak_study(functional=lambda h: h, n_paths=64, chunk=16)
    assert torch.get_num_threads() == threads


def test_the_state_of_what_was_refused_is_unchanged() -> None:
    h0 = with_entry(NAN)
    kept = h0.clone()
    with pytest.raises(limits.NonFiniteStateError):
        TANH(h0, brownian())
    assert torch.equal(h0.nan_to_num(), kept.nan_to_num())
