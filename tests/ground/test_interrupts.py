"""Ctrl-C, and failures: what runs beside ends soon, and thread counts are what they were."""

import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

import limits
from limits import parallel
from limits.kernels import jit
from limits.parallel import Ticker, check_wanted, map_chunks
from tests.interrupted_calls import CALLS

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
    # Of a law that no kernel knows.
    law = limits.depth_limit(limits.ResNet("gelu", block="res-2"), path, form="law")
    noise = law.sample(depth=8, n_paths=16, seed=0)
    calls = (
        lambda: net(h0, dense),
        lambda: net(h0, lazy),
        lambda: dense.increments,
        lambda: limits.TorchDiffEq("rk4").solve(limit, h0, drawn),
        lambda: limits.EulerMaruyama().solve(law, h0, noise),
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


class Dropping:
    """What a compiler lets go of, at the moment of Ctrl-C."""

    def __del__(self):
        raise KeyboardInterrupt


def test_ctrl_c_that_python_drops_while_loops_are_compiled_is_heard_again(monkeypatch):
    interrupted = threading.Event()
    monkeypatch.setattr(jit._thread, "interrupt_main", interrupted.set)
    before = sys.unraisablehook

    def compiled(_: int) -> None:
        Dropping()

    heard = jit._heard(SimpleNamespace(_compile_for_args=compiled))
    heard._compile_for_args(1)
    assert interrupted.wait(5)
    assert sys.unraisablehook is before


def test_what_fails_of_a_dropped_ctrl_c_is_the_interrupt_and_said_once(monkeypatch):
    again = threading.Event()
    monkeypatch.setattr(jit._thread, "interrupt_main", again.set)

    def compiled() -> None:
        Dropping()
        raise RuntimeError("no compiled object yet")

    heard = jit._heard(SimpleNamespace(_compile_for_args=compiled))
    with pytest.raises(KeyboardInterrupt) as found:
        heard._compile_for_args()
    assert isinstance(found.value.__cause__, RuntimeError)
    assert not again.wait(10 * jit._A_MOMENT)


def test_what_fails_of_itself_while_loops_are_compiled_is_told_as_it_is():
    def compiled() -> None:
        raise RuntimeError("no such type")

    heard = jit._heard(SimpleNamespace(_compile_for_args=compiled))
    with pytest.raises(RuntimeError, match="no such type"):
        heard._compile_for_args()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_exceptions_that_python_drops_are_told_as_usual(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setattr(Dropping, "__del__", lambda self: [][0])
    jit._heard(SimpleNamespace(_compile_for_args=lambda: Dropping() and None))._compile_for_args()
    assert [each.exc_type for each in told] == [IndexError]


GROUPS = [list(CALLS)[first::6] for first in range(6)]


@needs_two_cores
@pytest.mark.thorough
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kinds", GROUPS, ids=lambda kinds: kinds[0])
def test_ctrl_c_is_heard_within_two_seconds(kinds, threads):
    """In every kind of call that can last, one after the other in a process of their own."""
    command = [sys.executable, "-m", "tests.interrupted_calls", str(threads), *kinds]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found) == set(kinds)
    assert {kind: each[0] for kind, each in found.items() if each[0] > 2} == {}
    assert {tuple(each[1:]) for each in found.values()} == {(threads, threads)}
