"""Worker processes behind the interface of an executor; a death costs one task and no other."""

import contextlib
import math
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing.connection import Connection
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from limits.exceptions import ExperimentError
from limits.scalars import plain_numbers
from limits.sweeps.work import reporting

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

__all__ = ["ProcessWorkers", "ReportingFuture", "WorkerDiedError"]

# What tasks use, imported by the server once for all workers; `limits` alone would load nothing.
_LOADED_ONCE = [
    "limits.studies", "limits.mean_field", "limits.training", "limits.user_models", "xarray",
    "threadpoolctl",
]  # fmt: skip

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_TO_END = 5


class WorkerDiedError(BrokenExecutor):
    """A worker process ended while it computed; only the call it was working on is lost."""


class ReportingFuture(Future[Any]):
    """A future that knows how far its call is, as (done, total, label)."""

    progress: tuple[float, float, str] | None = None


@plain_numbers
class ProcessWorkers(Executor):
    """Processes that each serve one call at a time.

    `concurrent.futures.ProcessPoolExecutor` breaks as a whole when one of its workers is killed
    and cannot tell whose call it was. Here every worker has a pipe and a thread of its own: the
    thread sees the pipe close, fails that one future with `WorkerDiedError`, and starts another
    process when the next call comes. Workers are started when first needed, ignore Ctrl-C (the
    parent decides), and end at once when the parent is gone, however it went.

    Parameters
    ----------
    workers : int
        Number of processes.
    """

    def __init__(self, workers: int) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ExperimentError(
                f"ProcessWorkers needs at least one worker, found {workers!r}. Pass for example "
                "workers=2, or no executor to compute in this process."
            )
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise ExperimentError(
                "a worker process that is starting cannot have workers itself: it imports the "
                "script again to find its functions. Put what runs the sweep under "
                '`if __name__ == "__main__":`.'
            )
        self.workers = workers
        self._calls: queue.SimpleQueue[tuple[ReportingFuture, bytes] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._processes: dict[int, BaseProcess] = {}
        self._killed = False
        self._ended = False
        self._threads: list[threading.Thread] = []

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that are alive."""
        with self._lock:
            return [each.pid for each in self._processes.values() if each.pid and each.is_alive()]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ReportingFuture:
        """Schedule ``fn(*args, **kwargs)``; all of it is pickled.

        Raises
        ------
        RuntimeError
            After `shutdown` or `kill`, as every executor does.
        """
        if self._ended:
            raise RuntimeError("these workers were ended; make new ProcessWorkers")
        future = ReportingFuture()
        self._calls.put((future, pickle.dumps((fn, args, kwargs))))
        if len(self._threads) < self.workers:
            thread = threading.Thread(target=self._serve, args=(len(self._threads),), daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers when their calls are done."""
        self._ended = True
        if cancel_futures:
            self._cancel_waiting()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        """End the workers; at once if an exception, such as Ctrl-C, ends the block."""
        if exc_type is not None:
            self.kill()
        else:
            self.shutdown()

    def kill(self) -> None:
        """End all workers now, whatever they are doing; unfinished calls fail."""
        self._killed = self._ended = True
        self._cancel_waiting()
        with self._lock:
            processes = list(self._processes.values())
        for process in processes:
            process.kill()
        self.shutdown()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None:
                    call[0].cancel()

    def _serve(self, slot: int) -> None:
        """Hand calls to one worker process, a new one whenever the last has died."""
        # Inherited by the worker: Ctrl-C is for the parent, even while the worker is starting.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pipe: Connection | None = None
        while (call := self._calls.get()) is not None:
            future, message = call
            if self._killed or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            try:
                pipe = pipe or self._start(slot)
                _exchange(pipe, message, future)
            except (EOFError, OSError):
                pipe = None
                future.set_exception(WorkerDiedError(self._cause_of_death(slot)))
            # Whatever happens, somebody waits for this future.
            except Exception as error:
                future.set_exception(error)
        if pipe is not None:
            pipe.close()
            self._processes[slot].join(_SECONDS_TO_END)

    def _start(self, slot: int) -> Connection:
        context = _context()
        ours, theirs = cast("tuple[Connection, Connection]", context.Pipe())
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        with self._lock:
            self._processes[slot] = process
        if self._killed:
            process.kill()
        try:
            ours.recv_bytes()
        except (EOFError, OSError) as error:
            process.join()
            if self._killed or (process.exitcode or 0) < 0:
                raise
            raise ExperimentError(
                f"a worker process could not start and ended with exit code {process.exitcode}; "
                "what it printed stands above. If this is a script, put what runs the sweep "
                'under `if __name__ == "__main__":`, or pass workers=0.'
            ) from error
        return ours

    def _cause_of_death(self, slot: int) -> str:
        process = self._processes.get(slot)
        if process is None:
            return "the process that starts workers ended"
        process.join(_SECONDS_TO_END)
        code = process.exitcode
        if code is None or code >= 0:
            return f"the worker process ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = " (killed from outside, or by the system when memory ran out)"
        return f"the worker process was ended by {name}{hint if name == 'SIGKILL' else ''}"


def _context() -> "SpawnContext | ForkServerContext":
    """Return how workers are started: never as a fork of this process.

    A fork copies torch's threads half and the locks of a run whole. Where there is a fork server,
    a process that has done nothing but import the library, a worker is ready in milliseconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED_ONCE)
    return context


def _exchange(pipe: Connection, message: bytes, future: ReportingFuture) -> None:
    pipe.send_bytes(message)
    while True:
        kind, value = pickle.loads(pipe.recv_bytes())
        if kind == "progress":
            future.progress = value
        elif kind == "error":
            future.set_exception(value)
            return
        else:
            future.set_result(value)
            return


def _work(pipe: Connection) -> None:
    """Serve calls in a worker process until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(b"ready")
        while True:
            message = pipe.recv_bytes()
            reporter = _Reporter(pipe)
            with reporting(reporter):
                answer = _answer(message)
            reporter.end()
            pipe.send_bytes(answer)


def _answer(message: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(message)
        return pickle.dumps(("result", function(*args, **kwargs)))
    except Exception as error:
        try:
            # Some exceptions can be pickled and not read back.
            payload = pickle.dumps(("error", error))
            pickle.loads(payload)
        except Exception:
            return pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))
        return payload


class _Reporter:
    """Sends progress from any thread of a call, now and then, and nothing after its end."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._last = -math.inf

    def __call__(self, done: float, total: float, label: str) -> None:
        with self._lock:
            if monotonic() - self._last >= _SECONDS_BETWEEN_REPORTS:
                self._last = monotonic()
                self._pipe.send_bytes(pickle.dumps(("progress", (done, total, label))))

    def end(self) -> None:
        """Let a thread that outlives its call report in vain."""
        with self._lock:
            self._last = math.inf


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
