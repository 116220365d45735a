"""Bugs put in on purpose: each is noticed by a check that passes on the real code.

These are the mistakes that this field makes silently: a reference solved on other noise than the
network's, a layer looked up with floor, and smooth weights read by summing like noise.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
import torchsde

import limits
from limits.paths import sample as sample_module
from limits.paths.increments import DenseIncrement, Layer
from limits.paths.reading import Reading, coupled_layers
from limits.paths.torchsde_noise import GridBrownian
from tests.helpers import normal_inputs

TANH = limits.ResNet("tanh")


# --- the checks --------------------------------------------------------------------------------


def check_the_order_against_a_fine_solution() -> None:
    """Solve the limit with 1024 steps on the network's own sample; expect strong order 1/2."""
    path, depths = limits.BrownianPath(4), (4, 8, 16, 32, 64)
    limit = limits.depth_limit(TANH, path)
    sample = path.sample(depth=1024, n_paths=1024, seed=0)
    h0 = normal_inputs(1, 4)
    reference = limits.EulerMaruyama().solve(limit, h0, sample)
    networks = [TANH(h0, sample.at_depth(depth)) for depth in depths]
    coupled = [limits.strong_error(network, reference) for network in networks]
    errors = torch.stack([(n.terminal - reference.terminal).norm(dim=-1)[:, 0] for n in networks])
    order = limits.fit_order(errors, depths=depths, seed=0)
    # Over eight seeds the order lay in [0.502, 0.510], the interval was at most 0.027 wide.
    assert order.agrees_with(0.5)
    assert coupled[-1].value < coupled[0].value / 3


def check_torchsde_in_units_of_time_at_a_thousand_layers() -> None:
    """Let torchsde keep its own clock; expect the path of our loop.

    With steps of 1/1000 floor happens to find every layer, because the clock runs ahead of the
    grid; with steps of 1/100 it falls behind at five of them and floor is one layer short.
    """
    path = limits.BrownianPath(4)
    sample = path.sample(depth=1000, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(1, 4)
    for steps in (1000, 100):
        y = torchsde.sdeint(
            limit.as_torchsde(sample),
            limit.pack(h0, 16),
            torch.tensor([0.0, 1.0], dtype=torch.float64),
            bm=sample.as_torchsde(),
            dt=1 / steps,
            method="euler",
        )
        ours = limits.EulerMaruyama(steps=steps).solve(limit, h0, sample).terminal
        assert float((limit.unpack(y)[-1] - ours).abs().max()) < 1e-12


def check_a_shallow_smooth_network_against_torchdiffeq() -> None:
    """Take Euler steps of torchdiffeq on a coarse grid; expect the network of that depth."""
    path = limits.SmoothPath(4)
    sample = path.sample(depth=256, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(1, 4)
    network = TANH(h0, sample.at_depth(32)).terminal
    solution = limits.TorchDiffEq(method="euler", steps=32).solve(limit, h0, sample).terminal
    assert float((network - solution).abs().max()) < 1e-12


CHECKS = (
    check_the_order_against_a_fine_solution,
    check_torchsde_in_units_of_time_at_a_thousand_layers,
    check_a_shallow_smooth_network_against_torchdiffeq,
)


@pytest.mark.parametrize("check", CHECKS)
def test_the_checks_pass_on_the_real_code(check: object) -> None:
    assert callable(check)
    check()


# --- a reference on independent noise ----------------------------------------------------------


def solve_on_other_noise(monkeypatch: pytest.MonkeyPatch, *, forge_the_tag: bool) -> None:
    """Let Euler's scheme draw its own weights instead of reading the network's."""
    honest = limits.EulerMaruyama.solve

    def solve(
        self: limits.EulerMaruyama,
        limit: limits.DepthLimit,
        h0: torch.Tensor,
        sample: limits.WeightSample,
        *,
        keep: str = "terminal",
    ) -> limits.Trajectory:
        other = dataclasses.replace(sample, seed=sample.seed + 1)
        solution = honest(self, limit, h0, other, keep=keep)
        return dataclasses.replace(solution, tag=sample.tag) if forge_the_tag else solution

    monkeypatch.setattr(limits.EulerMaruyama, "solve", solve)


@pytest.mark.thorough
def test_a_reference_on_other_noise_is_refused_by_its_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    solve_on_other_noise(monkeypatch, forge_the_tag=False)
    with pytest.raises(limits.CouplingError, match="or use weak_error"):
        check_the_order_against_a_fine_solution()


@pytest.mark.thorough
def test_a_reference_on_other_noise_shows_in_the_order_if_its_tag_is_forged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solve_on_other_noise(monkeypatch, forge_the_tag=True)
    with pytest.raises(AssertionError):
        check_the_order_against_a_fine_solution()


def test_a_study_refuses_a_reference_on_other_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    # Away from the critical exponent the reference is the input, at once on every path, and an
    # ODE's is solved by Euler's scheme here: the study must look at the tag of both.
    solve_on_other_noise(monkeypatch, forge_the_tag=False)
    with pytest.raises(limits.CouplingError, match="or use weak_error"):
        limits.convergence_study(
            TANH,
            limits.SmoothPath(4),
            depths=(4, 8, 16),
            n_paths=16,
            seed=0,
            reference=limits.EulerMaruyama(),
        )


# --- floor for round ---------------------------------------------------------------------------


@pytest.mark.thorough
def test_floor_in_the_layer_lookup_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def floored(self: GridBrownian, t: float | torch.Tensor) -> int:
        return math.floor(float(t) * self._fine_per_unit)

    monkeypatch.setattr(GridBrownian, "_index", floored)
    with pytest.raises(AssertionError):
        check_torchsde_in_units_of_time_at_a_thousand_layers()


def test_floor_in_the_layer_lookup_is_refused_as_off_the_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The same slip with the library's own guard left in place: floor finds the layer before, which
    # is then almost a whole layer away from the time that was asked for.
    from limits.paths import torchsde_noise

    monkeypatch.setattr(torchsde_noise, "round", math.floor, raising=False)
    with pytest.raises(limits.SolverError, match="layers into a path drawn with 1000"):
        check_torchsde_in_units_of_time_at_a_thousand_layers()


# --- a smooth path read by summing -------------------------------------------------------------


def summed_layers(reading: Reading, depths: Sequence[int]) -> Iterator[Layer]:
    """Read every path like noise: a coarse increment is the sum of the fine ones, V(k/L) / L."""
    if reading.source.reading == "sum":
        yield from coupled_layers(reading, depths)
        return
    finest = reading.source.depth
    totals: dict[int, list[DenseIncrement]] = {}
    for layer in coupled_layers(reading, [finest]):
        assert isinstance(layer.increment, DenseIncrement)
        parts = [layer.increment]
        if layer.inner is not None:
            assert isinstance(layer.inner, DenseIncrement)
            parts.append(layer.inner.scaled(1 / finest))
        for depth in depths:
            if layer.index % (finest // depth):
                totals[depth] = [
                    total.plus(part, owned=False)
                    for total, part in zip(totals[depth], parts, strict=True)
                ]
            else:
                totals[depth] = parts
            if (layer.index + 1) % (finest // depth) == 0:
                outer, *inner = totals[depth]
                order_one = inner[0].scaled(float(depth)) if inner else None
                yield Layer(depth, layer.index * depth // finest, outer, order_one)


def test_a_smooth_path_read_by_summing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "coupled_layers", summed_layers)
    with pytest.raises(AssertionError):
        check_a_shallow_smooth_network_against_torchdiffeq()


def test_summing_is_wrong_by_so_little_that_the_network_still_converges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Why convergence is not enough to notice it: averaged weights are as good as sampled ones to
    # first order in 1/L, so the network still converges. Only an exact comparison tells.
    monkeypatch.setattr(sample_module, "coupled_layers", summed_layers)
    path = limits.SmoothPath(4)
    sample = path.sample(depth=128, n_paths=16, seed=0)
    limit = limits.depth_limit(TANH, path)
    h0 = normal_inputs(1, 4)
    exact = limits.TorchDiffEq(method="rk4").solve(limit, h0, sample)
    shallow, deep = (
        limits.strong_error(TANH(h0, sample.at_depth(depth)), exact).value for depth in (8, 64)
    )
    assert deep < shallow / 3


def test_the_injected_reading_is_the_real_one_where_nothing_is_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The bug is a bug in reading coarser only: at the drawn depth it changes no number.
    sample = limits.SmoothPath(4).sample(depth=16, n_paths=16, seed=0)
    net = limits.ResNet("relu", block="res-3")
    real = net(normal_inputs(1, 4), sample).terminal
    monkeypatch.setattr(sample_module, "coupled_layers", summed_layers)
    assert torch.equal(net(normal_inputs(1, 4), sample).terminal, real)
