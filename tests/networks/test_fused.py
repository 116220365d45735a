"""Compiled passes against the plain loops: every block, activation, law, direction and width."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest
import torch

import limits
from limits.networks.fused import Fused
from tests.helpers import normal_inputs, relative_difference

LAWS = [limits.BrownianPath, limits.IIDPath, lambda d: limits.IIDPath(d, law="rademacher")]
NETWORKS = [
    *(limits.ResNet(name) for name in ("identity", "relu", "tanh", "gelu")),
    *(limits.ResNet(name, block="res-2") for name in ("identity", "tanh", "gelu")),
    limits.ResNet("relu", block="res-3", coefficient=-0.7),
    limits.ResNet("relu", block="post-relu"),
    limits.ResNet("tanh", block=limits.Inner(limits.as_activation("tanh"), bias=0.3)),
    limits.ResNet("relu", beta=torch.tensor([0.5, 0.2], dtype=torch.float64)),
]
every_network = pytest.mark.parametrize(
    "net", NETWORKS, ids=lambda net: f"{net.activation}-{net.block}"[:24]
)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}
# One layer a window and many, tails of every loop, and sums of three layers.
SHAPES = [(1, 12), (5, 9), (40, 6), (67, 3)]


@pytest.fixture
def plainly(monkeypatch):
    """Return a function that computes something by the plain loops."""

    def compute(function):
        with monkeypatch.context() as patch:
            patch.setattr(Fused, "of", classmethod(lambda cls, *_, **__: None))
            return function()

    return compute


def passes(net, sample, h0):
    """Return all that the three passes make of a sample, and where it stands."""
    out = net(h0, sample, keep="all")
    cotangent = normal_inputs(*out.terminal.shape, seed=1, dtype=sample.dtype)
    p = net.backward(out, sample, cotangent)
    recomputed = net.backward(net(h0, sample), sample, cotangent, keep="terminal")
    h, q = net.tangent(h0, torch.flip(h0, (0,)), sample, keep="all")
    trajectories = (out, p, recomputed, h, q)
    return [each.values for each in trajectories] + [each.log_norms for each in trajectories]


@pytest.mark.parametrize(("width", "depth"), SHAPES, ids=str)
@every_network
def test_compiled_passes_are_the_plain_loops(net, width, depth, plainly):
    for dtype, tolerance in TOLERANCES.items():
        for law in LAWS:
            for read in (depth, depth // 3):
                sample = law(width).sample(depth=depth, n_paths=3, seed=0, dtype=dtype)
                sample = sample.part(1, 2).at_depth(read)
                h0 = normal_inputs(2, width, dtype=dtype)
                assert Fused.of(sample, [net.stepper(h0.expand(2, 2, width), sample)])
                expected = plainly(lambda s=sample, h=h0: passes(net, s, h))
                for found, plain in zip(passes(net, sample, h0), expected, strict=True):
                    assert found.dtype == dtype
                    # A relu may have left nothing, whose logarithm is infinite.
                    size = float(plain[torch.isfinite(plain)].abs().max())
                    torch.testing.assert_close(found, plain, rtol=0, atol=tolerance * size)


def test_growth_beyond_floating_point_is_followed_as_by_the_plain_loops(plainly):
    net = limits.ResNet("relu", beta=0.0, coefficient=40.0)
    sample = limits.BrownianPath(6).sample(depth=400, n_paths=5, seed=0)
    h0 = 1e200 * normal_inputs(2, 6)
    expected = plainly(lambda: passes(net, sample, h0))
    found = passes(net, sample, h0)
    assert torch.isinf(found[0][-1]).any()
    for each, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(each, plain, rtol=1e-10, atol=0)


def test_overflow_is_reported_as_by_the_plain_loops(plainly):
    net = limits.ResNet("gelu", beta=0.0, coefficient=40.0)
    sample = limits.BrownianPath(6).sample(depth=400, n_paths=5, seed=0)

    def message():
        with pytest.raises(limits.NonFiniteStateError) as error:
            net(normal_inputs(2, 6), sample)
        return str(error.value)

    assert message() == plainly(message)


@every_network
def test_bits_depend_neither_on_company_nor_threads_nor_pieces(net, monkeypatch):
    sample = limits.BrownianPath(7).sample(depth=12, n_paths=9, seed=0).at_depth(6)
    h0 = normal_inputs(2, 7)
    whole = passes(net, sample, h0)
    monkeypatch.setattr("limits.kernels.dense.passes._AT_ONCE", 300)
    monkeypatch.setattr("limits.networks.fused._SMALL", 0)
    monkeypatch.setattr("limits.networks.fused._LARGE", 2000)
    for again, expected in zip(passes(net, sample, h0), whole, strict=True):
        assert torch.equal(again, expected)
    part = net(h0, sample.part(4, 3), keep="all")
    assert torch.equal(part.values, whole[0][:, 4:7])
    if not isinstance(net.beta, torch.Tensor):
        alone = net(h0[1:], sample, keep="all")
        assert torch.equal(alone.values, whole[0][:, :, 1:])


@pytest.mark.parametrize("error", ["strong", "uniform"])
@pytest.mark.parametrize("reference", [None, 48, limits.EulerMaruyama()], ids=str)
def test_a_ladder_of_depths_is_that_of_the_plain_loops(error, reference, plainly):
    def errors():
        study = limits.convergence_study(
            limits.ResNet("tanh"), limits.BrownianPath(5), depths=(2, 4, 6, 12), n_paths=20,
            seed=0, error=error, reference=reference, h0=normal_inputs(3, 5),
        )  # fmt: skip
        return torch.from_numpy(study.path_errors)

    torch.testing.assert_close(errors(), plainly(errors), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("block", ["res-2", "res-3"])
def test_a_ladder_with_inner_weights_is_that_of_the_plain_loops(block, plainly):
    def errors():
        study = limits.convergence_study(
            limits.ResNet("relu", block=block), limits.BrownianPath(5), depths=(2, 4, 6, 12),
            n_paths=20, seed=0, error="weak", functional=lambda h: h.norm(dim=-1), reference=24,
        )  # fmt: skip
        return torch.from_numpy(study.path_errors)

    torch.testing.assert_close(errors(), plainly(errors), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("at_once", [1, 700])
def test_a_ladder_does_not_depend_on_where_calls_end(at_once, monkeypatch):
    def errors():
        return limits.convergence_study(
            limits.ResNet("tanh"), limits.BrownianPath(3), depths=(2, 4, 8), n_paths=3, seed=2,
            h0=normal_inputs(2, 3), reference=32,
        ).path_errors.tobytes()  # fmt: skip

    whole = errors()
    monkeypatch.setattr("limits.kernels.dense.passes._AT_ONCE", at_once)
    assert errors() == whole


def test_what_autograd_records_takes_the_plain_loops():
    sample = limits.BrownianPath(4).sample(depth=6, n_paths=3, seed=0)
    h0 = normal_inputs(2, 4).requires_grad_()
    net = limits.ResNet("tanh")
    (gradient,) = torch.autograd.grad(net(h0, sample).terminal.sum(), h0)
    out = net(h0.detach(), sample)
    p = net.backward(out, sample, torch.ones_like(out.terminal))
    torch.testing.assert_close(p.values[0].sum(0), gradient, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert not net(h0, sample).terminal.requires_grad


DEVICE_CASES = [
    ("normal", 8, "tanh", False, 0.0, ((8,), (8, 4, 2))),
    ("centred", 5, "gelu", False, 0.3, ((4,),)),
    ("sign", 12, "relu", True, 0.0, ((8, 2),)),
]


def device_against_cpu(device):
    """Yield the largest difference of every case, in units of the largest state."""
    from limits.kernels import stream_key
    from limits.kernels.dense import DrawnMatrices, LayerRule, Rung, advance_some
    from limits.kernels.dense.cuda import advance_on_device
    from limits.networks.log_scale import LARGEST_EXPONENT, rescaled

    for kind, width, activation, reflects, bias, ladders in DEVICE_CASES:
        for depths in ladders:
            for dtype in TOLERANCES:
                inner = stream_key(0, "inner") if bias else None
                scale = 0.8 * 2.0**-31
                matrices = DrawnMatrices(stream_key(0, "outer"), inner, kind, scale, width, 8, 5)
                factor = torch.tensor([0.3, 0.5], dtype=torch.float64) / width**0.5
                period = 2 if activation == "relu" else 0
                rungs = [Rung(depth, factor, width**-0.5, period, 1) for depth in depths]
                values = torch.zeros(sum(rung.kept for rung in rungs), 3, 2, width, dtype=dtype)
                exponents = torch.zeros(values.shape[:-1], dtype=torch.int32)
                start = 0
                for rung in rungs:
                    values[start] = normal_inputs(3, 2, width, dtype=dtype)
                    start += rung.kept
                rule = LayerRule(activation, reflects=reflects, bias=bias)
                there = values.to(device), exponents.to(device)
                advance_on_device(*there, matrices, rule, rungs, rescaled=rescaled)
                advance_some(
                    values, exponents, matrices, rule, rungs, 0, 3, reach=LARGEST_EXPONENT[dtype]
                )
                assert torch.equal(there[1].cpu(), exponents)
                yield relative_difference(there[0].cpu(), values) / TOLERANCES[dtype]


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
@pytest.mark.thorough
def test_the_interpreter_of_triton_advances_as_the_cpu_does():
    code = """
        import os
        os.environ["TRITON_INTERPRET"] = "1"
        from tests.networks.test_fused import device_against_cpu
        assert max(device_against_cpu("cpu")) < 1
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=900, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_advances_as_the_cpu_does():
    assert max(device_against_cpu("cuda")) < 1
