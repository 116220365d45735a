"""Ctrl-C, and failures: what runs beside ends soon, and thread counts are what they were."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

import limits
from limits import parallel
from limits.parallel import Ticker, check_wanted, map_chunks

needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread ends at once")
RANGES = [(0, 16), (16, 16), (32, 16), (48, 16)]


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def working(seconds: float, ask=check_wanted) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ask()
        time.sleep(0.002)


@needs_two_cores
@pytest.mark.parametrize("how", ["flag", "ticker"])
def test_ctrl_c_ends_all_chunks_and_gives_threads_back(how, monkeypatch):
    """The exception comes where the main thread waits; a real signal could hit the test runner."""
    ask = check_wanted if how == "flag" else Ticker(10**6, "work", None)
    begun = []

    def chunk(first: int, count: int) -> None:
        begun.append(first)
        working(20, ask)

    def interrupted(*_args, **_keywords):
        monkeypatch.undo()
        while len(begun) < 2:
            time.sleep(0.002)
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "wait", interrupted)
    before = threading.active_count()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        map_chunks(chunk, RANGES)
    assert time.monotonic() - started < 10
    assert torch.get_num_threads() == 2
    assert len(begun) == 2
    while threading.active_count() > before and time.monotonic() - started < 15:
        time.sleep(0.01)
    assert threading.active_count() == before


@needs_two_cores
def test_ctrl_c_does_not_wait_for_a_chunk_that_cannot_end(monkeypatch):
    """As inside a compiler, or in code of the user."""
    begun, over = [], threading.Event()

    def chunk(first: int, count: int) -> None:
        begun.append(first)
        over.wait(30)

    def interrupted(*_args, **_keywords):
        monkeypatch.undo()
        while len(begun) < 2:
            time.sleep(0.002)
        started.append(time.monotonic())
        raise KeyboardInterrupt

    started: list[float] = []
    monkeypatch.setattr(parallel, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        map_chunks(chunk, RANGES)
    assert time.monotonic() - started[0] < 2
    assert torch.get_num_threads() == 2
    over.set()


@needs_two_cores
def test_a_chunk_that_fails_does_not_wait_for_its_neighbours():
    def chunk(first: int, count: int) -> None:
        if first:
            raise limits.LimitsError("the second chunk failed. Mend it.")
        working(20)

    started = time.monotonic()
    with pytest.raises(limits.LimitsError, match="the second chunk failed"):
        map_chunks(chunk, RANGES[:2])
    assert time.monotonic() - started < 5
    assert torch.get_num_threads() == 2


@needs_two_cores
def test_every_reading_of_a_draw_ends_with_its_call():
    """A thread whose call has ended reads no further layer, dense, lazy, whole or stacked."""
    path, h0 = limits.BrownianPath(4), torch.ones(1, 4, dtype=torch.float64)
    dense = path.sample(depth=8, n_paths=16, seed=0)
    lazy = path.sample(depth=8, n_paths=16, seed=0, lazy=True)
    smooth = limits.SmoothPath(4)
    drawn = smooth.sample(depth=8, n_paths=16, seed=0)
    net = limits.ResNet("tanh")
    limit = limits.depth_limit(net, smooth)
    calls = (
        lambda: net(h0, dense),
        lambda: net(h0, lazy),
        lambda: dense.increments,
        lambda: limits.TorchDiffEq("rk4").solve(limit, h0, drawn),
    )
    for call in calls:
        asked, ended = threading.Event(), []

        def chunk(first: int, count: int, call=call, asked=asked, ended=ended) -> None:
            if first:
                asked.wait(10)
                raise limits.LimitsError("over")
            asked.set()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                call()
            ended.append("too late")

        with pytest.raises(limits.LimitsError, match="over"):
            map_chunks(chunk, RANGES[:2])
        assert not ended


SCRIPT = """
import os, signal, sys, threading, time, torch, limits
torch.set_num_threads(2)
h0 = torch.ones(1, 16, dtype=torch.float64)
path, net = limits.BrownianPath(16), limits.ResNet("tanh")
calls = {{
    "network": lambda: net(h0, path.sample(depth=200000, n_paths=640, seed=0)),
    "lazy": lambda: net(h0, path.sample(depth=20000, n_paths=640, seed=0, lazy=True)),
    "solver": lambda: limits.EulerMaruyama().solve(
        limits.depth_limit(net, path), h0, path.sample(depth=200000, n_paths=640, seed=0)),
    "study": lambda: limits.convergence_study(
        net, path, depths=(8, 16, 32, 64, 128, 256), n_paths=20000, seed=0),
    "expectation": lambda: limits.infinite_depth_expectation(
        net, path, lambda h: h.norm(dim=-1), h0=h0, tolerance=1e-5, seed=0, budget=1e15),
}}
net(h0, path.sample(depth=64, n_paths=64, seed=0))
told = []
def stop():
    told.append(time.time())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(1.5, stop).start()
try:
    calls["{call}"]()
    print("finished")
except KeyboardInterrupt:
    print(time.time() - told[0], torch.get_num_threads())
"""


@needs_two_cores
@pytest.mark.thorough
@pytest.mark.parametrize("call", ["network", "lazy", "solver", "study", "expectation"])
def test_ctrl_c_is_heard_within_two_seconds(call):
    script = SCRIPT.format(call=call)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    seconds, threads = ended.stdout.split()
    assert float(seconds) < 2
    assert threads == "2"
