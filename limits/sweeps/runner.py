"""Run an experiment's tasks one after the other and join what they return."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import xarray

from limits.exceptions import ExperimentError
from limits.sweeps.grid import Coordinate, Task, tasks
from limits.sweeps.provenance import config_as_json, environment

__all__ = ["Experiment", "Progress", "experiment_name", "run", "scale_name"]

Progress = Callable[[float, float, str], None]
"""Called as progress(done, total, label)."""


class Experiment(Protocol):
    """What the runner asks of an experiment, which is usually a module.

    ``axes(config)`` returns the values along each axis, and
    ``task(config, *, seed, **coordinates)`` the dataset of one point of their grid. A task with
    a parameter ``progress`` is handed a callback to report from the inside with.
    """

    __name__: str
    axes: Callable[[Any], Mapping[str, Sequence[Coordinate]]]
    task: Callable[..., xarray.Dataset]


def run(
    experiment: Experiment,
    config: object,
    *,
    seed: int,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Run every task of an experiment and return one dataset with the axes in front.

    Parameters
    ----------
    experiment : Experiment
        Usually a module.
    config : frozen dataclass
        Handed to ``axes`` and ``task``, and recorded.
    seed : int
        Base seed; every task gets its own, derived from it and the task's coordinates.
    progress : callable, optional
        Called as ``progress(done, total, label)`` when a task begins, while it works and when it
        ends. Both numbers count tasks; inside a task ``done`` has a fraction.

    Returns
    -------
    xarray.Dataset
        Dimensions: the axes as declared, then those of the tasks. Attributes: ``experiment``,
        ``scale``, ``config``, ``seed``, ``seconds_per_task``, versions, machine and revision.

    Raises
    ------
    ExperimentError
        If the axes are unusable, or a task returns something that cannot be joined.
    """
    provenance: dict[str, object] = {
        "experiment": experiment_name(experiment),
        "scale": scale_name(experiment, config),
        "config": config_as_json(config),
        "seed": seed,
    }
    axes = experiment.axes(config)
    grid = tasks(axes, seed)
    report = progress or _ignore
    results, seconds = [], []
    for done, task in enumerate(grid):
        started = perf_counter()
        results.append(_run_task(experiment, config, task, _inside(report, done, len(grid), task)))
        seconds.append(round(perf_counter() - started, 3))
        report(done + 1, len(grid), task.label)
    provenance |= {"seconds_per_task": np.array(seconds)} | environment()
    return _join(axes, results).assign_attrs(provenance)


def experiment_name(experiment: Experiment) -> str:
    """Return the name that the command line knows an experiment by.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> experiment_name(SimpleNamespace(__name__="limits.experiments.marion2025.fig7"))
    'marion2025.fig7'
    """
    return experiment.__name__.rpartition("experiments.")[2]


def scale_name(experiment: Experiment, config: object) -> str:
    """Return the scale that a configuration belongs to, or ``custom``."""
    scales: Mapping[str, object] = getattr(experiment, "SCALES", {})
    return next((name for name, scale in scales.items() if scale == config), "custom")


def _run_task(
    experiment: Experiment, config: object, task: Task, progress: Progress
) -> xarray.Dataset:
    progress(0, 1, "")
    keywords: dict[str, object] = {**task.coordinates, "seed": task.seed}
    if "progress" in inspect.signature(experiment.task).parameters:
        keywords["progress"] = progress
    dataset = experiment.task(config, **keywords)
    if not isinstance(dataset, xarray.Dataset):
        raise ExperimentError(
            f"task {task.label!r} of {experiment_name(experiment)} returned "
            f"{type(dataset).__name__}. Return an xarray.Dataset."
        )
    taken = [name for name in task.coordinates if name in {*dataset.dims, *dataset.data_vars}]
    if taken:
        raise ExperimentError(
            f"task {task.label!r} of {experiment_name(experiment)} returned a dimension or "
            f"variable {', '.join(taken)}, which is also an axis of the sweep. Rename "
            "one of the two; the runner adds the axes."
        )
    known = dataset.drop_vars(task.coordinates, errors="ignore")
    return known.expand_dims({name: [value] for name, value in task.coordinates.items()})


def _join(
    axes: Mapping[str, Sequence[Coordinate]], results: Sequence[xarray.Dataset]
) -> xarray.Dataset:
    if not axes:
        return results[0]
    try:
        joined = xarray.combine_nested(
            _nested(results, [len(values) for values in axes.values()]),
            concat_dim=list(axes),
            data_vars="all",
            coords="different",
            compat="equals",
            join="outer",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        raise ExperimentError(
            f"the {len(results)} datasets of the tasks along {', '.join(axes)} cannot be joined: "
            f"{error}. Let every task return the same dimensions for the same variable."
        ) from error
    # Joining turns text into Python objects; the declared values are what a reader selects by.
    return joined.assign_coords({name: list(values) for name, values in axes.items()})


def _nested(results: Sequence[xarray.Dataset], sizes: Sequence[int]) -> list[Any]:
    if len(sizes) == 1:
        return list(results)
    step = len(results) // sizes[0]
    return [
        _nested(results[start : start + step], sizes[1:]) for start in range(0, len(results), step)
    ]


def _inside(report: Progress, done: int, total: int, task: Task) -> Progress:
    def progress(part: float, whole: float, label: str) -> None:
        fraction = min(max(part / whole, 0.0), 1.0) if whole else 0.0
        # Reaching a whole number is the runner's to say, once the task has returned.
        report(done + min(fraction, 0.999), total, f"{task.label} {label}".strip())

    return progress


def _ignore(done: float, total: float, label: str) -> None:
    pass
