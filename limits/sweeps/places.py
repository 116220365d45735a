"""Where a run lies: the same place for the same question, another one for any other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limits.sweeps.experiment import Experiment
from limits.sweeps.folder import JOURNAL, MANIFEST
from limits.sweeps.grid import Task, tasks
from limits.sweeps.journal import read_journal
from limits.sweeps.manifest import EarlierRun, changes, latest_run, manifest_of, run_folder

__all__ = ["Place", "place_of"]


@dataclass(frozen=True)
class Place:
    """The folder of a run, and what lies there or beside it.

    Parameters
    ----------
    folder : Path
        Where the run keeps its tasks.
    grid : tuple of Task
        What it has to do.
    earlier : EarlierRun or None
        The last run of the same experiment and scale with other settings or code.
    difference : str
        What changed since `earlier`.
    """

    folder: Path
    grid: tuple[Task, ...]
    earlier: EarlierRun | None
    difference: str

    def progress(self) -> tuple[int, int]:
        """Return how many tasks are finished, and how many there are."""
        record = read_journal(self.folder / JOURNAL)
        return sum(task.key in record.done for task in self.grid), len(self.grid)

    def sentences(self, *, resume: bool, keep: bool) -> Iterator[str]:
        """Say what is found there and what is done about it."""
        done, total = self.progress()
        if done and resume:
            yield f"{done} of {total} tasks are finished there; --no-resume computes them again."
        elif done:
            yield f"{done} of {total} tasks are finished there and computed again."
        if self.earlier is None:
            if keep:
                yield "--keep: there is no earlier run with other settings or code to take from."
            return
        if not keep and (self.folder / MANIFEST).is_file():
            return
        old = sum(task.key in self.earlier.record.done for task in self.grid)
        since = f"{self.difference} changed since {self.earlier.path}"
        if keep:
            yield f"{since}: its {old} finished tasks of this grid are taken over, and recorded."
        elif old:
            yield f"{since}: this is a new run; --keep would take over {old} finished tasks."


def place_of(experiment: Experiment, config: object, *, seed: int, parent: Path) -> Place:
    """Return where a run belongs below `parent`.

    Parameters
    ----------
    experiment, config, seed
        As in `limits.sweeps.run`.
    parent : Path
        Folder of all runs.
    """
    axes = experiment.axes(config)
    manifest = manifest_of(experiment, config, seed=seed, axes=axes)
    folder = run_folder(parent, manifest)
    earlier = latest_run(parent, manifest)
    difference = changes(earlier.manifest, manifest) if earlier else ""
    return Place(folder, tasks(axes, seed), earlier, difference)
