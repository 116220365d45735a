"""Keep an executor busy with jobs, try again what was lost, and hand over what is done."""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from limits.exceptions import ExperimentError
from limits.sweeps.processes import ProcessWorkers
from limits.sweeps.work import Job, Outcome, execute, one_thread, reporting

__all__ = ["ATTEMPTS", "Listener", "Submitter", "run_here", "run_jobs"]

ATTEMPTS = 3
"""How often a task is tried whose worker dies."""

_MOST_IN_FLIGHT = 256
_SECONDS_BETWEEN_LOOKS = 0.2


class Submitter(Protocol):
    """The part of `concurrent.futures.Executor` that is needed."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Schedule a call."""
        ...


class Listener(Protocol):
    """Who is told what happens to the jobs, always from the thread that runs the sweep."""

    def started(self, job: Job, attempt: int) -> None:
        """Tell that a job was handed out."""
        ...

    def working(self, job: Job, fraction: float, label: str) -> None:
        """Tell how far a job is."""
        ...

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Tell that a job gave a dataset."""
        ...

    def lost(self, job: Job, attempt: int, reason: str) -> None:
        """Tell that a job's worker died and that it will be tried again."""
        ...

    def failed(self, job: Job, reason: str, log: str, expected: bool) -> None:
        """Tell that a job was given up."""
        ...


@dataclass(frozen=True)
class _Try:
    job: Job
    attempt: int


def run_here(jobs: Sequence[Job], listener: Listener) -> None:
    """Execute jobs one after the other in this process."""
    with one_thread():
        for job in jobs:
            listener.started(job, 1)
            with reporting(_reporter(job, listener)):
                outcome = execute(job)
            _settle(_Try(job, 1), outcome, listener)


def run_jobs(jobs: Sequence[Job], executor: Submitter, listener: Listener) -> None:
    """Execute jobs on an executor; return when each is finished or given up.

    A job whose worker died is tried again, `ATTEMPTS` times in all, after the jobs that have
    not been tried yet. No more jobs are handed out than keep the workers busy, so that a result
    is stored and dropped soon after it is there.

    Raises
    ------
    ExperimentError
        If the executor itself does not work.
    """
    waiting = deque(_Try(job, 1) for job in jobs)
    most = executor.workers if isinstance(executor, ProcessWorkers) else _MOST_IN_FLIGHT
    flying: dict[Future[Any], _Try] = {}
    try:
        _fly(waiting, flying, executor, listener, most)
    finally:
        for future in flying:
            # The executor may be gone by now.
            with contextlib.suppress(Exception):
                future.cancel()


def _fly(
    waiting: deque[_Try],
    flying: dict[Future[Any], _Try],
    executor: Submitter,
    listener: Listener,
    most: int,
) -> None:
    while waiting or flying:
        while waiting and len(flying) < most:
            each = waiting.popleft()
            flying[_submitted(executor, each.job)] = each
            listener.started(each.job, each.attempt)
        check = getattr(executor, "check", None)
        if check is not None:
            check()
        done, _ = wait(flying, timeout=_SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        for future in done:
            again = _received(future, flying.pop(future), listener)
            if again is not None:
                waiting.append(again)
        for future, each in flying.items():
            progress = getattr(future, "progress", None)
            if progress is not None:
                _reporter(each.job, listener)(*progress)


def _submitted(executor: Submitter, job: Job) -> "Future[Any]":
    try:
        future = executor.submit(execute, job)
    # A pool that broke refuses every call from then on, each library with its own exception.
    except Exception as error:
        raise ExperimentError(
            f"the executor {type(executor).__name__} takes no more tasks: {error}. Finished tasks "
            "are kept; run again with another executor to go on."
        ) from error
    if not isinstance(future, Future):
        raise ExperimentError(
            f"the executor {type(executor).__name__} returned {type(future).__module__}."
            f"{type(future).__name__}, which nobody can wait for beside others. Pass an executor "
            "whose submit returns futures of concurrent.futures."
        )
    return future


def _received(future: "Future[Any]", each: _Try, listener: Listener) -> _Try | None:
    """Settle what a future brought; return the job to try again if its worker died."""
    try:
        outcome = future.result()
    except Exception as error:
        if not _is_loss(error):
            raise ExperimentError(
                f"task {each.job.task.label!r} could not be executed by a worker: {error}"
            ) from error
        reason = str(error) or type(error).__name__
        # Dask has tried several times before it gives up.
        if each.attempt < ATTEMPTS and not _is_killed_worker(error):
            listener.lost(each.job, each.attempt, reason)
            return _Try(each.job, each.attempt + 1)
        reason = f"{reason}, {each.attempt} times in a row" if each.attempt > 1 else reason
        listener.failed(each.job, reason, reason, expected=False)
        return None
    _settle(each, outcome, listener)
    return None


def _settle(each: _Try, outcome: Outcome, listener: Listener) -> None:
    if outcome.error:
        listener.failed(each.job, outcome.error, outcome.log, outcome.expected)
    else:
        listener.finished(each.job, outcome)


def _is_loss(error: Exception) -> bool:
    return isinstance(error, BrokenExecutor | CancelledError) or _is_killed_worker(error)


def _is_killed_worker(error: Exception) -> bool:
    # Told by its name, so that Dask need not be installed.
    return type(error).__name__ == "KilledWorker"


def _reporter(job: Job, listener: Listener) -> Callable[[float, float, str], None]:
    def progress(done: float, total: float, label: str) -> None:
        fraction = min(max(done / total, 0.0), 1.0) if total else 0.0
        # Reaching a whole task is to be said once it is stored.
        listener.working(job, min(fraction, 0.999), label)

    return progress
