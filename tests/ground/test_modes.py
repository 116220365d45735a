"""No mode of the calling thread changes a number, and none stays behind."""

import subprocess
import sys
import threading

import pytest
import torch

import limits
from limits.gaussian import hermite
from limits.mean_field.mean_ode.collocation import gauss_collocation
from limits.parallel import map_chunks
from limits.paths.fractional import circulant_amplitudes

TANH = limits.ResNet("tanh")
BROWNIAN = limits.BrownianPath(16)


def ones(width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.ones(1, width, dtype=dtype)


@pytest.fixture(params=[1, 2])
def threads(request):
    torch.set_num_threads(request.param)
    return request.param


def modes_seen(count: int) -> set[tuple[bool, bool, bool]]:
    def look(_first: int, _count: int) -> tuple[bool, bool, bool]:
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )

    return set(map_chunks(look, [(i, 1) for i in range(count)]))


@pytest.mark.usefixtures("threads")
def test_workers_record_if_and_only_if_the_caller_does():
    assert modes_seen(8) == {(True, False, False)}
    with torch.no_grad():
        assert modes_seen(8) == {(False, False, False)}
    with torch.inference_mode():
        assert modes_seen(8) == {(False, True, False)}


@pytest.mark.usefixtures("threads")
def test_a_trainable_activation_records_nothing_under_no_grad():
    net = limits.ResNet(torch.nn.PReLU().double())
    sample = BROWNIAN.sample(depth=8, n_paths=640, seed=0)
    with torch.no_grad():
        assert net(ones(16), sample).terminal.grad_fn is None
    assert net(ones(16), sample).terminal.grad_fn is not None


@pytest.mark.usefixtures("threads")
def test_autocast_changes_no_bit():
    sample = BROWNIAN.sample(depth=32, n_paths=640, seed=0, dtype=torch.float32)
    plain = TANH(ones(16, torch.float32), sample).terminal
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert modes_seen(8) == {(True, False, False)}
        assert torch.equal(TANH(ones(16, torch.float32), sample).terminal, plain)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("at_once", [1, 4])
def test_calls_at_once_leave_the_number_of_threads_as_it_was(at_once):
    torch.set_num_threads(2)
    sample = BROWNIAN.sample(depth=64, n_paths=640, seed=0)
    callers = [threading.Thread(target=TANH, args=(ones(16), sample)) for _ in range(at_once)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    seen: list[int] = [torch.get_num_threads()]
    newcomer = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    newcomer.start()
    newcomer.join()
    assert seen == [2, 2]


def test_a_call_that_fails_gives_the_threads_back():
    torch.set_num_threads(2)

    def fail(_first: int, _count: int) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        map_chunks(fail, [(0, 1), (1, 1)])
    assert torch.get_num_threads() == 2


def test_a_call_inside_a_call_stays_on_its_thread():
    torch.set_num_threads(2)

    def outer(_first: int, _count: int) -> list[tuple[int, int]]:
        here = threading.get_ident()
        inner = map_chunks(lambda *_: threading.get_ident() == here, [(0, 1), (1, 1)])
        return [(torch.get_num_threads(), each) for each in inner]

    assert map_chunks(outer, [(0, 1), (1, 1)]) == [[(1, True), (1, True)]] * 2
    assert torch.get_num_threads() == 2


def test_autocast_does_not_change_the_dtype_that_was_asked_for():
    inputs = torch.ones(3, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = limits.embed(inputs, width=8, seed=0, dtype=torch.float32)
    assert states.dtype == torch.float32
    assert torch.equal(states, limits.embed(inputs, width=8, seed=0, dtype=torch.float32))


@pytest.mark.parametrize("path", [limits.SmoothPath(4), limits.FractionalPath(4, hurst=0.7)])
def test_a_look_in_inference_mode_spoils_no_gradient_after_it(path):
    def loss(h0: torch.Tensor) -> torch.Tensor:
        return TANH(h0, path.sample(depth=8, n_paths=4, seed=0)).terminal.sum()

    for cached in (circulant_amplitudes, gauss_collocation):
        assert hasattr(cached, "cache_clear")
        cached.cache_clear()
    with torch.inference_mode():
        loss(ones(4))
        gauss_collocation(3)
    h0 = ones(4).requires_grad_()
    loss(h0).backward()
    assert h0.grad is not None
    assert not gauss_collocation(3).nodes.is_inference()


def test_a_look_at_a_limit_in_law_in_inference_mode_spoils_no_gradient_after_it():
    limit = limits.depth_limit(
        limits.ResNet("gelu", block="res-2"), limits.BrownianPath(4), form="law"
    )
    noise = limit.sample(depth=8, n_paths=4, seed=0)

    def loss(h0: torch.Tensor) -> torch.Tensor:
        return limits.EulerMaruyama().solve(limit, h0, noise).terminal.sum()

    hermite.cache_clear()
    with torch.inference_mode():
        loss(ones(4))
    h0 = ones(4).requires_grad_()
    loss(h0).backward()
    assert h0.grad is not None
    assert not any(each.is_inference() for each in hermite(h0.dtype, h0.device))


@pytest.mark.thorough
def test_a_library_first_imported_in_inference_mode_serves_later_gradients():
    program = """
import torch, limits
path, net = limits.SmoothPath(4, length_scale=0.3), limits.ResNet("tanh")
limit, sample = limits.depth_limit(net, path), path.sample(depth=8, n_paths=4, seed=0)
h0 = torch.ones(1, 4, dtype=torch.float64)
with torch.inference_mode():
    limits.TorchDiffEq().solve(limit, h0, sample)
h0 = h0.clone().requires_grad_()
limits.TorchDiffEq().solve(limit, h0, sample).terminal.sum().backward()
assert h0.grad is not None
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
