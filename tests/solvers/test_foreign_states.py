"""Problems written for torchsde: which states, steps and motions they take."""

import pytest
import torch
import torchsde

import limits


class Geometric(torch.nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, y):
        return 0.0 * y

    def g(self, t, y):
        return 0.5 * y


class InPlace(Geometric):
    def f(self, t, y):
        return y.mul_(0.0)

    def g(self, t, y):
        return y.mul_(0.5)


class Returning(Geometric):
    def __init__(self, drift):
        super().__init__()
        self.drift = drift

    def f(self, t, y):
        return self.drift(y)


EQUATION = limits.from_torchsde(Geometric())
ONE = torch.ones(1, 2, dtype=torch.float64)
EULER = limits.EulerMaruyama()


def noise(n_paths=64):
    return EQUATION.sample(depth=4, n_paths=n_paths, seed=0, channels=2)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.bfloat16])
def test_states_that_would_cut_the_noise_are_refused(dtype):
    with pytest.raises(limits.DTypeError, match=r"y0 is torch\..*lose its digits.*double\(\)"):
        EULER.solve(EQUATION, ONE.to(dtype), noise())


def test_complex_states_and_no_states_are_refused():
    with pytest.raises(limits.DTypeError, match=r"y0 must be .*complex"):
        EULER.solve(EQUATION, ONE * 1j, noise())
    for y0 in (ONE[:0], torch.ones(64, 0, 2, dtype=torch.float64)):
        with pytest.raises(limits.ShapeError, match=r"no inputs, shape .*at least one"):
            EULER.solve(EQUATION, y0, noise())


def test_coefficients_may_act_in_place():
    y0 = ONE.clone()
    found = EULER.solve(limits.from_torchsde(InPlace()), y0, noise())
    assert torch.equal(y0, ONE)
    assert torch.equal(found.terminal, EULER.solve(EQUATION, ONE, noise()).terminal)


class Clocked(Geometric):
    """Depends on time, which the drift writes into."""

    in_place = False

    def f(self, t, y):
        return t.add_(1.0) * y if self.in_place else (t + 1.0) * y

    def g_prod(self, t, y, v):
        return (v.mul_(t) if self.in_place else v * t) * y


def test_times_and_noise_may_be_overwritten():
    clocked = Clocked()
    equation, drawn = limits.from_torchsde(clocked), noise()
    usual = EULER.solve(equation, ONE, drawn, keep="all").values
    clocked.in_place = True
    assert torch.equal(EULER.solve(equation, ONE, drawn, keep="all").values, usual)


@pytest.mark.parametrize("drift", [lambda y: y[:, :1], lambda y: y * 1j, lambda y: 0.0])
def test_drift_of_another_shape_or_kind_is_refused(drift):
    with pytest.raises(limits.ShapeError, match=r"f\(t, y\) must be .*like the states, found"):
        EULER.solve(limits.from_torchsde(Returning(drift)), ONE, noise())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("start", "stop"), [(0.0, 4.0), (-1.0, 1.0)])
def test_motion_that_does_not_last_is_refused(start, stop):
    equation = limits.from_torchsde(Geometric(), start=start, stop=stop)
    motion = torchsde.BrownianInterval(0.0, 1.0, size=(8, 2), entropy=1, dtype=torch.float64)
    with pytest.raises(limits.CouplingError, match=f"runs from {start:g} to {stop:g}.*t1={stop:g}"):
        limits.EulerMaruyama(steps=8).solve(equation, ONE, motion)


@pytest.mark.parametrize("steps", [True, 8.0, 0, -4, "8", float("nan")])
@pytest.mark.parametrize("solver", [limits.EulerMaruyama, limits.TorchSDE, limits.TorchDiffEq])
def test_solvers_check_their_steps_when_they_are_made(solver, steps):
    with pytest.raises(limits.DepthMismatchError, match=r"positive integer, found .*1024"):
        solver(steps=steps)


@pytest.mark.parametrize(
    "ends", [(0.5, 0.25), (float("nan"), 1.0), (0.0, float("inf")), (-0.5, 0.5), (0.0, 1.5)]
)
@pytest.mark.parametrize("unit", ["time", "layer"])
def test_increments_are_those_of_an_interval_on_the_grid(ends, unit):
    sample = limits.BrownianPath(2).sample(depth=8, n_paths=3, seed=0)
    law = limits.depth_limit(limits.ResNet("tanh"), limits.BrownianPath(2), form="law")
    for driver in (sample, law.sample(depth=8, n_paths=3, seed=0)):
        motion = driver.as_torchsde(unit=unit)
        scale = 8 if unit == "layer" else 1
        with pytest.raises(limits.SolverError, match=r"forward in time.*Swap|torchsde asked"):
            motion(*(end * scale for end in ends))
        assert bool((motion(0.5, 0.5) == 0).all()) if unit == "time" else True
