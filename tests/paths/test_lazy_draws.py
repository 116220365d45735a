"""Lazy draws read by networks and solvers: one draw is one set of matrices."""

import copy
import gc
import math
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import limits
from limits.paths.base import WeightPath
from limits.paths.lazy import draw as lazy_draw
from limits.paths.lazy.turns import Turns
from tests.helpers import normal_inputs, relative_difference
from tests.problems import linear_log_moments

F32, F64 = torch.float32, torch.float64
NETWORKS = (
    limits.ResNet("tanh"),
    limits.ResNet("relu"),
    limits.ResNet("tanh", block="res-2"),
    limits.ResNet("relu", block="res-3"),
)
every_network = pytest.mark.parametrize(
    "net", NETWORKS, ids=lambda net: f"{net.activation}-{net.block}"
)
PATH = limits.BrownianPath(5)
H0 = normal_inputs(2, 5)


def lazy(depth: int = 12, n_paths: int = 40, width: int = 5, **changes) -> limits.WeightSample:
    settings = {"depth": depth, "n_paths": n_paths, "seed": 0, "lazy": True} | changes
    return limits.BrownianPath(width).sample(**settings)


def matrices(sample: limits.WeightSample) -> Tensor:
    """Return order-one weights ``(layer, path, width, width)`` by asking about the whole basis."""
    basis = torch.eye(sample.width, dtype=sample.dtype).expand(sample.n_paths, -1, -1)
    columns = [layer.increment.mv(basis).mT for layer in sample.layers()]
    return torch.stack(columns) * math.sqrt(sample.depth)


def dense_states(net: limits.ResNet, sample: limits.WeightSample, h0: Tensor) -> Tensor:
    """Run the recursion on the matrices that a draw admits to when asked for everything."""
    outer = matrices(sample)
    inner = matrices(sample.inner) if net.block in ("res-2", "res-3") else None
    activation = {"tanh": torch.tanh, "relu": torch.relu}[str(net.activation)]
    h = h0.expand(sample.n_paths, -1, -1)
    for k in range(sample.depth):
        field = h if inner is None else torch.bmm(h, inner[k].mT)
        h = h + torch.bmm(activation(field), outer[k].mT) / math.sqrt(sample.depth)
    return h


# --- the same callers --------------------------------------------------------------------------


@every_network
def test_a_network_read_the_matrices_that_its_draw_admits_to_afterwards(net):
    sample = lazy()
    out = net(H0, sample)
    assert relative_difference(dense_states(net, sample, H0), out.terminal) < 1e-12


@every_network
def test_later_calls_see_the_matrices_of_the_earlier_ones(net):
    sample = lazy()
    out = net(H0, sample, keep="all")
    other = net(normal_inputs(1, 5, seed=4), sample)
    h, q = net.tangent(H0, normal_inputs(2, 5, seed=5), sample)
    cotangent = normal_inputs(40, 2, 5, seed=6)
    p = net.backward(out, sample, cotangent)
    again = net(H0, sample)
    assert relative_difference(again.terminal, out.terminal) < 1e-12
    assert relative_difference(h.terminal, out.terminal) < 1e-12
    # Duality of tangents and gradients: <p_L, q_L> = <p_0, q_0>.
    forth, back = (cotangent * q.terminal).sum(dim=-1), (p.values[0] * q.values[0]).sum(dim=-1)
    assert relative_difference(back, forth) < 1e-11
    assert relative_difference(dense_states(net, sample, H0), out.terminal) < 1e-12
    shifted = normal_inputs(1, 5, seed=4)
    assert relative_difference(dense_states(net, sample, shifted), other.terminal) < 1e-12


@every_network
@pytest.mark.parametrize("remember", [True, False])
def test_gradients_agree_with_autograd_through_the_matrices(net, remember, monkeypatch):
    if not remember:
        monkeypatch.setattr(lazy_draw, "MEMORY", 0)
    sample = lazy()
    h0 = normal_inputs(40, 2, 5, seed=1).requires_grad_()
    cotangent = normal_inputs(40, 2, 5, seed=2)
    (gradient,) = torch.autograd.grad((net(h0, sample).terminal * cotangent).sum(), h0)
    if remember:
        states = dense_states(net, sample, h0)
        (expected,) = torch.autograd.grad((states * cotangent).sum(), h0)
        assert relative_difference(gradient, expected) < 1e-11
        out = net(h0.detach(), sample)
        p = net.backward(out, sample, cotangent)
        assert relative_difference(p.values[0], expected) < 1e-11
    else:
        # The graph itself keeps what was answered: gradients belong to the same call.
        assert gradient.shape == h0.shape
        assert bool(torch.isfinite(gradient).all())


def test_gradients_through_a_lazy_draw_are_finite_differences():
    sample, net = lazy(), NETWORKS[0]
    h0, direction = normal_inputs(40, 1, 5, seed=1), normal_inputs(40, 1, 5, seed=2)
    cotangent = normal_inputs(40, 1, 5, seed=3)
    p = net.backward(net(h0, sample, keep="all"), sample, cotangent)
    ends = [net(h0 + step * direction, sample).terminal for step in (1e-6, -1e-6)]
    slope = ((ends[0] - ends[1]) / 2e-6 * cotangent).sum(dim=(1, 2))
    exact = (p.values[0] * direction).sum(dim=(1, 2))
    torch.testing.assert_close(exact, slope, rtol=1e-6, atol=1e-8)


def test_a_shallower_reading_sums_the_matrices_of_the_deep_one():
    sample, net = lazy(), limits.ResNet("tanh")
    shallow = net(H0, sample.at_depth(4))
    deep = net(H0, sample)
    limit = limits.depth_limit(net, PATH)
    solution = limits.EulerMaruyama().solve(limit, H0, sample)
    coarse = limits.EulerMaruyama(steps=4).solve(limit, H0, sample)
    assert relative_difference(solution.terminal, deep.terminal) < 1e-12
    assert relative_difference(coarse.terminal, shallow.terminal) < 1e-12
    assert limits.strong_error(deep, solution).value < 1e-12
    summed = matrices(sample).unflatten(0, (4, 3)).sum(dim=1) / math.sqrt(3)
    assert relative_difference(matrices(sample.at_depth(4)), summed) < 1e-12


def test_parts_and_chunks_share_the_memory_of_the_whole():
    sample, net = lazy(n_paths=50), limits.ResNet("relu", block="res-3")
    part = net(H0, sample.part(16, 20))
    whole = net(H0, sample)
    last = net(H0, sample.part(32, 18))
    assert relative_difference(part.terminal, whole.terminal[16:36]) < 1e-12
    assert relative_difference(last.terminal, whole.terminal[32:]) < 1e-12
    # Paths that the part left out have the numbers of a draw that was never asked in parts.
    fresh = net(H0, lazy(n_paths=50)).terminal
    assert torch.equal(whole.terminal[:16], fresh[:16])
    assert torch.equal(whole.terminal[36:], fresh[36:])
    assert relative_difference(dense_states(net, sample, H0), whole.terminal) < 1e-12


# --- what numbers depend on --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@every_network
def test_no_bit_depends_on_chunks_threads_or_the_number_of_paths(net, dtype, monkeypatch):
    h0, cotangent = normal_inputs(2, 5, dtype=dtype), normal_inputs(50, 2, 5, seed=1, dtype=dtype)

    def results(n_paths: int, chunk: int, threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        whole = limits.WeightSample.chunks
        monkeypatch.setattr(limits.WeightSample, "chunks", lambda self: whole(self, chunk))
        sample = lazy(n_paths=n_paths, dtype=dtype)
        out = net(h0, sample, keep="all")
        back = net.backward(out, sample, cotangent[:n_paths])
        shallow = net(h0, sample.at_depth(4))
        monkeypatch.undo()
        return [out.terminal, back.values[0], shallow.terminal]

    expected = results(50, 64, 1)
    for setting in ((50, 16, 2), (50, 32, 1)):
        for found, one in zip(results(*setting), expected, strict=True):
            assert torch.equal(found, one)
    for found, one in zip(results(20, 16, 1), expected, strict=True):
        assert torch.equal(found, one[:20])


@pytest.mark.parametrize("net", [NETWORKS[0], NETWORKS[3]], ids=["res-1", "res-3"])
def test_threads_that_ask_one_draw_see_the_matrices_that_everybody_sees_later(net):
    """Whole and in parts, forward and backward, all at once."""
    torch.set_num_threads(1)
    for seed in range(2):
        sample = lazy(n_paths=64, width=16, seed=seed)
        h0 = normal_inputs(1, 16)
        half = sample.part(16, 40)

        def back(sample=sample, h0=h0):
            out = net(h0, sample)
            return net.backward(out, sample, torch.ones_like(out.terminal)).values[0]

        calls = (
            lambda sample=sample, h0=h0: net(h0, sample).terminal,
            lambda half=half, h0=h0: net(h0, half).terminal,
            lambda sample=sample, h0=h0: net(h0, sample.at_depth(12)).terminal,
            back,
        )
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda call: call(), calls * 2))
        for call, *found in zip(calls, answers[:4], answers[4:], strict=True):
            later = call()
            assert all(relative_difference(each, later) < 1e-9 for each in found)
        assert relative_difference(calls[1](), calls[0]()[16:56]) < 1e-9


def test_a_graph_outlives_that_its_paths_are_asked_in_parts():
    net, sample = NETWORKS[0], lazy()
    h0 = H0.clone().requires_grad_()
    out = net(h0, sample).terminal
    net(H0, sample.part(16, 20))
    (gradient,) = torch.autograd.grad(out.sum(), h0)
    expected = net.backward(net(H0, sample), sample, torch.ones_like(out)).values[0].sum(dim=0)
    assert relative_difference(gradient, expected) < 1e-10


def test_equal_draws_asked_alike_answer_alike_and_have_different_tags():
    net = NETWORKS[3]
    one, other = lazy(), lazy()
    first, second = net(H0, one), net(H0, other)
    assert torch.equal(first.terminal, second.terminal)
    # They may be asked differently later, and then they are different matrices.
    assert one.tag != other.tag
    with pytest.raises(limits.CouplingError, match="Solve the limit on the sample you passed"):
        limits.strong_error(first, second)
    assert one.at_depth(4).tag == one.tag
    assert lazy(seed=1).tag != one.tag
    assert PATH.sample(depth=12, n_paths=40, seed=0).tag != one.tag
    assert not torch.equal(net(H0, lazy(seed=1)).terminal, first.terminal)


def test_both_precisions_see_the_same_draw():
    net = NETWORKS[3]
    single, double = (
        net(H0.to(dtype), lazy(depth=32, dtype=dtype)).terminal for dtype in (F32, F64)
    )
    assert single.dtype == F32
    assert relative_difference(single.double(), double) < 1e-4


# --- log norms ---------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(
    "net",
    [
        limits.ResNet("identity", beta=0.0, coefficient=4.0),
        limits.ResNet("relu", block="res-3", beta=0.0, coefficient=4.0),
    ],
    ids=["identity-res-1", "relu-res-3"],
)
def test_exploding_lazy_networks_keep_exact_log_norms(net):
    logs = {}
    for dtype in (F32, F64):
        sample = lazy(depth=300, n_paths=16, width=4, dtype=dtype)
        h0, q0 = (normal_inputs(16, 1, 4, seed=seed, dtype=dtype) for seed in (1, 2))
        h, q = net.tangent(h0, q0, sample)
        p = net.backward(h, sample, normal_inputs(16, 1, 4, seed=3, dtype=dtype))
        if dtype == F32:
            assert bool(torch.isinf(h.terminal).any(dim=-1).all())
        for each in (h.log_norms, q.log_norms, p.log_norms):
            assert bool(torch.isfinite(each).all())
        logs[dtype] = torch.stack([h.log_norm, q.log_norm, p.log_norms[0]]).double()
    assert relative_difference(logs[F32][0], logs[F64][0]) < 1e-4
    # Products of random matrices align whatever they act on: in single precision the direction
    # in which tangents and states still differ is lost, and with it a few units of their logs.
    assert float((logs[F32] - logs[F64]).abs().max()) < 10


@pytest.mark.thorough
def test_ten_thousand_layers_without_scaling_have_a_finite_log_ratio_in_single_precision():
    sample = lazy(depth=10_000, n_paths=16, width=40, dtype=F32)
    h0 = normal_inputs(1, 40, dtype=F32)
    out = limits.ResNet("identity", beta=0.0)(h0, sample)
    ratio = 2 * (out.log_norm - out.log_norms[0]).double()
    assert bool(torch.isinf(out.terminal).any())
    assert bool(torch.isfinite(ratio).all())
    exact = linear_log_moments(10_000, 40, 1.0)
    error = float(ratio.mean() - exact.mean) / math.sqrt(exact.variance / 16)
    # Over eight seeds it lay in [-1.2, 1.8].
    assert abs(error) < 4


# --- draws that remember nothing ---------------------------------------------------------------


def test_a_draw_too_large_to_remember_serves_one_call_and_says_so(monkeypatch):
    monkeypatch.setattr(lazy_draw, "MEMORY", 2**16)
    sample, net = lazy(depth=64), limits.ResNet("relu", block="res-3")
    assert sample.serves_once
    assert not lazy(depth=4).serves_once
    out = net(H0, sample)
    assert torch.equal(out.terminal, net(H0, lazy(depth=64)).terminal)
    for call in (
        lambda: net(H0, sample),
        lambda: net.backward(out, sample, out.terminal),
        lambda: net(H0, sample.at_depth(8)),
        lambda: net(H0[:1], sample.part(16, 16)),
    ):
        with pytest.raises(limits.CouplingError, match="draw again for independent matrices"):
            call()


def test_a_tangent_is_one_call(monkeypatch):
    monkeypatch.setattr(lazy_draw, "MEMORY", 0)
    net, q0 = NETWORKS[3], normal_inputs(2, 5, seed=5)
    h, q = net.tangent(H0, q0, lazy())
    step = 1e-6
    both = net(torch.cat([H0, H0 + step * q0]), lazy())
    slope = (both.terminal[:, 2:] - both.terminal[:, :2]) / step
    assert h.terminal.shape == q.terminal.shape == slope.shape


def test_overflow_of_a_draw_that_remembers_nothing_is_reported_as_overflow(monkeypatch):
    monkeypatch.setattr(lazy_draw, "MEMORY", 0)
    net = limits.ResNet("gelu", beta=0.0)
    sample = lazy(depth=800, n_paths=16, width=24, dtype=F32)
    with pytest.raises(limits.NonFiniteStateError, match="by the last layer of 800"):
        net(normal_inputs(1, 24, dtype=F32), sample)


def test_remembering_more_than_the_budget_is_an_error(monkeypatch):
    sample, net = lazy(depth=64), limits.ResNet("tanh")
    monkeypatch.setattr(sample.lazy.ledger, "most", 2 * 2 * 8 * 64 * 40 * 5)
    net(H0, sample)
    with pytest.raises(limits.CouplingError, match="Ask fewer questions of one draw"):
        net(normal_inputs(4, 5, seed=8), sample)


def test_what_is_remembered_is_freed_with_the_draw():
    sample = lazy(depth=8)
    limits.ResNet("relu", block="res-3")(H0, sample)
    draw = weakref.ref(sample.lazy)
    gc.disable()
    try:
        del sample
        assert draw() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps], ids=["copy", "pickle"])
def test_a_lazy_draw_cannot_be_duplicated(duplicate):
    sample = lazy()
    with pytest.raises(limits.CouplingError, match="Draw where it is used"):
        duplicate(sample)


@pytest.mark.parametrize(
    "path",
    [
        limits.FractionalPath(4, hurst=0.7),
        limits.FractionalPath(4, hurst=0.5),
        limits.SmoothPath(4),
        limits.IIDPath(4),
        limits.TrainedPath(normal_inputs(8, 4, 4), index=1.0),
    ],
    ids=lambda path: path.label,
)
def test_only_independent_gaussian_layers_can_be_lazy(path: WeightPath):
    settings = {} if isinstance(path, limits.TrainedPath) else {"n_paths": 16, "seed": 0}
    with pytest.raises(limits.LimitsError, match="Use BrownianPath, or leave out lazy=True"):
        path.sample(depth=8, lazy=True, **settings)


@pytest.mark.parametrize("read", ["increments", "layer_weights", "torchsde"])
def test_a_lazy_draw_has_no_matrices_to_read(read):
    sample = lazy()
    with pytest.raises(limits.LimitsError, match="Draw with lazy=False"):
        sample.as_torchsde() if read == "torchsde" else getattr(sample, read)


def test_lazy_must_be_a_truth_value():
    with pytest.raises(limits.LimitsError, match="lazy must be True or False"):
        lazy(lazy="yes")


# --- several threads ---------------------------------------------------------------------------


def test_whoever_waits_for_all_paths_is_not_overtaken():
    turns, order, waiting = Turns(), [], threading.Event()

    def ask(name: str, first: int, stop: int) -> None:
        with turns.of(first, stop):
            order.append(name)

    with turns.of(0, 4), turns.of(4, 8):
        threads = []
        for name, first, stop in (("all", 0, 8), ("some", 0, 4), ("others", 8, 12)):
            known = len(turns)
            threads.append(threading.Thread(target=ask, args=(name, first, stop)))
            threads[-1].start()
            while len(turns) == known and name != "others":
                waiting.wait(1e-3)
        threads[-1].join(10)
        assert order == ["others"]
    for thread in threads:
        thread.join(10)
    assert order == ["others", "all", "some"]
    assert len(turns) == 0


def test_paths_that_were_asked_differently_are_asked_together():
    # A part was asked about more inputs, and about one that the whole had been asked about before.
    net = limits.ResNet(torch.sin)
    sample, other = lazy(n_paths=30), normal_inputs(3, 5, seed=4)
    first = net(H0, sample.part(0, 16))
    extra = net(other, sample.part(7, 12))
    whole = net(H0, sample)
    both = net(torch.cat([other, H0]), sample)
    assert relative_difference(whole.terminal[:16], first.terminal) < 1e-12
    assert relative_difference(both.terminal[7:19, :3], extra.terminal) < 1e-12
    assert relative_difference(both.terminal[:, 3:], whole.terminal) < 1e-12
