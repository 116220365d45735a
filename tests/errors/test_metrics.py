"""Strong and weak errors: small cases by hand, standard errors by replication."""

import math

import pytest
import torch
from torch import Tensor

import limits
from limits.errors.metrics import path_errors
from limits.trajectory import norms_of
from tests.helpers import normal_inputs

Solution = limits.Trajectory


def trajectory(values: Tensor, *, tag: str = "draw") -> Solution:
    """Wrap states ``(time, path, input, width)``, at equally spaced times."""
    steps = len(values) - 1
    times = torch.arange(steps + 1, dtype=torch.float64) / steps
    return limits.Trajectory(
        times=times, values=values, tag=tag, log_norms=norms_of(values), stats={"depth": steps}
    )


def at_the_end(terminal: Tensor, *, tag: str = "draw") -> Solution:
    """Wrap terminal states ``(path, input, width)``."""
    return trajectory(torch.stack([torch.zeros_like(terminal), terminal]), tag=tag)


# Two paths, one input, width two: distances 5 and 13.
A = torch.tensor([[[3.0, 4.0]], [[5.0, 12.0]]], dtype=torch.float64)
ZERO = torch.zeros_like(A)


# --- the strong error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "value", "standard_error"),
    [
        # The mean of 5 and 13, sd sqrt(32), over sqrt(2).
        (1, 9.0, 4.0),
        # The root of the mean of 25 and 169 is sqrt(97); the mean has s.e. 72, times 1 / (2 root).
        (2, math.sqrt(97), 72 / (2 * math.sqrt(97))),
    ],
)
def test_the_strong_error_of_two_paths_by_hand(p: int, value: float, standard_error: float) -> None:
    estimate = limits.strong_error(at_the_end(A), at_the_end(ZERO), p=p)
    assert estimate.value == pytest.approx(value, rel=1e-14)
    assert estimate.standard_error == pytest.approx(standard_error, rel=1e-14)
    assert estimate.n == 2


def test_the_strong_error_is_symmetric_and_zero_on_itself() -> None:
    a, b = at_the_end(normal_inputs(16, 2, 3)), at_the_end(normal_inputs(16, 2, 3, seed=1))
    assert limits.strong_error(a, b) == limits.strong_error(b, a)
    assert limits.strong_error(a, a) == limits.Estimate(0.0, 0.0, 16)


@pytest.mark.parametrize(("p", "expected"), [(1, [4.0, 1.5]), (2, [math.sqrt(17), math.sqrt(4.5)])])
def test_inputs_are_averaged_within_a_path(p: int, expected: list[float]) -> None:
    # Width one, two inputs: distances (3, 5) on the first path and (0, 3) on the second. For p = 2
    # squares are averaged: (9 + 25) / 2 and 9 / 2.
    a = torch.tensor([[[3.0], [-5.0]], [[0.0], [3.0]]], dtype=torch.float64)
    errors = path_errors(at_the_end(a), at_the_end(torch.zeros_like(a)), p=p)
    assert errors.tolist() == pytest.approx(expected, rel=1e-14)
    estimate = limits.strong_error(at_the_end(a), at_the_end(torch.zeros_like(a)), p=p)
    powers = [value**p for value in expected]
    assert estimate.value == pytest.approx((sum(powers) / 2) ** (1 / p), rel=1e-14)
    assert estimate.n == 2


def test_copies_of_an_input_add_nothing_to_the_confidence() -> None:
    a, b = normal_inputs(32, 1, 3), normal_inputs(32, 1, 3, seed=1)
    once = limits.strong_error(at_the_end(a), at_the_end(b))
    copies = limits.strong_error(at_the_end(a.expand(-1, 7, -1)), at_the_end(b.expand(-1, 7, -1)))
    assert copies.value == pytest.approx(once.value, rel=1e-12)
    assert copies.standard_error == pytest.approx(once.standard_error, rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("p", [1, 2])
def test_the_standard_error_is_the_spread_of_the_estimate_over_replications(p: int) -> None:
    # 1500 independent replications of an estimate from 256 paths: their standard deviation is
    # known within 1.8 %, the mean of the reported standard errors much better; delta-method and
    # small-sample bias are of relative size 1/256.
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(1500, 256, 1, 3, generator=generator, dtype=torch.float64)
    zero = at_the_end(torch.zeros(256, 1, 3, dtype=torch.float64))
    estimates = [limits.strong_error(at_the_end(draw), zero, p=p) for draw in draws]
    spread = float(torch.tensor([each.value for each in estimates]).double().std())
    reported = sum(each.standard_error for each in estimates) / len(estimates)
    # Over eight seeds the ratio lay in [0.936, 1.028].
    assert reported / spread == pytest.approx(1, abs=0.08)


def test_a_single_path_has_no_standard_error() -> None:
    estimate = limits.strong_error(at_the_end(A[:1]), at_the_end(ZERO[:1]))
    assert estimate.value == 5
    assert math.isnan(estimate.standard_error)
    assert estimate.n == 1


def test_single_precision_states_are_compared_in_double_precision() -> None:
    # In float32 the difference of these would be zero.
    a = at_the_end(torch.full((2, 1, 1), 1.0, dtype=torch.float32))
    b = at_the_end(torch.full((2, 1, 1), 1.0 + 2.0**-30, dtype=torch.float64))
    assert limits.strong_error(a, b).value == pytest.approx(2.0**-30, rel=1e-12)


# --- uniform in time ---------------------------------------------------------------------------


def test_the_uniform_error_is_the_largest_distance_along_the_way() -> None:
    # Five and three times in common at 0, 1/2, 1; distances there 0, 7, 1 and 0, 2, 4.
    fine = torch.zeros(5, 2, 1, 1, dtype=torch.float64)
    fine[:, 0, 0, 0] = torch.tensor([0, 100.0, 7, 100, 1])
    fine[:, 1, 0, 0] = torch.tensor([0, 100.0, -2, 100, 4])
    coarse = torch.zeros(3, 2, 1, 1, dtype=torch.float64)
    for a, b in ((fine, coarse), (coarse, fine)):
        estimate = limits.strong_error(trajectory(a), trajectory(b), time="uniform")
        assert estimate.value == pytest.approx(math.sqrt((49 + 16) / 2), rel=1e-14)
        estimate = limits.strong_error(trajectory(a), trajectory(b), time="uniform", p=1)
        assert estimate.value == pytest.approx(5.5, rel=1e-14)


def test_the_largest_distance_is_taken_for_each_input_before_they_are_averaged() -> None:
    states = torch.zeros(3, 2, 2, 1, dtype=torch.float64)
    states[1, 0, 0] = 3.0
    states[2, 0, 1] = 4.0
    errors = path_errors(
        trajectory(states), trajectory(torch.zeros_like(states)), p=1, time="uniform"
    )
    assert errors.tolist() == [3.5, 0.0]


def test_the_uniform_error_is_never_smaller_than_the_terminal_one() -> None:
    sample = limits.BrownianPath(4).sample(depth=256, n_paths=64, seed=0)
    net, h0 = limits.ResNet("tanh"), normal_inputs(2, 4)
    shallow = net(h0, sample.at_depth(16), keep="all")
    deep = net(h0, sample, keep="all")
    terminal = path_errors(shallow, deep)
    uniform = path_errors(shallow, deep, time="uniform")
    assert bool((uniform >= terminal).all())
    assert float(uniform.mean()) > 1.05 * float(terminal.mean())


@pytest.mark.parametrize("kept", [("terminal", "terminal"), ("all", "terminal")])
def test_the_uniform_error_asks_for_the_states_along_the_way(kept: tuple[str, str]) -> None:
    sample = limits.BrownianPath(4).sample(depth=16, n_paths=16, seed=0)
    net, h0 = limits.ResNet("tanh"), normal_inputs(1, 4)
    a, b = (
        net(h0, sample.at_depth(depth), keep=keep)
        for depth, keep in zip((8, 16), kept, strict=True)
    )
    with pytest.raises(limits.ShapeError, match=r'share 2 times\. Call .* with keep="all"'):
        limits.strong_error(a, b, time="uniform")


def test_the_uniform_error_asks_for_depths_that_divide_one_another() -> None:
    sample = limits.BrownianPath(4).sample(depth=24, n_paths=16, seed=0)
    net, h0 = limits.ResNet("tanh"), normal_inputs(1, 4)
    a, b = (net(h0, sample.at_depth(depth), keep="all") for depth in (8, 12))
    with pytest.raises(limits.ShapeError, match="depths that divide one another"):
        limits.strong_error(a, b, time="uniform")


# --- what may be compared ----------------------------------------------------------------------


def test_uncoupled_trajectories_are_refused_with_both_tags() -> None:
    path, net, h0 = limits.BrownianPath(4), limits.ResNet("tanh"), normal_inputs(1, 4)
    a, b = (net(h0, path.sample(depth=16, n_paths=16, seed=seed)) for seed in (0, 1))
    with pytest.raises(limits.CouplingError, match="or use weak_error") as caught:
        limits.strong_error(a, b)
    assert f"#{a.tag}" in str(caught.value)
    assert f"#{b.tag}" in str(caught.value)


def test_the_same_seed_at_another_depth_or_width_or_law_is_another_draw() -> None:
    net, h0 = limits.ResNet("tanh"), normal_inputs(1, 4)
    tags = {
        net(h0, path.sample(depth=depth, n_paths=16, seed=0)).tag
        for path in (limits.BrownianPath(4), limits.IIDPath(4), limits.IIDPath(4, law="rademacher"))
        for depth in (16, 32)
    }
    assert len(tags) == 6


def test_one_draw_read_at_two_depths_by_two_solvers_is_coupled() -> None:
    path, net, h0 = limits.BrownianPath(4), limits.ResNet("tanh"), normal_inputs(1, 4)
    sample = path.sample(depth=64, n_paths=16, seed=0)
    limit = limits.depth_limit(net, path)
    shallow = net(h0, sample.at_depth(8))
    for solver in (limits.EulerMaruyama(), limits.TorchSDE()):
        assert 0 < limits.strong_error(shallow, solver.solve(limit, h0, sample)).value < 1


def test_overflowed_trajectories_have_no_mean_error() -> None:
    a = A.clone()
    a[1, 0, 0] = math.inf
    with pytest.raises(limits.NonFiniteStateError, match=r"1 of 2 paths .* out.log_norm"):
        limits.strong_error(at_the_end(a), at_the_end(ZERO))


# --- the weak error ----------------------------------------------------------------------------


def first_entry(h: Tensor) -> Tensor:
    return h[..., 0]


def test_the_weak_error_of_two_paths_by_hand() -> None:
    # phi is 3 and 5 on one side, 0 on the other: difference 4, sd sqrt(2), over sqrt(2).
    coupled = limits.weak_error(at_the_end(A), at_the_end(ZERO), functional=first_entry)
    assert (coupled.value, coupled.n) == (4.0, 2)
    assert coupled.standard_error == pytest.approx(1.0, rel=1e-14)
    number = limits.weak_error(at_the_end(A), 4.5, functional=first_entry)
    assert (number.value, number.n) == (0.5, 2)
    assert number.standard_error == pytest.approx(1.0, rel=1e-14)


def test_the_weak_error_is_paired_exactly_when_the_draws_agree() -> None:
    a = normal_inputs(64, 2, 3)
    b = a + 0.01 * normal_inputs(64, 2, 3, seed=1)
    paired = limits.weak_error(at_the_end(a), at_the_end(b), functional=first_entry)
    apart = limits.weak_error(at_the_end(a), at_the_end(b, tag="other"), functional=first_entry)
    assert paired.value == pytest.approx(apart.value, rel=1e-12)
    difference = (first_entry(a) - first_entry(b)).mean(dim=1)
    assert paired.standard_error == pytest.approx(float(difference.std()) / 8, rel=1e-12)
    separate = [float(first_entry(each).mean(dim=1).std()) / 8 for each in (a, b)]
    assert apart.standard_error == pytest.approx(math.hypot(*separate), rel=1e-12)
    assert paired.standard_error < apart.standard_error / 20


def test_unpaired_sides_may_have_different_numbers_of_paths_and_inputs() -> None:
    a, b = at_the_end(normal_inputs(64, 2, 3)), at_the_end(normal_inputs(100, 1, 3), tag="other")
    estimate = limits.weak_error(a, b, functional=first_entry)
    sides = [first_entry(each.terminal).mean(dim=1) for each in (a, b)]
    assert estimate.value == pytest.approx(abs(float(sides[0].mean() - sides[1].mean())))
    assert estimate.standard_error == pytest.approx(
        math.hypot(*(float(side.std()) / len(side) ** 0.5 for side in sides))
    )
    assert estimate.n == 64


def test_the_weak_error_may_be_asked_of_a_network_and_a_limit_in_law() -> None:
    # Exact: E|h_L|^2 = (1 + 1/(2L))^L for the network and for Euler's scheme of its limit, so the
    # two agree at equal depth whatever the law of the weights. Over eight seeds the difference
    # was at most 2.1 standard errors.
    path, net = limits.IIDPath(8), limits.ResNet("relu", block="res-3")
    limit = limits.depth_limit(net, path)
    h0 = torch.eye(1, 8, dtype=torch.float64)
    out = net(h0, path.sample(depth=8, n_paths=4000, seed=0))
    noise = limit.sample(depth=8, n_paths=4000, seed=0)
    solution = limits.EulerMaruyama().solve(limit, h0, noise)
    estimate = limits.weak_error(out, solution, functional=lambda h: h.square().sum(-1))
    assert estimate.value < 4 * estimate.standard_error < 0.1


def test_the_weak_error_compares_terminal_states_only() -> None:
    states = torch.zeros(3, 2, 1, 2, dtype=torch.float64)
    states[1] = 100.0
    states[2, :, 0] = A[:, 0]
    estimate = limits.weak_error(trajectory(states), 0.0, functional=first_entry)
    assert estimate.value == 4.0


def test_an_estimate_keeps_its_sign_out_of_the_value_and_says_its_interval() -> None:
    below = limits.weak_error(at_the_end(ZERO), at_the_end(A), functional=first_entry)
    assert below.value == 4.0
    assert below.interval == pytest.approx((4 - 1.96, 4 + 1.96))


def test_functional_that_acts_in_place_changes_no_trajectory():
    sample = limits.BrownianPath(2).sample(depth=4, n_paths=8, seed=0)
    out = limits.ResNet("tanh")(torch.ones(1, 2, dtype=torch.float64), sample)
    before = out.values.clone()
    found = limits.weak_error(out, 0.0, functional=lambda h: h.abs_().mul_(2)[..., 0])
    assert torch.equal(out.values, before)
    assert found == limits.weak_error(out, 0.0, functional=lambda h: 2 * h.abs()[..., 0])


def test_advice_about_dtypes_is_taken_by_the_next_call():
    sample = limits.BrownianPath(2).sample(depth=4, n_paths=8, seed=0)
    for dtype in (torch.float16, torch.bfloat16, torch.int64):
        h0 = torch.ones(1, 2).to(dtype)
        with pytest.raises(limits.DTypeError, match=r"sample\.dtype\)\.$"):
            limits.ResNet("tanh")(h0, sample)
        limits.ResNet("tanh")(h0.to(sample.device, sample.dtype), sample)


@pytest.mark.parametrize("size", [1.0, 1e-160, 1e200])
def test_error_of_a_path_has_the_same_bits_beside_larger_ones(size):
    sample = limits.BrownianPath(3).sample(depth=4, n_paths=5, seed=0)
    net, h0 = limits.ResNet("identity"), size * normal_inputs(2, 3)
    h0 = torch.stack([h0 * 7.0**n for n in range(5)])
    deep, shallow = net(h0, sample), net(h0, sample.at_depth(2))
    together = limits.path_errors(deep, shallow)
    for n in range(5):
        part = sample.part(n, 1)
        alone = limits.path_errors(net(h0[n : n + 1], part), net(h0[n : n + 1], part.at_depth(2)))
        assert torch.equal(alone, together[n : n + 1])
    assert (together > 0).all()
