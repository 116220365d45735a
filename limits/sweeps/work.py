"""One task as a message: sent to any process on any machine, answered with bytes."""

import importlib
import inspect
import math
import os
import pickle
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from limits.exceptions import ExperimentError, LimitsError
from limits.sweeps.experiment import (
    Experiment,
    experiment_name,
    package_of_experiments,
    source_file,
)
from limits.sweeps.grid import Task
from limits.sweeps.joining import labelled
from limits.sweeps.provenance import code_version, processor
from limits.sweeps.store import dataset_bytes

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController
    from xarray import Dataset

    from limits._typing import Progress

__all__ = ["Job", "LocalJob", "Outcome", "SentJob", "execute", "jobs_of", "one_thread", "reporting"]

_REPORT: ContextVar["Progress | None"] = ContextVar("report", default=None)


class Job(Protocol):
    """One task, ready to be executed."""

    @property
    def task(self) -> Task:
        """The task."""
        ...

    def resolve(self) -> tuple[Experiment, object]:
        """Return the experiment and its configuration."""
        ...


@dataclass(frozen=True)
class LocalJob:
    """A job of this process, which has the experiment at hand."""

    task: Task
    experiment: Experiment
    config: object

    def resolve(self) -> tuple[Experiment, object]:
        """Return the experiment and its configuration."""
        return self.experiment, self.config


@dataclass(frozen=True)
class SentJob:
    """A job that any other process can execute.

    Parameters
    ----------
    coordinates, seed
        Of the task.
    module : str
        The experiment's module, imported where the task runs; empty if it travels pickled.
    pickled : bytes
        The experiment (None if it is a module) and its configuration.
    code : str
        Version of the code that the sender has.
    """

    coordinates: dict[str, Any]
    seed: int
    module: str
    pickled: bytes
    code: str

    @property
    def task(self) -> Task:
        """The task."""
        return Task(self.coordinates, self.seed)

    def resolve(self) -> tuple[Experiment, object]:
        """Return the experiment and its configuration."""
        # What is unpickled may live in an experiment's module, so that must be found first.
        package_of_experiments()
        try:
            module: Any = importlib.import_module(self.module) if self.module else None
            sent, config = pickle.loads(self.pickled)
        except ModuleNotFoundError as error:
            raise ExperimentError(
                f"a worker on {platform.node()} cannot import {error.name}. Install there what is "
                "installed here, the experiment's module included."
            ) from error
        experiment = module or sent
        own = _code_here(source_file(experiment))
        if own != self.code:
            raise ExperimentError(
                f"a worker on {platform.node()} has code {own}, the run has code {self.code}. "
                "Install the same versions there, or start again if the code was edited meanwhile."
            )
        return experiment, config


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Parameters
    ----------
    payload : bytes
        The task's dataset as a netCDF file; empty if it failed.
    error : str
        In one sentence what went wrong; empty if nothing did.
    log : str
        The traceback.
    expected : bool
        Whether the error is one of the library's own, whose message is all a user needs.
    seconds : float
        Computing time.
    worker : str
        Machine and process.
    cpu : str
        Model of its processor.
    """

    payload: bytes
    error: str
    log: str
    expected: bool
    seconds: float
    worker: str
    cpu: str


def jobs_of(
    experiment: Experiment, config: object, grid: Sequence[Task], *, local: bool
) -> list[Job]:
    """Return one job per task, for this process or for any other.

    Raises
    ------
    ExperimentError
        If experiment or configuration cannot travel to another process.
    """
    if local:
        return [LocalJob(task, experiment, config) for task in grid]
    module = experiment.__name__ if isinstance(experiment, ModuleType) else ""
    try:
        pickled = pickle.dumps((None if module else experiment, config))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ExperimentError(
            f"{experiment_name(experiment)} cannot be sent to a worker process: {error}. Define "
            "its functions and its Config at the top of a module, or run it with workers=0."
        ) from error
    code = _code_here(source_file(experiment))
    return [SentJob(dict(task.coordinates), task.seed, module, pickled, code) for task in grid]


def execute(job: Job) -> Outcome:
    """Run one task on one thread; an error of the task is an outcome, no exception.

    One thread of torch and of the BLAS beneath numpy, because summation order, and with it every
    last bit, may depend on their number.
    """
    started = perf_counter()
    payload, problem, log, expected = b"", "", "", False
    try:
        payload = dataset_bytes(_compute(job))
    # Whatever a task raises, an exit of the program included, must not cost the other tasks.
    except (Exception, SystemExit) as error:
        problem, log = f"{type(error).__name__}: {error}", traceback.format_exc()
        expected = isinstance(error, LimitsError)
        if expected:
            problem = str(error)
    seconds = round(perf_counter() - started, 4)
    worker = f"{platform.node()}:{os.getpid()}"
    return Outcome(payload, problem, log, expected, seconds, worker, processor())


@contextmanager
def reporting(progress: "Progress | None") -> Iterator[None]:
    """Hand tasks that are executed inside the block a callback to report with."""
    token = _REPORT.set(progress)
    try:
        yield
    finally:
        _REPORT.reset(token)


@contextmanager
def one_thread() -> Iterator[None]:
    """Give this process its threads back after tasks have run in it."""
    import torch
    from threadpoolctl import ThreadpoolController

    threads = torch.get_num_threads()
    try:
        with ThreadpoolController().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _compute(job: Job) -> "Dataset":
    import torch

    experiment, config = job.resolve()
    torch.set_num_threads(1)
    _thread_pools(len(sys.modules)).limit(limits=1)
    task = job.task
    keywords: dict[str, object] = {**task.coordinates, "seed": task.seed}
    if "progress" in inspect.signature(experiment.task).parameters:
        keywords["progress"] = _checked(_REPORT.get() or _ignore)
    return labelled(experiment.task(config, **keywords), task, experiment_name(experiment))


# Asked for by every task; a process keeps the code that it has imported.
_code_here = lru_cache(maxsize=8)(code_version)


@lru_cache(maxsize=1)
def _thread_pools(_modules: int) -> "ThreadpoolController":
    """Return the libraries that have threads of their own, looked for again after imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _checked(progress: "Progress") -> "Progress":
    def checked(done: float, total: float, label: str) -> None:
        if not (math.isfinite(done) and math.isfinite(total)):
            raise ExperimentError(
                f"a task reported progress({done}, {total}, ...). Report finite numbers: how much "
                "is done, and of how much."
            )
        progress(float(done), float(total), str(label))

    return checked


def _ignore(done: float, total: float, label: str) -> None:
    pass
