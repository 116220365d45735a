"""Limits, laws and results go to other processes and into copies."""

import copy
import pickle

import pytest
import torch

import limits
from limits.sweeps.grid import tasks

NET, PATH = limits.ResNet("tanh"), limits.BrownianPath(4)
H0 = torch.ones(1, 4, dtype=torch.float64)
SAMPLE = PATH.sample(depth=8, n_paths=16, seed=0)


def travellers():
    laws = [
        PATH, limits.FractionalPath(4, hurst=0.7), limits.FractionalPath(4, hurst=0.3),
        limits.SmoothPath(4), limits.IIDPath(4, law="uniform"),
    ]  # fmt: skip
    res3 = limits.ResNet("relu", block="res-3")
    kw = {"depths": (4, 8, 16), "n_paths": 16, "seed": 0}
    yield from laws
    for path in laws:
        yield limits.depth_limit(NET, path)
        yield limits.depth_limit(res3, path)
        yield path.sample(depth=8, n_paths=2, seed=0)
    yield limits.depth_limit(NET, PATH, form="law").sample(depth=8, n_paths=2, seed=0)
    yield limits.ResNet(torch.sin, block=limits.Inner(limits.as_activation(torch.sin), bias=0.1))
    yield limits.TrainedPath(torch.ones(4, 2, 2), index=1.0)
    yield NET(H0, SAMPLE)
    yield limits.convergence_study(NET, PATH, **kw)
    yield limits.infinite_depth_expectation(
        NET, PATH, lambda h: h.norm(dim=-1), h0=H0, tolerance=0.5, seed=0
    )
    yield limits.mean_field.LargeWidthLimit("tanh")
    yield limits.mean_field.LazyLimit(torch.sin)
    yield limits.MeanFieldResNet(3, 8, depth=3)
    yield limits.MeanODE(3)
    yield limits.weight_regularity(SAMPLE.path.sample(depth=32, n_paths=1, seed=0).layer_weights)
    yield limits.EulerMaruyama(steps=8)
    yield limits.TorchDiffEq()
    yield limits.Stream(0, "a name")
    yield from tasks({"width": [8, 40]}, seed=0)


def test_public_objects_pickle_and_copy():
    for each in travellers():
        for made in (pickle.loads(pickle.dumps(each)), copy.deepcopy(each)):
            assert type(made) is type(each)
            assert repr(made) == repr(each) or "0x" in repr(each)


def test_limit_that_travelled_solves_as_before():
    limit = limits.depth_limit(NET, PATH)
    made = pickle.loads(pickle.dumps(limit))
    solve = limits.EulerMaruyama().solve
    assert torch.equal(solve(made, H0, SAMPLE).terminal, solve(limit, H0, SAMPLE).terminal)
    assert (made.order, made.kind) == (limit.order, limit.kind)


def test_equations_for_other_libraries_travel():
    for block in ("res-1", "res-2"):
        for act in ("tanh", torch.sin):
            net = limits.ResNet(act, block=block)
            law = limits.depth_limit(net, PATH, form="law")
            sde = law.as_torchsde(law.sample(depth=8, n_paths=2, seed=0))
            made = pickle.loads(pickle.dumps(sde))
            y = torch.ones(2, 4, dtype=torch.float64)
            noise = torch.ones(2, 4, dtype=torch.float64)
            time = torch.zeros((), dtype=torch.float64)
            assert torch.equal(made.g_prod(time, y, noise), sde.g_prod(time, y, noise))


def test_record_of_scaled_branches_travels_and_the_hooks_stay():
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = torch.nn.Linear(2, 2)

        def forward(self, x):
            return x + self.branch(x)

    scaled = limits.scale_residuals(
        Residual(), 0.5, branch="branch", inputs=torch.ones(1, 2, dtype=torch.float32)
    )
    for made in (pickle.loads(pickle.dumps(scaled)), copy.deepcopy(scaled)):
        assert repr(made) == repr(scaled)
        with pytest.raises(limits.LimitsError, match=r"a copy .*scale_residuals returned"):
            made.remove()
    scaled.remove()
