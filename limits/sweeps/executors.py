"""Who computes: this process, worker processes, or a Dask cluster."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic
from typing import Any

from limits.exceptions import ExperimentError
from limits.scalars import plain_numbers
from limits.sweeps.processes import ProcessWorkers
from limits.sweeps.scheduling import Submitter

__all__ = ["executor_for", "submitter"]

_SECONDS_TO_CONNECT = 10
_SECONDS_WITHOUT_SCHEDULER = 15


@contextmanager
@plain_numbers
def executor_for(*, workers: int | None = None, dask: str | None = None) -> Iterator[Any]:
    """Give an executor for `limits.sweeps.run`, and end it afterwards.

    Parameters
    ----------
    workers : int, optional
        Number of worker processes, as many as there are cores when left out; 0 for none.
    dask : str, optional
        Address of a Dask scheduler, such as ``tcp://127.0.0.1:8786``.

    Yields
    ------
    Executor or None
        None means that this process computes.

    Raises
    ------
    ExperimentError
        If both are given, `workers` is negative, Dask is not installed or does not answer.
    """
    if dask is not None:
        if workers is not None:
            raise ExperimentError(
                f"workers={workers} and dask={dask!r} were both asked for. Dask's scheduler knows "
                "its own workers: leave out workers."
            )
        with _dask(dask) as executor:
            yield executor
        return
    if workers is not None and workers < 0:
        raise ExperimentError(
            f"the number of workers must be 0 or more, found {workers}. Leave it out for one per "
            "core, or pass 0 to compute in this process."
        )
    if workers == 0:
        yield None
        return
    with ProcessWorkers(workers or _cores()) as pool:
        yield pool


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _dask(address: str) -> Iterator[Submitter]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ExperimentError(
            "a Dask scheduler was asked for, but Dask is not installed. Run `pip install "
            "resnet-limits[distributed]` here and on the workers."
        ) from error
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise ExperimentError(
            f"no Dask scheduler answers at {address!r}: {error}. Start one with `dask scheduler`, "
            "and pass the address it prints, such as tcp://127.0.0.1:8786."
        ) from error
    with client:
        yield _DaskWorkers(client)


def submitter(executor: Any) -> Submitter:
    """Return what tasks are submitted to.

    A Dask ``Client`` has ``submit`` as well, with other keywords and futures of its own kind: its
    executor is taken.

    Raises
    ------
    ExperimentError
        If it has no ``submit``, or is an asynchronous client.
    """
    if callable(getattr(executor, "get_executor", None)):
        if getattr(executor, "asynchronous", False):
            raise ExperimentError(
                f"{type(executor).__name__} is asynchronous, and a sweep waits for its tasks. Pass "
                "a client made with asynchronous=False."
            )
        return _DaskWorkers(executor)
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        kind = executor.__name__ if isinstance(executor, type) else type(executor).__name__
        raise ExperimentError(
            f"executor must be an object with submit, which returns futures, found {kind}. Pass "
            "limits.sweeps.ProcessWorkers(2), an executor of concurrent.futures, a Dask Client, "
            "or nothing to compute in this process."
        )
    return executor


class _DaskWorkers:
    """A Dask cluster as an executor that notices when its scheduler is gone."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # With pure=True a task that failed once is never tried again: Dask returns the failure.
        self._executor = client.get_executor(pure=False)
        self._lost_since: float | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Schedule a call."""
        return self._executor.submit(fn, *args)

    def check(self) -> None:
        """Raise if the scheduler has not answered for a while: its futures would never end."""
        if self._client.status == "running":
            self._lost_since = None
            return
        self._lost_since = self._lost_since or monotonic()
        if monotonic() - self._lost_since > _SECONDS_WITHOUT_SCHEDULER:
            raise ExperimentError(
                f"the Dask scheduler has not answered for {_SECONDS_WITHOUT_SCHEDULER} seconds "
                f"(the client is {self._client.status}). Start it again and run again: finished "
                "tasks are kept."
            )
