"""What a run was asked, and which earlier run answers the same question."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from limits.exceptions import ExperimentError, StoreError
from limits.sweeps.experiment import Experiment, experiment_name, scale_name, source_file
from limits.sweeps.folder import JOURNAL, MANIFEST, manifest_bytes, read_manifest, read_task
from limits.sweeps.grid import Coordinate, Task
from limits.sweeps.journal import Record, read_journal
from limits.sweeps.provenance import code_version, config_as_json, environment
from limits.sweeps.store import write_bytes
from limits.sweeps.work import Outcome

__all__ = [
    "EarlierRun",
    "changes",
    "check_same_question",
    "identity",
    "latest_run",
    "manifest_of",
    "run_folder",
]

_IDENTITY = ("experiment", "config", "seed", "code")
_FIELDS = {
    "experiment": str,
    "scale": str,
    "config": str,
    "seed": int,
    "code": str,
    "axes": dict,
}


def manifest_of(
    experiment: Experiment,
    config: object,
    *,
    seed: int,
    axes: Mapping[str, Sequence[Coordinate]],
) -> dict[str, Any]:
    """Return everything that identifies a run, and what a reader wants to know of it."""
    recorded = environment()
    return {
        "format": 1,
        "experiment": experiment_name(experiment),
        "scale": scale_name(experiment, config),
        "config": config_as_json(config),
        "seed": seed,
        "code": code_version(source_file(experiment)),
        "dirty": recorded.get("git_revision", "").endswith("-dirty"),
        "device": str(getattr(config, "device", "cpu")),
        "dtype": str(getattr(config, "dtype", "float64")),
        "axes": {name: list(values) for name, values in axes.items()},
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        **recorded,
    }


def run_folder(parent: Path, manifest: Mapping[str, Any]) -> Path:
    """Return the folder of a run below `parent`: another one for another question."""
    return parent / f"{manifest['experiment']}-{manifest['scale']}-{identity(manifest)}"


def latest_run(parent: Path, manifest: Mapping[str, Any]) -> "EarlierRun | None":
    """Return the last run of the same experiment and scale that asked something else."""
    found = []
    for file in parent.glob(f"{manifest['experiment']}-{manifest['scale']}-*/{MANIFEST}"):
        try:
            run = EarlierRun.at(file.parent)
        except StoreError:
            continue
        if identity(run.manifest) != identity(manifest) and run.record.done:
            found.append((file.stat().st_mtime, str(file), run))
    return max(found, key=lambda each: each[:2])[2] if found else None


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


def check_same_question(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise unless what is finished in a folder answers what is asked now.

    Raises
    ------
    ExperimentError
        If configuration, seed or code are others.
    StoreError
        If the folder's manifest is unreadable and nothing else tells what was asked.
    """
    try:
        found = EarlierRun.at(folder).manifest
    except StoreError:
        # The command line's folders carry the identity in their name.
        if not folder.name.endswith(f"-{identity(manifest)}"):
            raise
        write_bytes(folder / MANIFEST, manifest_bytes(manifest))
        return
    if identity(found) != identity(manifest):
        name = found["experiment"], manifest["experiment"]
        what = changes(found, manifest) or f"the experiment ({name[0]} to {name[1]})"
        raise ExperimentError(
            f"{folder} holds a run of {name[0]}, and since then {what} changed. Choose another "
            "folder, and keep=the old one to take over its finished tasks; or pass fresh=True to "
            "start over in this one."
        )


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
        wrong = [name for name, kind in _FIELDS.items() if not isinstance(manifest.get(name), kind)]
        if wrong:
            raise StoreError(
                f"the manifest of {path} has no usable {', '.join(wrong)}. Move the folder away "
                "and start the run again."
            )
        return cls(path, manifest, read_journal(path / JOURNAL))

    @property
    def identity(self) -> str:
        """Code, revision and configuration in one line."""
        revision = str(self.manifest.get("git_revision", "no revision"))
        return f"code {self.manifest['code']} ({revision}), config {self.manifest['config']}"

    def origin(self, task: Task) -> str:
        """Return where a task was computed: here, or where this run has it from."""
        return str(self.record.done[task.key].get("kept_from", self.identity))

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


def identity(manifest: Mapping[str, Any]) -> str:
    """Return a digest of what a run was asked and of the code that answers."""
    asked = json.dumps([manifest[name] for name in _IDENTITY], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:8]
