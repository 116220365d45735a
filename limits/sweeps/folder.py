"""The folder of one run: what was asked, one file per finished task, a journal and a lock."""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from limits.exceptions import StoreError
from limits.sweeps.grid import Task
from limits.sweeps.journal import Journal, Record, read_journal
from limits.sweeps.store import prepare_folder, refusal, write_bytes
from limits.sweeps.work import Outcome

__all__ = ["RunFolder", "is_locked", "manifest_bytes", "read_manifest", "read_task"]

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
LOCK = "lock"
TASKS = "tasks"
_SECONDS_TO_WAIT = 1.0


class RunFolder:
    """An open run folder, locked against every other run; make one with `RunFolder.opened`."""

    def __init__(self, path: Path, journal: Journal, record: Record) -> None:
        self.path = path
        self.record = record
        self._journal = journal

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, manifest: Mapping[str, object], *, fresh: bool = False
    ) -> Iterator["RunFolder"]:
        """Open a folder for one run, made if it does not exist.

        Parameters
        ----------
        path : Path
            The folder.
        manifest : mapping
            Written if the folder has none.
        fresh : bool
            Forget what is finished; its journal is kept under another name.

        Raises
        ------
        StoreError
            If another process is writing there, or the folder cannot be used.
        """
        prepare_folder(path)
        prepare_folder(path / TASKS)
        with _locked(path):
            if fresh:
                _put_aside(path / JOURNAL)
            if fresh or not (path / MANIFEST).is_file():
                write_bytes(path / MANIFEST, manifest_bytes(manifest))
            for leftover in (path / TASKS).glob("*.partial"):
                leftover.unlink(missing_ok=True)
            record = read_journal(path / JOURNAL)
            journal = Journal(path / JOURNAL)
            try:
                folder = cls(path, journal, record)
                folder.write("session", pid=os.getpid(), host=platform.node())
                yield folder
            finally:
                journal.close()

    def write(self, event: str, **details: object) -> None:
        """Add an event to the journal."""
        self.record.add(self._journal.write(event, **details))

    def keep(self, task: Task, outcome: Outcome, **details: object) -> None:
        """Store the dataset of a finished task, whole or not at all."""
        write_bytes(self._file(task), outcome.payload)
        self.write(
            "done",
            task=task.key,
            label=task.label,
            sha256=hashlib.sha256(outcome.payload).hexdigest(),
            seconds=outcome.seconds,
            worker=outcome.worker,
            cpu=outcome.cpu,
            **details,
        )

    def payload(self, task: Task) -> bytes:
        """Return the bytes of a finished task's file.

        Raises
        ------
        StoreError
            If the file is not what the journal says it is; the task is then no longer counted
            as finished.
        """
        try:
            return read_task(self.path, self.record, task)
        except StoreError as error:
            self.write("damaged", task=task.key, label=task.label, reason=str(error))
            raise

    def has(self, task: Task) -> bool:
        """Return whether the journal says that a task is finished."""
        return task.key in self.record.done

    def _file(self, task: Task) -> Path:
        return _task_file(self.path, task)


def read_task(path: Path, record: Record, task: Task) -> bytes:
    """Return the bytes of a task's file in a run folder, compared with the journal's digest."""
    file = _task_file(path, task)
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"the file {file.name} of task {task.label!r} cannot be read: {error.strerror}. The "
            "task has to be computed again."
        ) from error
    if hashlib.sha256(payload).hexdigest() != record.done[task.key].get("sha256"):
        raise StoreError(
            f"the file {file.name} of task {task.label!r} is damaged: its {len(payload):,} bytes "
            "do not have the digest that the journal recorded. The task has to be computed again."
        )
    return payload


def manifest_bytes(manifest: Mapping[str, object]) -> bytes:
    """Return a manifest as the text of its file."""
    return json.dumps(manifest, indent=1).encode() + b"\n"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a run was asked.

    Raises
    ------
    StoreError
        If the folder is not that of a run.
    """
    file = path / MANIFEST
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file. Pass the folder of a run, for example {path.parent}.")
    try:
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        runs = sorted(each.parent.name for each in path.glob(f"*/{MANIFEST}"))[:5]
        near = f" It holds the runs {', '.join(runs)}: name one of them." if runs else ""
        raise StoreError(
            f"{path} is not the folder of a run: it has no {MANIFEST}.{near} Runs lie in the "
            "folder runs/ beside the figures."
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot read {file}: {error}. Move the folder away and start the run again."
        ) from error
    if not isinstance(manifest, dict):
        raise StoreError(
            f"{file} holds no description of a run. Move the folder away and start the run again."
        )
    return manifest


def is_locked(path: Path) -> bool:
    """Return whether a process is writing to a run folder at this moment."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system gives back when this process ends, in any way."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(refusal(f"the lock of {path}", path, error)) from error
    try:
        # `limits status` holds the lock for an instant to see whether it is free.
        deadline = monotonic() + _SECONDS_TO_WAIT
        while not _try_lock(descriptor):
            if monotonic() > deadline:
                owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                raise StoreError(
                    f"another run is writing to {path} ({owner or 'unknown process'}). Watch it "
                    f"with `limits status {path}`, wait for it, or pass another --out."
                )
            sleep(0.05)
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _put_aside(journal: Path) -> None:
    if journal.is_file():
        number = 1
        while (old := journal.with_name(f"journal-{number}.jsonl")).exists():
            number += 1
        journal.rename(old)


def _task_file(path: Path, task: Task) -> Path:
    return path / TASKS / f"{task.key}.nc"
