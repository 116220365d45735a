"""Where the results of a run go while it lasts: into memory or into a folder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from limits.exceptions import StoreError
from limits.sweeps.folder import RunFolder
from limits.sweeps.grid import Task
from limits.sweeps.manifest import EarlierRun
from limits.sweeps.store import dataset_of
from limits.sweeps.work import Outcome

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["FolderResults", "MemoryResults", "Results"]


class Results(Protocol):
    """Takes what comes of tasks, and gives it back."""

    def store(self, task: Task, outcome: Outcome) -> None:
        """Keep the dataset of a finished task."""
        ...

    def note(self, event: str, task: Task, **details: object) -> None:
        """Write down that something else happened to a task."""
        ...

    def dataset(self, task: Task) -> "Dataset":
        """Return the dataset of a finished task."""
        ...

    def seconds(self, task: Task) -> float:
        """Return the computing time of a finished task."""
        ...

    def cpus(self) -> set[str]:
        """Return the models of the processors that computed."""
        ...


class MemoryResults:
    """Results of a run without a folder."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}

    def store(self, task: Task, outcome: Outcome) -> None:
        """Keep the dataset of a finished task."""
        self._outcomes[task.key] = outcome

    def note(self, event: str, task: Task, **details: object) -> None:
        """Do nothing: nobody can read it later."""

    def dataset(self, task: Task) -> "Dataset":
        """Return the dataset of a finished task."""
        return dataset_of(self._outcomes[task.key].payload, task.label)

    def seconds(self, task: Task) -> float:
        """Return the computing time of a finished task."""
        return self._outcomes[task.key].seconds

    def cpus(self) -> set[str]:
        """Return the models of the processors that computed."""
        return {outcome.cpu for outcome in self._outcomes.values()}


class FolderResults:
    """Results of a run that keeps them in its folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def unfinished(self, grid: Sequence[Task]) -> tuple[list[Task], list[str]]:
        """Return the tasks that have no sound file, and a sentence about each damaged file."""
        missing, damages = [], []
        for task in grid:
            if self._folder.has(task):
                try:
                    self._folder.payload(task)
                except StoreError as error:
                    damages.append(str(error))
                else:
                    continue
            missing.append(task)
        return missing, damages

    def store(self, task: Task, outcome: Outcome) -> None:
        """Keep the dataset of a finished task."""
        self._folder.keep(task, outcome)

    def note(self, event: str, task: Task, **details: object) -> None:
        """Write down that something else happened to a task."""
        self._folder.write(event, task=task.key, label=task.label, **details)

    def dataset(self, task: Task) -> "Dataset":
        """Return the dataset of a finished task."""
        return dataset_of(self._folder.payload(task), task.label)

    def seconds(self, task: Task) -> float:
        """Return the computing time of a finished task."""
        return float(self._folder.record.done[task.key].get("seconds", 0.0))

    def cpus(self) -> set[str]:
        """Return the models of the processors that computed."""
        return {str(event.get("cpu", "")) for event in self._folder.record.done.values()}

    def take_over(self, other: EarlierRun, grid: Sequence[Task]) -> None:
        """Copy what another run has finished and this one has not."""
        for task in grid:
            if self._folder.has(task) or task.key not in other.record.done:
                continue
            try:
                outcome = other.outcome(task)
            except StoreError:
                continue
            self._folder.keep(task, outcome, kept_from=other.origin(task))

    def mixes(self, grid: Sequence[Task]) -> dict[str, int]:
        """Return how many tasks came from which other run."""
        counts: dict[str, int] = {}
        for task in grid:
            origin = self._folder.record.done[task.key].get("kept_from")
            if origin:
                counts[str(origin)] = counts.get(str(origin), 0) + 1
        return counts
