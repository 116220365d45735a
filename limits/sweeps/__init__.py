"""Grids of independent tasks: what to run, how to run it and where results are kept.

Nothing in here knows what a task computes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limits.sweeps.executors import executor_for as executor_for
    from limits.sweeps.experiment import Experiment as Experiment
    from limits.sweeps.experiment import experiment_name as experiment_name
    from limits.sweeps.experiment import scale_name as scale_name
    from limits.sweeps.grid import Task as Task
    from limits.sweeps.grid import tasks as tasks
    from limits.sweeps.processes import ProcessWorkers as ProcessWorkers
    from limits.sweeps.runner import run as run
    from limits.sweeps.status import run_status as run_status
    from limits.sweeps.store import load_dataset as load_dataset
    from limits.sweeps.store import prepare_folder as prepare_folder
    from limits.sweeps.store import save_dataset as save_dataset
    from limits.sweeps.store import write_bytes as write_bytes

_MODULES = {
    "executor_for": "executors",
    "Experiment": "experiment",
    "experiment_name": "experiment",
    "scale_name": "experiment",
    "Task": "grid",
    "tasks": "grid",
    "ProcessWorkers": "processes",
    "run": "runner",
    "run_status": "status",
    "load_dataset": "store",
    "prepare_folder": "store",
    "save_dataset": "store",
    "write_bytes": "store",
}


def __getattr__(name: str) -> Any:
    # Who lists experiments does not wait for what runs them.
    if name in _MODULES:
        return getattr(import_module(f"limits.sweeps.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'limits.sweeps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
