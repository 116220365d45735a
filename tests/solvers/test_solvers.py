"""Our solver, torchsde, torchdiffeq and the closed form: two roads, one answer."""

import math

import pytest
import torch
from torch import Tensor

import limits
from tests.helpers import normal_inputs, relative_difference

Solution = limits.Trajectory
TANH = limits.ResNet("tanh")
RES3 = limits.ResNet("relu", block="res-3")


def brownian(
    depth: int, *, width: int = 6, n_paths: int = 16, net: limits.ResNet = TANH, seed: int = 0
) -> tuple[limits.DepthLimit, limits.WeightSample]:
    path = limits.BrownianPath(width)
    sample = path.sample(depth=depth, n_paths=n_paths, seed=seed)
    return limits.depth_limit(net, path), sample


def smooth(
    depth: int,
    *,
    width: int = 5,
    n_paths: int = 16,
    net: limits.ResNet = TANH,
    length_scale: float = 0.3,
    kernel: str = "rbf",
) -> tuple[limits.DepthLimit, limits.WeightSample]:
    path = limits.SmoothPath(width, length_scale=length_scale, kernel=kernel)
    return limits.depth_limit(net, path), path.sample(depth=depth, n_paths=n_paths, seed=0)


def largest_difference(a: Solution, b: Solution) -> float:
    assert a.values.shape == b.values.shape
    assert torch.equal(a.times, b.times)
    assert a.tag == b.tag
    return float((a.values - b.values).abs().max())


# --- ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 96, 24, 1])
@pytest.mark.parametrize("activation", ["tanh", "relu", "identity", "gelu"])
def test_at_the_critical_exponent_eulers_scheme_is_the_network(
    activation: str, steps: int | None
) -> None:
    net = limits.ResNet(activation, coefficient=0.7)
    limit, sample = brownian(96, net=net)
    h0 = normal_inputs(3, 6)
    solution = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample, keep="all")
    network = net(h0, sample.at_depth(steps or 96), keep="all")
    assert largest_difference(solution, network) < 1e-12


@pytest.mark.parametrize("net", [TANH, RES3], ids=["res-1", "res-3"])
@pytest.mark.parametrize("kernel", ["rbf", "rbf-derivative", "matern-5/2"])
def test_for_smooth_weights_eulers_scheme_is_the_network_as_well(
    kernel: str, net: limits.ResNet
) -> None:
    limit, sample = smooth(96, net=net, kernel=kernel)
    h0 = normal_inputs(2, 5)
    for steps in (96, 32):
        solution = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample, keep="all")
        assert largest_difference(solution, net(h0, sample.at_depth(steps), keep="all")) < 1e-12


def test_a_sample_read_at_a_coarser_depth_sets_the_number_of_steps() -> None:
    limit, sample = brownian(64)
    h0 = normal_inputs(1, 6)
    coarse = limits.EulerMaruyama().solve(limit, h0, sample.at_depth(16))
    assert coarse.depth == 16
    same = limits.EulerMaruyama(steps=16).solve(limit, h0, sample)
    assert largest_difference(coarse, same) == 0


def test_a_coarser_reading_can_be_solved_with_any_divisor_of_the_drawn_depth() -> None:
    limit, sample = brownian(64)
    h0 = normal_inputs(1, 6)
    fine = limits.EulerMaruyama(steps=64).solve(limit, h0, sample.at_depth(16))
    assert largest_difference(fine, limits.EulerMaruyama().solve(limit, h0, sample)) == 0


def test_inputs_may_differ_from_path_to_path() -> None:
    limit, sample = brownian(32, n_paths=20)
    own = normal_inputs(20, 2, 6)
    together = limits.EulerMaruyama().solve(limit, own, sample).terminal
    for number in (0, 7, 19):
        shared = limits.EulerMaruyama().solve(limit, own[number], sample).terminal[number]
        torch.testing.assert_close(together[number], shared, rtol=0, atol=1e-12)


def test_an_overflowing_scheme_says_so() -> None:
    limit, sample = brownian(64, net=limits.ResNet(lambda x: x**3))
    with pytest.raises(limits.NonFiniteStateError, match=r"16 of 16 paths\. Use more steps"):
        limits.EulerMaruyama().solve(limit, 10 * torch.ones(1, 6).double(), sample)


@pytest.mark.thorough
def test_solutions_are_differentiable_in_the_input() -> None:
    limit, sample = brownian(8)
    ode, weights = smooth(8, width=6)
    solves = [
        lambda h: limits.EulerMaruyama().solve(limit, h, sample).terminal,
        lambda h: limits.TorchDiffEq(method="rk4").solve(ode, h, weights).terminal,
        lambda h: limits.TorchDiffEq(rtol=1e-12, atol=1e-14).solve(ode, h, weights).terminal,
        lambda h: limits.TorchSDE().solve(limit, h, sample).terminal,
    ]
    direction = normal_inputs(1, 6, seed=5)
    for solve in solves:
        h0 = normal_inputs(1, 6).requires_grad_()
        (gradient,) = torch.autograd.grad(solve(h0).square().sum(), h0)
        step = 1e-4
        above, below = (
            solve(h0.detach() + sign * step * direction).square().sum() for sign in (1, -1)
        )
        expected = float(above - below) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-6)


# --- torchsde ----------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1024, 1000])
def test_torchsde_on_the_shared_path_equals_our_loop(depth: int) -> None:
    limit, sample = brownian(depth)
    h0 = normal_inputs(3, 6)
    ours = limits.EulerMaruyama().solve(limit, h0, sample, keep="all")
    theirs = limits.TorchSDE().solve(limit, h0, sample, keep="all")
    assert theirs.stats["steps"] == depth
    assert largest_difference(ours, theirs) < 1e-12


@pytest.mark.parametrize("steps", [500, 30, 1])
def test_torchsde_takes_coarser_steps_than_the_draw(steps: int) -> None:
    # 30 divides 3000; torchsde's own clock takes 31 steps of 1/30, in layer units it takes 30.
    depth = 3000 if steps == 30 else 1000
    limit, sample = brownian(depth, width=3)
    h0 = normal_inputs(2, 3)
    ours = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample)
    theirs = limits.TorchSDE(steps=steps).solve(limit, h0, sample)
    assert theirs.stats["steps"] == theirs.depth == steps
    assert largest_difference(ours, theirs) < 1e-12


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("net", "path", "depth"),
    [
        (RES3, limits.BrownianPath(6), 1024),
        (RES3, limits.BrownianPath(6), 1000),
        (TANH, limits.IIDPath(6), 1000),
        (TANH, limits.BrownianPath(6), 1000),
    ],
    ids=["res-3, 1024", "res-3, 1000", "uniform weights", "asked for"],
)
def test_torchsde_on_the_noise_of_a_law_form_equals_our_loop(
    net: limits.ResNet, path: limits.WeightPath, depth: int
) -> None:
    limit = limits.depth_limit(net, path, form="law")
    noise = limit.sample(depth=depth, n_paths=16, seed=0)
    h0 = normal_inputs(3, 6)
    for steps in (depth, depth // 8):
        ours = limits.EulerMaruyama(steps=steps).solve(limit, h0, noise)
        theirs = limits.TorchSDE(steps=steps).solve(limit, h0, noise)
        assert theirs.stats["steps"] == steps
        assert largest_difference(ours, theirs) < 1e-12


def test_torchsde_works_in_single_precision_at_a_depth_that_is_no_power_of_two() -> None:
    limit, _ = brownian(8)
    sample = limits.BrownianPath(6).sample(depth=1000, n_paths=16, seed=0, dtype=torch.float32)
    h0 = normal_inputs(2, 6, dtype=torch.float32)
    theirs = limits.TorchSDE().solve(limit, h0, sample)
    assert theirs.stats["steps"] == 1000
    ours = limits.EulerMaruyama().solve(limit, h0, sample)
    assert theirs.terminal.dtype == torch.float32
    assert relative_difference(theirs.terminal, ours.terminal) < 1e-4


def test_a_wrong_number_of_steps_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # Counting twice stands for a torchsde that takes one step too many.
    from limits.paths.torchsde_noise import GridBrownian

    honest = GridBrownian.__call__

    def counting_twice(self: GridBrownian, *times: float) -> Tensor:
        self.steps += 1
        return honest(self, *times)

    monkeypatch.setattr(GridBrownian, "__call__", counting_twice)
    limit, sample = brownian(8)
    with pytest.raises(limits.SolverError, match="took 16 steps where 8 were asked for"):
        limits.TorchSDE().solve(limit, normal_inputs(1, 6), sample)


# --- torchdiffeq -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [TANH, RES3], ids=["res-1", "res-3"])
@pytest.mark.parametrize("keep", ["terminal", "all"])
def test_torchdiffeq_euler_on_the_grid_is_the_smooth_network(net: limits.ResNet, keep: str) -> None:
    limit, sample = smooth(120, n_paths=20, net=net)
    h0 = normal_inputs(2, 5)
    for steps in (None, 40):
        solution = limits.TorchDiffEq(method="euler", steps=steps).solve(
            limit, h0, sample, keep=keep
        )
        network = net(h0, sample.at_depth(steps or 120), keep=keep)
        assert largest_difference(solution, network) < 1e-12


ORDERS = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}


def converged(limit: limits.DepthLimit, h0: Tensor, *, every: int = 256) -> Tensor:
    """Return states at multiples of `every` / 256: rk4 with 256 steps, right to 1e-10."""
    draw = limit.path.sample(depth=256, n_paths=16, seed=0)
    solution = limits.TorchDiffEq(method="rk4").solve(limit, h0, draw, keep="all")
    return solution.values[::every]


@pytest.mark.thorough
@pytest.mark.parametrize("method", ORDERS)
def test_a_fixed_step_method_shows_its_order(method: str) -> None:
    # One draw, no sampling error: between 32 and 64 steps the order is reached within 0.1.
    limit, sample = smooth(64, length_scale=0.5)
    h0 = normal_inputs(2, 5)
    exact = converged(limit, h0)[-1]
    coarse, fine = (
        limits.TorchDiffEq(method=method, steps=steps).solve(limit, h0, sample).terminal - exact
        for steps in (32, 64)
    )
    assert math.log2(coarse.norm() / fine.norm()) == pytest.approx(ORDERS[method], abs=0.1)


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_an_adaptive_solution_is_as_exact_as_its_tolerance_says(method: str) -> None:
    # Left to itself torchdiffeq steps over t = 1 and interpolates back; the interpolant of dopri8
    # is of low order and its steps are long, so that the error is 100 to 10,000 tolerances.
    limit, sample = smooth(64)
    h0 = normal_inputs(3, 5)
    exact = converged(limit, h0)[-1]
    for rtol in (1e-4, 1e-6, 1e-8):
        solver = limits.TorchDiffEq(method=method, rtol=rtol, atol=rtol / 100)
        solution = solver.solve(limit, h0, sample).terminal
        # Tolerances hold per step and in the mean square over a block: 50 is generous.
        assert relative_difference(solution, exact) < 50 * rtol


def test_dopri5_and_dopri8_agree() -> None:
    limit, sample = smooth(64)
    h0 = normal_inputs(3, 5)
    fifth, eighth = (
        limits.TorchDiffEq(method=method, rtol=1e-9, atol=1e-11).solve(limit, h0, sample).terminal
        for method in ("dopri5", "dopri8")
    )
    assert relative_difference(fifth, eighth) < 5e-8


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_an_adaptive_solution_keeps_the_states_along_the_way(method: str) -> None:
    limit, sample = smooth(16)
    h0 = normal_inputs(2, 5)
    solver = limits.TorchDiffEq(method=method, rtol=1e-10, atol=1e-12)
    every = solver.solve(limit, h0, sample, keep="all")
    assert every.keeps_all
    assert torch.equal(every.values[0], h0.expand(16, -1, -1))
    assert relative_difference(every.values, converged(limit, h0, every=16)) < 1e-8
    ends = solver.solve(limit, h0, sample)
    assert ends.values.shape == (2, 16, 2, 5)
    assert relative_difference(every.terminal, ends.terminal) < 1e-8


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_an_adaptive_solution_does_not_depend_on_the_paths_beside_it(method: str) -> None:
    h0 = normal_inputs(2, 5)
    solver = limits.TorchDiffEq(method=method)

    def solution(n_paths: int) -> Tensor:
        limit, sample = smooth(16, n_paths=n_paths)
        return solver.solve(limit, h0, sample).terminal

    whole = solution(64)
    for n_paths in (16, 32, 48):
        assert torch.equal(solution(n_paths), whole[:n_paths])


def test_a_partly_filled_block_is_solved_within_tolerance_of_the_full_one() -> None:
    # Steps are chosen for what is in the block, so the last paths of a draw that is no multiple
    # of sixteen agree with those of a longer one up to the tolerance only.
    h0 = normal_inputs(2, 5)
    solver = limits.TorchDiffEq(method="dopri5", rtol=1e-8, atol=1e-10)
    limit, few = smooth(16, n_paths=20)
    _, many = smooth(16, n_paths=48)
    short, long = (solver.solve(limit, h0, sample).terminal for sample in (few, many))
    assert torch.equal(short[:16], long[:16])
    assert relative_difference(short[16:], long[16:20]) < 1e-6


@pytest.mark.thorough
def test_a_failing_adaptive_solve_is_reported_as_ours() -> None:
    path = limits.SmoothPath(4)
    net = limits.ResNet(lambda x: x**3)
    sample = path.sample(depth=8, n_paths=16, seed=0)
    limit = limits.depth_limit(net, path)
    with pytest.raises(limits.SolverError, match=r"dopri5 gave up .*Loosen the tolerances"):
        limits.TorchDiffEq().solve(limit, 100 * torch.ones(1, 4).double(), sample)


# --- exact solutions ---------------------------------------------------------------------------


def constant_weights() -> tuple[limits.DepthLimit, limits.WeightSample, Tensor]:
    """Return the linear limit on weights that are constant to 1e-9, and those weights."""
    limit, sample = smooth(256, net=limits.ResNet("identity"), length_scale=1e9)
    weights = sample.weights_at(0.5)
    spread = float((sample.weights_at(1.0) - sample.weights_at(0.0)).abs().max())
    assert 0 < spread < 1e-8
    return limit, sample, weights


def test_constant_weights_have_the_matrix_exponential_for_their_limit() -> None:
    limit, sample, weights = constant_weights()
    h0 = normal_inputs(3, 5)
    exact = h0 @ torch.linalg.matrix_exp(weights).mT
    solver = limits.TorchDiffEq(method="dopri8", rtol=1e-11, atol=1e-13)
    assert relative_difference(solver.solve(limit, h0, sample).terminal, exact) < 1e-8


def test_a_network_of_constant_weights_is_a_matrix_power_at_order_one_from_the_exponential() -> (
    None
):
    limit, sample, weights = constant_weights()
    h0 = normal_inputs(3, 5)
    exact = h0 @ torch.linalg.matrix_exp(weights).mT
    one = torch.eye(5, dtype=torch.float64)
    errors = []
    for depth in (16, 32, 64, 128, 256):
        out = limit.net(h0, sample.at_depth(depth)).terminal
        power = torch.linalg.matrix_power(one + weights / depth, depth)
        assert relative_difference(out, h0 @ power.mT) < 1e-8
        errors.append((out - exact).norm(dim=-1).square().mean(dim=1).sqrt())
    order = limits.fit_order(torch.stack(errors), depths=(16, 32, 64, 128, 256), p=2, seed=0)
    # Deterministic given V: h_L - H_1 = -V^2 exp(V) h_0 / (2 L) + O(L^-2).
    leading = (h0 @ (weights @ weights @ torch.linalg.matrix_exp(weights)).mT / 512).norm(dim=-1)
    torch.testing.assert_close(errors[-1], leading.square().mean(dim=1).sqrt(), rtol=0.05, atol=0)
    assert order.agrees_with(1.0)


def test_the_closed_form_of_width_one_is_the_exponential_martingale() -> None:
    net = limits.ResNet("identity", coefficient=0.8)
    limit, sample = brownian(512, width=1, n_paths=64, net=net)
    h0 = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    exact = limits.ClosedForm().solve(limit, h0, sample, keep="all")
    motion = sample.increments[:, :, 0, 0].cumsum(dim=0)
    times = torch.arange(1, 513).double() / 512
    growth = torch.exp(0.8 * motion - 0.32 * times[:, None])
    expected = h0.T[None, 0, :] * growth[..., None]
    torch.testing.assert_close(exact.values[1:, :, :, 0], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(exact.values[0], h0.expand(64, -1, -1))
    assert exact.keeps_all


def test_the_closed_form_is_the_same_at_every_depth_the_draw_is_read_at() -> None:
    limit, sample = brownian(64, width=1, net=limits.ResNet("identity"))
    h0 = torch.ones(1, 1, dtype=torch.float64)
    solve = limits.ClosedForm().solve
    fine = solve(limit, h0, sample, keep="all")
    coarse = solve(limit, h0, sample.at_depth(8), keep="all")
    torch.testing.assert_close(coarse.values, fine.values[::8], rtol=1e-12, atol=0)
    ends = solve(limit, h0, sample)
    torch.testing.assert_close(ends.terminal, fine.terminal, rtol=1e-12, atol=0)


def test_our_scheme_approaches_the_closed_form_at_the_exact_rate() -> None:
    # E|h_L - H_1|^2 = e - (1 + 1/L)^L for every L; the standard error is that of the squares.
    # Over eight seeds the largest of the three distances was between 0.7 and 2.2.
    limit, sample = brownian(64, width=1, n_paths=20_000, net=limits.ResNet("identity"))
    h0 = torch.ones(1, 1, dtype=torch.float64)
    exact = limits.ClosedForm().solve(limit, h0, sample)
    for steps in (4, 16, 64):
        ours = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample)
        squares = (ours.terminal - exact.terminal).square().flatten()
        error = float(squares.std()) / len(squares) ** 0.5
        theory = float(limits.closed_forms.linear_strong_error(steps)) ** 2
        assert abs(float(squares.mean()) - theory) < 4 * error


# --- every solver ------------------------------------------------------------------------------


def test_every_solver_returns_the_same_kind_of_trajectory() -> None:
    limit, sample = brownian(8, width=1, net=limits.ResNet("identity"))
    ode, weights = smooth(8, width=1)
    h0 = normal_inputs(3, 1)
    for solver, equation, draw in (
        (limits.EulerMaruyama(), limit, sample),
        (limits.TorchSDE(), limit, sample),
        (limits.ClosedForm(), limit, sample),
        (limits.EulerMaruyama(), ode, weights),
        (limits.TorchDiffEq(), ode, weights),
        (limits.TorchDiffEq(method="euler"), ode, weights),
    ):
        for keep, length in (("terminal", 2), ("all", 9)):
            out = solver.solve(equation, h0, draw, keep=keep)
            assert out.values.shape == (length, 16, 3, 1)
            assert out.times.dtype == torch.float64
            torch.testing.assert_close(out.times, torch.linspace(0, 1, length).double())
            assert out.tag == draw.tag
            assert torch.equal(out.values[0], h0.expand(16, -1, -1))
            torch.testing.assert_close(out.log_norm, out.terminal.norm(dim=-1).log())


@pytest.mark.thorough
@pytest.mark.parametrize("threads", [1, 2])
def test_solutions_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    limit, sample = brownian(32, width=20, n_paths=800)
    ode, weights = smooth(32, width=20, n_paths=48)
    h0 = normal_inputs(2, 20)
    reference = [
        limits.EulerMaruyama().solve(limit, h0, sample).terminal,
        limits.TorchDiffEq().solve(ode, h0, weights).terminal,
    ]
    torch.set_num_threads(threads)
    again = [
        limits.EulerMaruyama().solve(limit, h0, sample).terminal,
        limits.TorchDiffEq().solve(ode, h0, weights).terminal,
    ]
    assert all(torch.equal(a, b) for a, b in zip(reference, again, strict=True))


@pytest.mark.parametrize("block", ["res-1", pytest.param("res-2", marks=pytest.mark.thorough)])
def test_adaptive_solution_does_not_depend_on_what_is_solved_beside_it(block):
    path, net = limits.SmoothPath(3), limits.ResNet("tanh", block=block)
    h0 = torch.ones(1, 3, dtype=torch.float64)
    limit = limits.depth_limit(net, path)
    solver = limits.TorchDiffEq(method="bosh3", rtol=1e-3, atol=1e-5)
    sample = path.sample(depth=16, n_paths=19, seed=0)
    full = solver.solve(limit, h0, sample).terminal
    for n in (1, 15, 17):
        few = path.sample(depth=16, n_paths=n, seed=0)
        assert torch.equal(solver.solve(limit, h0, few).terminal, full[:n])
    assert torch.equal(solver.solve(limit, h0, sample.part(5, 13)).terminal, full[5:18])
    inputs = torch.cat([h0, -h0])
    both = solver.solve(limit, inputs, sample).terminal
    assert torch.equal(both[:, :1], full)
    own = inputs.expand(4, -1, -1).clone()
    own[1] *= 2
    found = solver.solve(limit, own, sample.part(0, 4)).terminal
    assert torch.equal(found[[0, 2, 3]], both[[0, 2, 3]])
