"""How far a run is, seen from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from limits.sweeps.folder import is_locked
from limits.sweeps.grid import Task, tasks
from limits.sweeps.manifest import EarlierRun

__all__ = ["RunStatus", "run_status"]


@dataclass(frozen=True)
class RunStatus:
    """State of a run.

    Parameters
    ----------
    manifest : mapping
        What was asked.
    grid : tuple of Task
        All tasks.
    done, failed, running : tuple of Task
        Finished; given up; handed out to a worker at this moment.
    reasons : mapping of str to str
        Why tasks failed, by their label.
    logs : mapping of str to str
        Their tracebacks, by their label.
    active : bool
        Whether a process is working on the run.
    seconds_left : float or None
        Estimate from the pace of this session; None without one.
    seconds : float
        Computing time of all finished tasks.
    """

    manifest: Mapping[str, Any]
    grid: tuple[Task, ...]
    done: tuple[Task, ...]
    failed: tuple[Task, ...]
    running: tuple[Task, ...]
    reasons: Mapping[str, str]
    logs: Mapping[str, str]
    active: bool
    seconds_left: float | None
    seconds: float

    def along_axes(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Return, for every axis and value, how many tasks are done and how many there are."""
        done = {task.key for task in self.done}
        counts: dict[str, dict[str, tuple[int, int]]] = {}
        for task in self.grid:
            for axis, value in task.coordinates.items():
                finished, total = counts.setdefault(axis, {}).get(str(value), (0, 0))
                counts[axis][str(value)] = (finished + (task.key in done), total + 1)
        return counts


def run_status(folder: str | Path) -> RunStatus:
    """Read the state of a run from its folder; writes nothing.

    Parameters
    ----------
    folder : str or Path
        The run's folder, which ``limits run`` prints.

    Raises
    ------
    StoreError
        If it is not the folder of a run.
    """
    path = Path(folder)
    run = EarlierRun.at(path)
    active = is_locked(path)
    grid = tasks(run.manifest["axes"], run.manifest["seed"])
    record = run.record

    def those(keys: Mapping[str, Any]) -> tuple[Task, ...]:
        return tuple(task for task in grid if task.key in keys)

    done, failed = those(record.done), those(record.failed)
    pace = (time() - record.session_began) / record.session_done if record.session_done else None
    left = len(grid) - len(done) - len(failed)
    return RunStatus(
        manifest=run.manifest,
        grid=grid,
        done=done,
        failed=failed,
        running=those(record.running) if active else (),
        reasons={task.label: str(record.failed[task.key].get("reason", "")) for task in failed},
        logs={task.label: str(record.failed[task.key].get("log", "")) for task in failed},
        active=active,
        seconds_left=pace * left if active and pace is not None else None,
        seconds=sum(float(record.done[task.key].get("seconds", 0.0)) for task in done),
    )
