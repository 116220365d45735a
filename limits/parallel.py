"""Chunks of paths side by side, one torch thread each, with progress that can be trusted."""

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

from limits._typing import Progress
from limits.kernels import fill, stream_key
from limits.modes import Modes, without_autocast

__all__ = [
    "Ticker",
    "balanced",
    "check_wanted",
    "compiled_shares",
    "cores",
    "map_chunks",
    "ranges_of",
    "shares",
]

T = TypeVar("T")
_REPORTS = 200
_SECONDS_TO_END = 1
_LANES = 64
_WORTH_A_THREAD = 2**18
"""Numbers that take longer than to start a thread."""
_CALL = threading.local()

_COMPANY = 16
"""Paths that one call of torch computes side by side, or a multiple.

Streams would serve any number. A library of matrix products takes another way for very few, which
is slower and rounds otherwise.
"""


class Ticker:
    """Counts work from several threads and reports about two hundred times."""

    def __init__(self, total: int, label: str, progress: Progress | None) -> None:
        self._total = total
        self._label = label
        self._progress = progress
        self._done = 0
        self._every = max(1, total // _REPORTS)
        self._reported = 0
        self._lock = threading.Lock()

    def __call__(self, amount: int = 1) -> None:
        """Count work that is done; end with the call that it is done for."""
        check_wanted()
        if self._progress is None:
            return
        with self._lock:
            self._done += amount
            if self._done - self._reported >= self._every or self._done == self._total:
                self._reported = self._done
                self._progress(self._done, self._total, self._label)


def balanced(ranges: Sequence[tuple[int, int]], workers: int) -> list[tuple[int, int]]:
    """Return ranges of the same paths in a number of chunks that the workers share evenly.

    Examples
    --------
    >>> balanced([(0, 80), (80, 80), (160, 80), (240, 16)], workers=2)
    [(0, 64), (64, 64), (128, 64), (192, 64)]
    """
    n_paths = sum(count for _, count in ranges)
    chunks = math.ceil(len(ranges) / workers) * workers
    return ranges_of(n_paths, math.ceil(n_paths / chunks))


def ranges_of(n_paths: int, chunk: int) -> list[tuple[int, int]]:
    """Split paths into (first, count) ranges of `chunk`, rounded up to a multiple of sixteen.

    Sixteen paths or more are computed side by side, because products of very few are slower and
    round otherwise.

    Examples
    --------
    >>> ranges_of(70, 20)
    [(0, 32), (32, 32), (64, 6)]
    """
    size = max(1, math.ceil(chunk / _COMPANY)) * _COMPANY
    return [(first, min(size, n_paths - first)) for first in range(0, n_paths, size)]


def shares(ranges: Sequence[tuple[int, int]], *, small: bool) -> list[tuple[int, int]]:
    """Return ranges of the same paths in even shares for the threads torch may use.

    Parameters
    ----------
    small : bool
        Whether they are many short operations, or all on one device, whose threads would only wait
        in turns: then the ranges are left as they are.
    """
    return list(ranges) if small else balanced(ranges, torch.get_num_threads())


def compiled_shares(n_paths: int, numbers: int) -> list[tuple[int, int]]:
    """Split paths into ranges for compiled loops, which run side by side for as long as they take.

    Parameters
    ----------
    n_paths : int
        How many.
    numbers : int
        That one of them draws.

    Examples
    --------
    >>> compiled_shares(70, 40)
    [(0, 70)]
    """
    workers = min(torch.get_num_threads(), cores(), n_paths * numbers // _WORTH_A_THREAD)
    if workers < 2:
        return [(0, n_paths)]
    # Loops take sixty-four paths at a time; twice as many ranges even out what else runs.
    alone = math.ceil(n_paths / workers)
    share = math.ceil(alone / 2 / _LANES) * _LANES if alone >= 2 * _LANES else alone
    return ranges_of(n_paths, share)


def cores() -> int:
    """Return how many cores this process may use; more threads would only take turns.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_chunks(
    function: Callable[[int, int], T], ranges: Sequence[tuple[int, int]], *, threads: bool = True
) -> list[T]:
    """Return ``[function(first, count) for ...]``, computed on as many threads as torch may use.

    Each chunk runs on one torch thread: summation order, and so every bit, is then the same
    whatever the number of threads, and two levels of threads do not fight for cores. Whether
    autograd records is taken along from the calling thread; autocast is kept out, because
    results have the dtype that was asked for.

    Parameters
    ----------
    threads : bool
        False where a graph is recorded for autograd, whose mode belongs to the calling thread.
    """
    with _SINGLE.held() as available, without_autocast():
        workers = min(available, cores(), len(ranges)) if threads else 1
        if workers <= 1:
            return [function(first, count) for first, count in ranges]
        _load_kernels()
        modes, unwanted = Modes.of_this_thread(), threading.Event()

        def in_modes(first: int, count: int) -> T:
            _CALL.unwanted = unwanted
            with modes.entered():
                return function(first, count)

        executor = ThreadPoolExecutor(workers, initializer=_SINGLE.enter_worker)
        futures: list[Future[T]] = []
        patient = True
        try:
            futures += [executor.submit(in_modes, first, count) for first, count in ranges]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            # Whatever is not done is unwanted now: something else has failed.
            return [future.result() for future in futures if future in done]
        except KeyboardInterrupt:
            # A chunk may be inside something that cannot end early, such as a compiler.
            patient = False
            raise
        finally:
            unwanted.set()
            executor.shutdown(wait=patient, cancel_futures=True)
            if not patient:
                running = [future for future in futures if future.running()]
                wait(running, timeout=_SECONDS_TO_END)


@lru_cache(maxsize=1)
def _load_kernels() -> None:
    """Import and compile what draws, here where Ctrl-C can interrupt it; no worker could be."""
    fill(torch.empty(1, 1, 1, dtype=torch.float32, device="cpu"), stream_key(0, "load"), "normal")


def check_wanted() -> None:
    """Raise in a thread whose call has ended, by Ctrl-C or by a failure beside it.

    Whoever computes for long in a chunk asks now and then.
    """
    unwanted = getattr(_CALL, "unwanted", None)
    if unwanted is not None and unwanted.is_set():
        raise CancelledError


class _SingleThreads:
    """Holds torch at one thread while calls are under way, several at a time if need be.

    A new thread takes over the number that some thread set last, so a call that starts while
    another one holds torch at one would find one, and leave it at one for good: what the first
    of them found is remembered for all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._found = 1
        self._inside = threading.local()

    def enter_worker(self) -> None:
        """Prepare a thread that computes for a call.

        MKL's Fourier transforms go by the limit of the thread they run on, and a new thread has
        none: their bits and their speed would depend on it.
        """
        torch.set_num_threads(1)
        self._inside.yes = True

    @contextmanager
    def held(self) -> Iterator[int]:
        """Set one thread; yield how many the caller may use, one inside another call."""
        if getattr(self._inside, "yes", False):
            yield 1
            return
        with self._lock:
            own = torch.get_num_threads()
            if self._calls == 0:
                self._found = own
            threads = self._found if own == 1 else own
            self._calls += 1
            torch.set_num_threads(1)
        self._inside.yes = True
        try:
            yield threads
        finally:
            self._inside.yes = False
            with self._lock:
                self._calls -= 1
                torch.set_num_threads(threads)


_SINGLE = _SingleThreads()
