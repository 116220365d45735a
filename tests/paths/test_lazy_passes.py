"""Compiled passes through lazy draws against the plain loops: one draw is one set of matrices."""

import math

import pytest
import torch
from torch import Tensor

import limits
from limits.networks.fused import Fused
from limits.paths.lazy import draw as lazy_draw
from tests.helpers import normal_inputs, relative_difference

F32, F64 = torch.float32, torch.float64
GELU = limits.Inner(limits.as_activation("gelu"), bias=0.3)
NETWORKS = [
    *(limits.ResNet(name) for name in ("identity", "relu", "tanh", "gelu")),
    limits.ResNet("tanh", block="res-2"),
    limits.ResNet("relu", block="res-3", coefficient=-0.7),
    limits.ResNet("relu", block="post-relu"),
    limits.ResNet("gelu", block=GELU),
    limits.ResNet("tanh", beta=torch.tensor([0.5, 0.2], dtype=F64)),
]
every_network = pytest.mark.parametrize(
    "net", NETWORKS, ids=lambda net: f"{net.activation}-{net.block}"[:24]
)
DEPTH, PATHS, WIDTH = 12, 6, 5


def lazy(**changes) -> limits.WeightSample:
    settings = {"depth": DEPTH, "n_paths": PATHS, "seed": 0, "lazy": True} | changes
    return limits.BrownianPath(settings.pop("width", WIDTH)).sample(**settings)


@pytest.fixture
def roads(monkeypatch):
    """Return a function that computes something in compiled loops, or by the plain ones."""

    def compute(function, *, compiled: bool):
        with monkeypatch.context() as patch:
            if not compiled:
                patch.setattr(Fused, "of", classmethod(lambda cls, *_, **__: None))
            return function()

    return compute


def conversation(net, sample, roads, order: str) -> list[Tensor]:
    """Ask one draw forwards, back, for tangents, at another depth and again.

    `order` says which calls are compiled, c, and which plain, p, in turns.
    """
    inputs = normal_inputs(2, sample.width, dtype=sample.dtype)
    tangents = normal_inputs(2, sample.width, seed=1, dtype=sample.dtype)
    cotangent = normal_inputs(sample.n_paths, 2, sample.width, seed=2, dtype=sample.dtype)
    found: list[Tensor] = []
    calls = [
        lambda: net(inputs, sample, keep="all"),
        lambda: net.backward(out, sample, cotangent),
        lambda: net.tangent(inputs, tangents, sample, keep="all"),
        lambda: net(tangents, sample.at_depth(sample.depth // 2)),
        lambda: net(inputs, sample.part(1, 3), keep="all"),
        lambda: net(inputs, sample, keep="all"),
    ]
    for number, call in enumerate(calls):
        result = roads(call, compiled=order[number % len(order)] == "c")
        out = result if number == 0 else out
        for each in result if isinstance(result, tuple) else (result,):
            found += [each.values, each.log_norms]
    return found


@pytest.mark.parametrize("order", ["c", "cp", "pc", "ccpp"])
@pytest.mark.parametrize("read", [DEPTH, DEPTH // 3])
@every_network
def test_compiled_and_plain_calls_see_and_extend_the_same_matrices(net, read, order, roads):
    expected = conversation(net, lazy().at_depth(read), roads, "p")
    for one, other in zip(
        conversation(net, lazy().at_depth(read), roads, order), expected, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@every_network
def test_draws_that_remember_nothing_are_asked_alike(net, roads, monkeypatch):
    monkeypatch.setattr(lazy_draw, "MEMORY", 0)
    h0, q0 = (normal_inputs(2, WIDTH, seed=seed) for seed in (0, 1))
    for read in (DEPTH, DEPTH // 3):
        for call in (
            lambda sample: (net(h0, sample, keep="all"),),
            lambda sample: net.tangent(h0, q0, sample, keep="all"),
        ):
            compiled, plain = (
                roads(lambda call=call, read=read: call(lazy().at_depth(read)), compiled=road)
                for road in (True, False)
            )
            for one, other in zip(compiled, plain, strict=True):
                torch.testing.assert_close(one.values, other.values, rtol=1e-12, atol=1e-12)


def test_single_precision_sees_the_same_draw(roads):
    net = limits.ResNet("relu", block="res-3")
    single = conversation(net, lazy(dtype=F32, width=40), roads, "c")
    double = conversation(net, lazy(dtype=F64, width=40), roads, "c")
    for one, other in zip(single, double, strict=True):
        assert one.dtype == F32
        assert relative_difference(one.double(), other) < 1e-5


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e30])
def test_zero_tiny_and_huge_inputs_are_asked_about_without_nan(factor, roads):
    net = limits.ResNet("tanh", block="res-2")
    for dtype in (F32, F64):
        h0 = factor * normal_inputs(2, WIDTH, dtype=dtype)
        sample = lazy(dtype=dtype)
        out = net(h0, sample, keep="all").values
        plain = roads(lambda h0=h0: net(h0, lazy(dtype=h0.dtype), keep="all"), compiled=False)
        again = net(h0, sample, keep="all").values
        assert bool(torch.isfinite(out).all())
        allowed = float(out.abs().max()) * (1e-12 if dtype == F64 else 1e-5)
        assert float((out - plain.values).abs().max()) <= allowed
        assert float((again - out).abs().max()) <= allowed


def test_what_overflows_spoils_its_own_path_only():
    net = limits.ResNet("gelu", beta=0.0)
    h0 = normal_inputs(PATHS, 1, WIDTH)
    broken = h0.clone()
    broken[2] *= 1e300
    sample, clean = lazy(depth=400), lazy(depth=400)
    spoiled = net(broken, sample, nonfinite="keep").terminal
    assert not bool(torch.isfinite(spoiled[2]).all())
    others = [0, 1, 3, 4, 5]
    assert torch.equal(spoiled[others], net(h0, clean, nonfinite="keep").terminal[others])
    assert bool(torch.isfinite(net(h0 / 1e3, sample.at_depth(1)).terminal).all())


def test_what_is_remembered_is_counted_to_the_byte(monkeypatch):
    sample = lazy(depth=64)
    # Forward two right rows, backward two left rows, of two roles; directions and answers.
    rows = 2 * 8 * WIDTH * 64 * PATHS
    monkeypatch.setattr(sample.lazy.ledger, "most", (2 + 2) * 2 * rows)
    net, h0 = limits.ResNet("relu", block="res-3"), normal_inputs(2, WIDTH)
    out = net(h0, sample, keep="all")
    net.backward(out, sample, out.terminal)
    net(h0, sample)
    with pytest.raises(limits.CouplingError, match="Ask fewer questions of one draw"):
        net(normal_inputs(1, WIDTH, seed=8), sample)


def test_a_million_questions_of_one_path_are_cut_into_short_calls(monkeypatch):
    from limits.kernels.lazy import passes

    net, h0 = limits.ResNet("relu", block="res-3"), normal_inputs(2, WIDTH)
    q0 = normal_inputs(2, WIDTH, seed=1)

    def results() -> list[Tensor]:
        sample = lazy()
        out = net(h0, sample, keep="all")
        h, q = net.tangent(h0, q0, sample)
        return [net.backward(out, sample, out.terminal).values, out.values, h.values, q.values]

    whole = results()
    monkeypatch.setattr(passes, "_AT_ONCE", 5000)
    for one, other in zip(results(), whole, strict=True):
        assert torch.equal(one, other)


def test_a_wide_path_is_asked_where_a_question_fills_the_window():
    h0 = torch.ones(1, 6000, dtype=F32) / math.sqrt(6000)
    sample = limits.BrownianPath(6000).sample(depth=3, n_paths=2, seed=0, dtype=F32, lazy=True)
    net = limits.ResNet("tanh")
    plain = limits.BrownianPath(6000).sample(depth=3, n_paths=2, seed=0, dtype=F32, lazy=True)
    found = net(h0, sample).terminal
    expected = limits.ResNet(torch.tanh)(h0, plain).terminal
    assert relative_difference(found, expected) < 1e-5
