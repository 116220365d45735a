"""Run the tasks of an experiment anywhere, keep what is finished, and join the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limits.exceptions import ExperimentError
from limits.scalars import plain_numbers
from limits.sweeps.executors import submitter
from limits.sweeps.experiment import Experiment, experiment_name
from limits.sweeps.folder import RunFolder
from limits.sweeps.grid import Coordinate, Task, plain_axes, tasks
from limits.sweeps.joining import join
from limits.sweeps.manifest import EarlierRun, check_same_question, manifest_of
from limits.sweeps.provenance import config_as_json
from limits.sweeps.results import FolderResults, MemoryResults, Results
from limits.sweeps.scheduling import Submitter, run_here, run_jobs
from limits.sweeps.work import Job, Outcome, jobs_of

if TYPE_CHECKING:
    from xarray import Dataset

    from limits._typing import Progress

__all__ = ["Notify", "run"]

Notify = Callable[[str], None]
"""Called with a sentence that a person should see."""

_RECORDED = (
    "experiment", "scale", "config", "seed", "versions", "platform", "git_revision", "mixed",
    "code",
)  # fmt: skip
_NAMED_FAILURES = 5


@plain_numbers
def run(
    experiment: Experiment,
    config: object,
    *,
    seed: int,
    folder: str | Path | None = None,
    executor: Submitter | None = None,
    fresh: bool = False,
    keep: str | Path | None = None,
    progress: "Progress | None" = None,
    notify: Notify | None = None,
) -> "Dataset":
    """Run every task of an experiment and return one dataset with the axes in front.

    Numbers do not depend on the executor, the order of the tasks or how often the run was
    interrupted: every task draws from its own seed and runs on one torch thread.

    Parameters
    ----------
    experiment : Experiment
        Usually a module.
    config : frozen dataclass
        Handed to ``axes`` and ``task``, and recorded.
    seed : int
        Base seed; every task gets its own, derived from it and the task's coordinates.
    folder : str or Path, optional
        Where finished tasks are kept. A second run in the same folder computes only what is
        missing. Without it everything stays in memory.
    executor : concurrent.futures.Executor, optional
        Anything with ``submit`` that returns such futures: `limits.sweeps.ProcessWorkers`, or
        Dask's ``Client``. Without it, this process works alone.
    fresh : bool
        Compute again what is finished already.
    keep : str or Path, optional
        Folder of an earlier run whose finished tasks of equal coordinates and seed are taken
        over, although its configuration or code may differ; the result's attribute ``mixed``
        says so.
    progress : callable, optional
        Called as ``progress(done, total, label)`` when a task begins, while it works and when it
        ends. Both numbers count tasks; inside a task ``done`` has a fraction.
    notify : callable, optional
        Called with a sentence about damaged files, dead workers and failed tasks.

    Returns
    -------
    xarray.Dataset
        Dimensions: the axes as declared, then those of the tasks. Attributes: ``experiment``,
        ``scale``, ``config``, ``seed``, ``seconds_per_task``, versions, machine and revision.

    Raises
    ------
    ExperimentError
        If the axes are unusable, `folder` holds a run with another configuration, seed or code,
        tasks failed (all others are finished and kept), or what they return cannot be joined.
    StoreError
        If `folder` cannot be written, or another run is writing there.
    """
    config_as_json(config)
    executor = None if executor is None else submitter(executor)
    axes = plain_axes(experiment.axes(config))
    grid = tasks(axes, seed)
    manifest = manifest_of(experiment, config, seed=seed, axes=axes)
    if folder is None:
        results = MemoryResults()
        sweep = _Sweep(len(grid), results, progress or _ignore, notify or _silent)
        sweep.compute(experiment, config, grid, executor)
        return _joined(axes, grid, results, manifest)
    with RunFolder.opened(Path(folder), manifest, fresh=fresh) as opened:
        check_same_question(opened.path, manifest)
        kept = FolderResults(opened)
        sweep = _Sweep(len(grid), kept, progress or _ignore, notify or _silent)
        if keep is not None:
            kept.take_over(EarlierRun.at(Path(keep)), grid)
        missing, damages = kept.unfinished(grid)
        for sentence in damages:
            sweep.notify(sentence)
        sweep.compute(experiment, config, missing, executor)
        mixes = kept.mixes(grid)
        extra = {"mixed": "; ".join(f"{n} tasks: {run}" for run, n in mixes.items())}
        return _joined(axes, grid, kept, manifest | (extra if mixes else {}))


@dataclass
class _Sweep:
    """Counts what happens to the jobs and passes it on."""

    total: int
    results: Results
    progress: "Progress"
    notify: Notify
    failures: list[str] = field(default_factory=list)
    _done: int = 0
    _working: dict[str, float] = field(default_factory=dict)

    def compute(
        self,
        experiment: Experiment,
        config: object,
        missing: Sequence[Task],
        executor: Submitter | None,
    ) -> None:
        """Run tasks; raise once all have been tried if some failed."""
        self._done = self.total - len(missing)
        order = _costly_first(experiment, config, missing)
        # Tasks that measure time would disturb each other side by side.
        if getattr(experiment, "TIMED", False):
            executor = None
        jobs = jobs_of(experiment, config, order, local=executor is None)
        if executor is None:
            run_here(jobs, self)
        else:
            run_jobs(jobs, executor, self)
        if self.failures:
            named = "; ".join(each.rstrip(".") for each in self.failures[:_NAMED_FAILURES])
            more = len(self.failures) - _NAMED_FAILURES
            raise ExperimentError(
                f"{len(self.failures)} of {self.total} tasks of {experiment_name(experiment)} "
                f"failed: {named}{f'; and {more} more' if more > 0 else ''}. The other "
                f"{self._done} are finished. Mend the cause and run again: only what failed is "
                "computed."
            )

    def started(self, job: Job, attempt: int) -> None:
        """Tell that a job was handed out."""
        self.results.note("started", job.task, attempt=attempt)
        self._working[job.task.key] = 0.0
        self._report(job.task.label)

    def working(self, job: Job, fraction: float, label: str) -> None:
        """Tell how far a job is."""
        if self._working.get(job.task.key) != fraction:
            self._working[job.task.key] = fraction
            self._report(f"{job.task.label} {label}".strip())

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Keep the dataset of a job."""
        self.results.store(job.task, outcome)
        self._working.pop(job.task.key, None)
        self._done += 1
        self._report(job.task.label)

    def lost(self, job: Job, attempt: int, reason: str) -> None:
        """Tell that a job's worker died and that it will be tried again."""
        self._working.pop(job.task.key, None)
        self.results.note("lost", job.task, attempt=attempt, reason=reason)
        self.notify(f"task {job.task.label!r} was lost: {reason}. It is tried again.")

    def failed(self, job: Job, reason: str, log: str, expected: bool) -> None:
        """Tell that a job was given up."""
        self._working.pop(job.task.key, None)
        self.failures.append(f"{job.task.label or 'its only task'}: {reason}")
        self.results.note("failed", job.task, reason=reason, log=log)
        self.notify(f"task {job.task.label!r} failed: {reason if expected else log.rstrip()}")

    def _report(self, label: str) -> None:
        self.progress(self._done + sum(self._working.values()), self.total, label)


def _joined(
    axes: Mapping[str, Sequence[Coordinate]],
    grid: Sequence[Task],
    results: Results,
    manifest: Mapping[str, Any],
) -> "Dataset":
    import numpy as np

    provenance = {name: manifest[name] for name in _RECORDED if name in manifest}
    provenance["cpu"] = "; ".join(sorted(results.cpus()))
    provenance["seconds_per_task"] = np.array([results.seconds(task) for task in grid])
    dataset = join(axes, [results.dataset(task) for task in grid])
    return dataset.assign_attrs(provenance)


def _costly_first(experiment: Experiment, config: object, grid: Sequence[Task]) -> list[Task]:
    cost = getattr(experiment, "cost", None)
    if cost is None:
        return list(grid)
    return sorted(grid, key=lambda task: -float(cost(config, **task.coordinates)))


def _ignore(done: float, total: float, label: str) -> None:
    pass


def _silent(sentence: str) -> None:
    pass
