"""What a run was asked, and which earlier run answers the same question."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from limits.exceptions import StoreError
from limits.sweeps.experiment import Experiment, experiment_name, scale_name
from limits.sweeps.folder import JOURNAL, MANIFEST, read_manifest, read_task
from limits.sweeps.grid import Coordinate, Task
from limits.sweeps.journal import Record, read_journal
from limits.sweeps.provenance import code_version, config_as_json, environment
from limits.sweeps.work import Outcome

__all__ = ["EarlierRun", "changes", "latest_run", "manifest_of", "run_folder"]

_IDENTITY = ("experiment", "config", "seed", "code")


def manifest_of(
    experiment: Experiment,
    config: object,
    *,
    seed: int,
    axes: Mapping[str, Sequence[Coordinate]],
) -> dict[str, Any]:
    """Return everything that identifies a run, and what a reader wants to know of it."""
    file = inspect.getsourcefile(experiment) if isinstance(experiment, ModuleType) else None
    recorded = environment()
    return {
        "format": 1,
        "experiment": experiment_name(experiment),
        "scale": scale_name(experiment, config),
        "config": config_as_json(config),
        "seed": seed,
        "code": code_version(file),
        "dirty": recorded.get("git_revision", "").endswith("-dirty"),
        "device": str(getattr(config, "device", "cpu")),
        "dtype": str(getattr(config, "dtype", "float64")),
        "axes": {name: list(values) for name, values in axes.items()},
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        **recorded,
    }


def run_folder(parent: Path, manifest: Mapping[str, Any]) -> Path:
    """Return the folder of a run below `parent`: another one for another question."""
    return parent / f"{manifest['experiment']}-{manifest['scale']}-{_identity(manifest)}"


def latest_run(parent: Path, manifest: Mapping[str, Any]) -> "EarlierRun | None":
    """Return the last run of the same experiment and scale that asked something else."""
    found = []
    for file in parent.glob(f"{manifest['experiment']}-{manifest['scale']}-*/{MANIFEST}"):
        try:
            run = EarlierRun.at(file.parent)
        except StoreError:
            continue
        if _identity(run.manifest) != _identity(manifest):
            found.append((file.stat().st_mtime, str(file), run))
    return max(found)[2] if found else None


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words what differs between two runs."""
    found = []
    if old["config"] != new["config"]:
        before, after = json.loads(old["config"]), json.loads(new["config"])
        names = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found.append(f"the configuration ({', '.join(names)})")
    if old["seed"] != new["seed"]:
        found.append(f"the seed ({old['seed']} to {new['seed']})")
    if old["code"] != new["code"]:
        found.append(f"the code ({old['code']} to {new['code']})")
    return " and ".join(found)


@dataclass(frozen=True)
class EarlierRun:
    """A run folder that is read and not written.

    Parameters
    ----------
    path : Path
        The folder.
    manifest : mapping
        What it was asked.
    record : Record
        What it has done.
    """

    path: Path
    manifest: Mapping[str, Any]
    record: Record

    @classmethod
    def at(cls, path: Path) -> "EarlierRun":
        """Read a run folder.

        Raises
        ------
        StoreError
            If it is none.
        """
        manifest = read_manifest(path)
        missing = [name for name in (*_IDENTITY, "scale", "axes") if name not in manifest]
        if missing:
            raise StoreError(
                f"the manifest of {path} lacks {', '.join(missing)}. Move the folder away and "
                "start the run again."
            )
        return cls(path, manifest, read_journal(path / JOURNAL))

    @property
    def identity(self) -> str:
        """Code, revision and configuration in one line."""
        revision = self.manifest.get("git_revision", "no revision")
        return f"code {self.manifest['code']} ({revision}), config {self.manifest['config']}"

    def outcome(self, task: Task) -> Outcome:
        """Return what the run kept of a task."""
        event = self.record.done[task.key]
        return Outcome(
            payload=read_task(self.path, self.record, task),
            error="",
            log="",
            expected=False,
            seconds=float(event.get("seconds", 0.0)),
            worker=str(event.get("worker", "")),
            cpu=str(event.get("cpu", "")),
        )


def _identity(manifest: Mapping[str, Any]) -> str:
    asked = json.dumps([manifest[name] for name in _IDENTITY], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:8]
