"""Equations that users wrote for torchsde: same numbers as theirs, and a convergence test."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torchsde
from torch import Tensor

import limits

DEPTHS = (16, 32, 64, 128, 256)


class Geometric:
    """dY_i = a_i Y_i dt + b_i Y_i dB_i, Y = y exp((a - b^2 / 2) t + b B)."""

    noise_type, sde_type = "diagonal", "ito"
    a = torch.tensor([0.1, -0.3, 0.5], dtype=torch.float64)
    b = torch.tensor([0.3, 0.4, 0.2], dtype=torch.float64)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self.a * y

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return self.b * y

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return y0 * torch.exp((self.a - self.b**2 / 2) * t + self.b * B)


class Arctangent:
    """dY = -p^2 sin Y cos^3 Y dt + p cos^2 Y dB, Y = arctan(p B + tan y)."""

    noise_type, sde_type = "diagonal", "ito"
    p = 0.4

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return -(self.p**2) * torch.sin(y) * torch.cos(y) ** 3

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return self.p * torch.cos(y) ** 2

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return torch.arctan(self.p * B + torch.tan(y0))


class HyperbolicSine:
    """dY = p^2 Y / 2 dt + p (1 + Y^2)^(1/2) dB, one B for all, Y = sinh(p B + arsinh y)."""

    noise_type, sde_type = "scalar", "ito"
    p = 0.4

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self.p**2 * y / 2

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return self.p * torch.sqrt(1 + y**2).unsqueeze(-1)

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return torch.sinh(self.p * B + torch.asinh(y0))


class Rotation:
    """dY = -Y / 2 dt + J Y dB with J a quarter turn: Y turns by the angle B."""

    noise_type, sde_type = "scalar", "ito"
    J = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return -y / 2

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        return (y @ self.J.mT) * v

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return torch.cos(B) * y0 + torch.sin(B) * (y0 @ self.J.mT)


class Faded:
    """dY = (b / (1 + t)^(1/2) - Y / (2 + 2 t)) dt + a b / (1 + t)^(1/2) dB, the noise additive."""

    noise_type, sde_type = "additive", "ito"
    a, b = 0.3, 0.7

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self.b / torch.sqrt(1 + t) - y / (2 + 2 * t)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        eye = torch.eye(y.shape[1], dtype=y.dtype)
        return (self.a * self.b / torch.sqrt(1 + t) * eye).expand(len(y), -1, -1)

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return (y0 + self.b * (t + self.a * B)) / math.sqrt(1 + t)


class Drifting:
    """dY_i = cos(t) dt + sum_j s_ij dB_j, additive with more channels than components."""

    noise_type, sde_type = "additive", "ito"
    s = torch.tensor([[0.5, -0.2, 0.1], [0.0, 0.3, 0.9]], dtype=torch.float64)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.cos(t) * torch.ones_like(y)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return self.s.expand(len(y), -1, -1)

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        return y0 + math.sin(t) + B @ self.s.mT


class Commuting:
    """dY = A Y dt + sum_j S_j Y dB_j with commuting matrices: a matrix exponential."""

    noise_type, sde_type = "general", "ito"
    S1 = torch.tensor([[0.3, 0.1], [0.1, 0.3]], dtype=torch.float64)
    S2 = torch.tensor([[0.1, -0.3], [-0.3, 0.1]], dtype=torch.float64)
    A = torch.tensor([[-0.2, 0.1], [0.1, -0.2]], dtype=torch.float64)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.A.mT

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y @ self.S1.mT, y @ self.S2.mT], dim=-1)

    def exact(self, y0: Tensor, t: float, B: Tensor) -> Tensor:
        generator = self.A - (self.S1 @ self.S1 + self.S2 @ self.S2) / 2
        B = B.unsqueeze(-1).unsqueeze(-1)
        exponent = generator * t + B[..., 0, :, :] * self.S1 + B[..., 1, :, :] * self.S2
        return (torch.linalg.matrix_exp(exponent) @ y0.unsqueeze(-1)).squeeze(-1)


class CommutingProduct(Commuting):
    """The same, known by its products only."""

    g = None  # type: ignore[assignment]

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        return v[:, :1] * (y @ self.S1.mT) + v[:, 1:] * (y @ self.S2.mT)


@dataclass(frozen=True)
class Case:
    """A problem, its initial state, the channels of its noise and its strong order."""

    make: Callable[[], object]
    y0: tuple[float, ...]
    channels: int
    order: float


CASES = {
    "geometric": Case(Geometric, (1.0, 2.0, -0.5), 3, 0.5),
    "arctangent": Case(Arctangent, (0.3, -0.8), 2, 0.5),
    "hyperbolic-sine": Case(HyperbolicSine, (0.5, -0.2, 0.0), 1, 0.5),
    "rotation": Case(Rotation, (1.0, 0.5), 1, 0.5),
    "faded": Case(Faded, (1.0, -1.0), 2, 1.0),
    "drifting": Case(Drifting, (1.0, -1.0), 3, 1.0),
    "commuting": Case(Commuting, (1.0, 0.4), 2, 0.5),
}


def initial(case: Case) -> Tensor:
    return torch.tensor([case.y0], dtype=torch.float64)


def motion(noise: limits.NoiseSample, length: float = 1.0) -> Tensor:
    """Return B at the end of the interval, shape ``(path, channel)``."""
    return noise.increments().sum(dim=0)[:, 0] * math.sqrt(length)


# --- the same numbers as torchsde ---------------------------------------------------------------


def interval(
    n_paths: int, channels: int, *, stop: float = 1.0, entropy: int = 3
) -> torchsde.BrownianInterval:
    return torchsde.BrownianInterval(
        t0=0.0, t1=stop, size=(n_paths, channels), dtype=torch.float64, entropy=entropy
    )


@pytest.mark.parametrize("steps", [1, 64, 256])
@pytest.mark.parametrize("name", [*CASES, "commuting-product"])
def test_solution_on_torchsdes_own_motion_equals_sdeint(name: str, steps: int) -> None:
    case = CASES["commuting" if name == "commuting-product" else name]
    sde = CommutingProduct() if name == "commuting-product" else case.make()
    bm = interval(5, case.channels)
    ours = limits.EulerMaruyama(steps=steps).solve(limits.from_torchsde(sde), initial(case), bm)
    theirs = torchsde.sdeint(
        case.make(),
        initial(case).expand(5, -1),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        bm=bm,
        dt=1 / steps,
        method="euler",
    )
    torch.testing.assert_close(ours.terminal[:, 0], theirs[-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(CASES))
def test_solution_at_every_step_equals_sdeint(name: str) -> None:
    case, steps = CASES[name], 32
    sde, bm = case.make(), interval(4, case.channels, stop=2.0)
    equation = limits.from_torchsde(sde, start=0.0, stop=2.0)
    ours = limits.EulerMaruyama(steps=steps).solve(equation, initial(case), bm, keep="all")
    theirs = torchsde.sdeint(
        sde,
        initial(case).expand(4, -1),
        torch.linspace(0, 2, steps + 1, dtype=torch.float64),
        bm=bm,
        dt=2 / steps,
        method="euler",
    )
    torch.testing.assert_close(ours.values[:, :, 0], theirs, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.times, torch.linspace(0, 1, steps + 1, dtype=torch.float64))


@pytest.mark.parametrize("steps", [10, 30, 100])
def test_steps_that_are_no_power_of_two_are_counted_right(steps: int) -> None:
    # torchsde's own clock takes a 31st step of 1e-16 at 30; ours takes 30.
    case, calls = CASES["geometric"], []

    class Counted(Geometric):
        def f(self, t: Tensor, y: Tensor) -> Tensor:
            calls.append(float(t))
            return super().f(t, y)

    bm = interval(4, 3)
    ours = limits.EulerMaruyama(steps=steps).solve(
        limits.from_torchsde(Counted()), initial(case), bm
    )
    assert len(calls) == steps
    theirs = torchsde.sdeint(
        Geometric(),
        initial(case).expand(4, -1),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        bm=bm,
        dt=1 / steps,
        method="euler",
    )
    torch.testing.assert_close(ours.terminal[:, 0], theirs[-1], rtol=0, atol=1e-6)


def test_sdeint_on_our_noise_equals_our_solution() -> None:
    case = CASES["geometric"]
    equation = limits.from_torchsde(case.make())
    noise = equation.sample(depth=128, n_paths=6, seed=0, channels=3)
    ours = limits.EulerMaruyama().solve(equation, initial(case), noise)
    theirs = torchsde.sdeint(
        case.make(),
        initial(case).expand(6, -1),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        bm=noise.as_torchsde(),
        dt=1 / 128,
        method="euler",
    )
    torch.testing.assert_close(ours.terminal[:, 0], theirs[-1], rtol=0, atol=1e-12)


def test_our_own_limits_can_be_solved_as_foreign_equations() -> None:
    path, net = limits.BrownianPath(3), limits.ResNet("tanh")
    sample = path.sample(depth=64, n_paths=5, seed=0)
    limit = limits.depth_limit(net, path)
    h0 = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    equation = limits.from_torchsde(limit.as_torchsde(sample))
    found = limits.EulerMaruyama(steps=64).solve(equation, h0, sample.as_torchsde())
    torch.testing.assert_close(found.terminal, net(h0, sample).terminal, rtol=0, atol=1e-12)


# --- strong order -------------------------------------------------------------------------------


# Orders over 8 seeds, intervals at most 0.09 wide: geometric 0.50 to 0.53, arctangent 0.50 to 0.52,
# hyperbolic sine 0.47 to 0.52, rotation 0.49 to 0.52, faded 1.008, commuting 0.48 to 0.52.
@pytest.mark.parametrize("name", [name for name in CASES if name != "drifting"])
def test_strong_order_against_the_known_solution(name: str) -> None:
    case, n_paths = CASES[name], 1000
    sde = case.make()
    equation = limits.from_torchsde(sde)
    noise = equation.sample(depth=max(DEPTHS), n_paths=n_paths, seed=0, channels=case.channels)
    exact = sde.exact(initial(case), 1.0, motion(noise))
    errors = [
        (
            limits.EulerMaruyama(steps=n).solve(equation, initial(case), noise).terminal[:, 0]
            - exact
        ).norm(dim=-1)
        for n in DEPTHS
    ]
    order = limits.fit_order(torch.stack(errors), depths=DEPTHS, seed=0)
    assert order.agrees_with(case.order, margin=0.03, widest=0.1)


def test_strong_order_against_a_finer_solution() -> None:
    case = CASES["rotation"]
    equation = limits.from_torchsde(case.make())
    noise = equation.sample(depth=2048, n_paths=500, seed=0, channels=1)
    fine = limits.EulerMaruyama().solve(equation, initial(case), noise)
    errors = [
        limits.path_errors(
            limits.EulerMaruyama(steps=n).solve(equation, initial(case), noise), fine
        )
        for n in DEPTHS
    ]
    order = limits.fit_order(torch.stack(errors), depths=DEPTHS, seed=0)
    # Over 8 seeds: 0.503 to 0.541, intervals 0.064 to 0.080 wide.
    assert order.agrees_with(0.5, margin=0.03, widest=0.1)


def test_additive_noise_of_a_state_free_drift_leaves_a_deterministic_error() -> None:
    # The noise adds up exactly, and the error of cos(t) is that of the left rectangle rule.
    case = CASES["drifting"]
    sde = case.make()
    equation = limits.from_torchsde(sde)
    noise = equation.sample(depth=64, n_paths=5, seed=0, channels=3)
    exact = sde.exact(initial(case), 1.0, motion(noise))
    for steps in (16, 64):
        found = limits.EulerMaruyama(steps=steps).solve(equation, initial(case), noise)
        left = sum(math.cos(k / steps) for k in range(steps)) / steps - math.sin(1)
        torch.testing.assert_close(
            found.terminal[:, 0] - exact, torch.full_like(exact, left), rtol=1e-9, atol=1e-12
        )


@pytest.mark.thorough
def test_motions_of_torchsde_serve_a_convergence_test_too() -> None:
    case = CASES["faded"]
    sde, bm = case.make(), interval(300, 2)
    equation = limits.from_torchsde(sde)
    fine = limits.EulerMaruyama(steps=1024).solve(equation, initial(case), bm)
    errors = [
        limits.path_errors(limits.EulerMaruyama(steps=n).solve(equation, initial(case), bm), fine)
        for n in (8, 16, 32, 64)
    ]
    order = limits.fit_order(torch.stack(errors), depths=(8, 16, 32, 64), seed=0)
    assert order.agrees_with(1.0, margin=0.05, widest=0.1)


# --- intervals, shapes, inputs ------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0.0, 4.0), (1.0, 1.5), (-2.0, 0.0)])
def test_noise_has_the_variance_of_the_interval(start: float, stop: float) -> None:
    equation = limits.from_torchsde(Drifting(), start=start, stop=stop)
    noise = equation.sample(depth=16, n_paths=3, seed=0, channels=3)
    y0 = torch.zeros(1, 2, dtype=torch.float64)
    found = limits.EulerMaruyama().solve(equation, y0, noise).terminal[:, 0]
    dt = (stop - start) / 16
    drift = sum(math.cos(start + k * dt) * dt for k in range(16))
    expected = drift + motion(noise, stop - start) @ Drifting.s.mT
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", list(CASES))
def test_several_inputs_share_the_noise_of_their_path(name: str) -> None:
    case = CASES[name]
    equation = limits.from_torchsde(case.make())
    noise = equation.sample(depth=16, n_paths=4, seed=0, channels=case.channels)
    y0 = torch.cat([initial(case), initial(case) / 2, initial(case)])
    together = limits.EulerMaruyama().solve(equation, y0, noise).terminal
    assert together.shape == (4, 3, y0.shape[1])
    for i in range(3):
        alone = limits.EulerMaruyama().solve(equation, y0[i : i + 1], noise).terminal
        torch.testing.assert_close(together[:, i : i + 1], alone, rtol=1e-13, atol=1e-14)


def test_every_path_may_start_elsewhere() -> None:
    equation = limits.from_torchsde(Geometric())
    noise = equation.sample(depth=16, n_paths=4, seed=0, channels=3)
    y0 = torch.arange(1.0, 13.0, dtype=torch.float64).reshape(4, 1, 3)
    found = limits.EulerMaruyama().solve(equation, y0, noise).terminal
    unit = limits.EulerMaruyama().solve(equation, torch.ones_like(y0[0]), noise).terminal
    torch.testing.assert_close(found, unit * y0, rtol=1e-12, atol=0)


def test_coarser_solutions_read_the_same_noise() -> None:
    equation = limits.from_torchsde(Geometric())
    noise = equation.sample(depth=64, n_paths=4, seed=0, channels=3)
    y0 = initial(CASES["geometric"])
    direct = limits.EulerMaruyama(steps=8).solve(equation, y0, noise)
    reading = limits.EulerMaruyama().solve(equation, y0, noise.at_depth(8))
    assert torch.equal(direct.terminal, reading.terminal)
    assert direct.tag == noise.tag


def test_single_precision_states_stay_in_single_precision() -> None:
    class Plain:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Tensor, y: Tensor) -> Tensor:
            return -y

        def g(self, t: Tensor, y: Tensor) -> Tensor:
            return 0.5 * y

    equation = limits.from_torchsde(Plain())
    noise = equation.sample(depth=256, n_paths=4, seed=0, channels=2, dtype=torch.float32)
    y0 = torch.ones(1, 2)
    single = limits.EulerMaruyama().solve(equation, y0, noise).terminal
    assert single.dtype == torch.float32
    noise = equation.sample(depth=256, n_paths=4, seed=0, channels=2)
    double = limits.EulerMaruyama().solve(equation, y0.double(), noise).terminal
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(CASES))
def test_wrong_number_of_channels_is_refused(name: str) -> None:
    case = CASES[name]
    equation = limits.from_torchsde(case.make())
    for channels in (case.channels + 1, case.channels + 4):
        noise = equation.sample(depth=4, n_paths=3, seed=0, channels=channels)
        with pytest.raises(limits.ShapeError, match=f"{channels} channels.*Sample with channels"):
            limits.EulerMaruyama().solve(equation, initial(case), noise)


def test_stratonovich_problems_are_refused() -> None:
    class Stratonovich(Geometric):
        sde_type = "stratonovich"

    with pytest.raises(limits.SolverError, match=r"stratonovich.*Add the drift correction"):
        limits.from_torchsde(Stratonovich())


def test_two_motions_of_torchsde_are_two_draws() -> None:
    equation, y0 = limits.from_torchsde(Geometric()), initial(CASES["geometric"])

    def solution(entropy: int) -> limits.Trajectory:
        bm = interval(4, 3, entropy=entropy)
        return limits.EulerMaruyama(steps=8).solve(equation, y0, bm)

    # Also where the first has been thrown away and the second lies at its place in memory.
    trajectories = [solution(entropy) for entropy in range(40)]
    assert len({each.tag for each in trajectories}) == 40
    with pytest.raises(limits.CouplingError):
        limits.strong_error(trajectories[0], trajectories[1])


def test_one_motion_of_torchsde_is_one_draw() -> None:
    equation, y0 = limits.from_torchsde(Geometric()), initial(CASES["geometric"])
    bm = interval(4, 3)
    coarse, fine = (limits.EulerMaruyama(steps=n).solve(equation, y0, bm) for n in (8, 64))
    assert limits.strong_error(coarse, fine).value > 0
