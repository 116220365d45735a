"""The diary of a run: one line of JSON per event, readable while it is written."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from limits.exceptions import StoreError
from limits.sweeps.store import refusal

__all__ = ["Journal", "Record", "read_journal"]

_SECONDS_BETWEEN_FLUSHES = 1.0


@dataclass
class Record:
    """What a journal tells, by task key.

    Parameters
    ----------
    done : dict of str to mapping
        The last ``done`` event of every finished task: ``sha256``, ``seconds``, ``cpu``, ``code``.
    failed : dict of str to mapping
        The last ``failed`` event of every task that was given up and not finished since.
    running : dict of str to float
        When each task was handed out that has neither finished nor failed.
    starts : dict of str to int
        How often each task was handed out.
    """

    done: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    session_began: float = 0.0
    session_done: int = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Take account of one event."""
        kind, key, moment = event.get("event"), event.get("task", ""), event.get("time", 0.0)
        if not isinstance(key, str) or not isinstance(moment, int | float):
            return
        if kind == "session":
            self.running.clear()
            self.session_began, self.session_done = moment, 0
        elif kind == "started":
            self.running[key] = moment
            self.failed.pop(key, None)
            self.starts[key] = self.starts.get(key, 0) + 1
        elif kind == "done":
            self.done[key] = event
            self.session_done += "kept_from" not in event
        elif kind == "failed":
            self.failed[key] = event
        elif kind == "damaged":
            self.done.pop(key, None)
        if kind in ("done", "failed", "lost"):
            self.running.pop(key, None)
        if kind == "done":
            self.failed.pop(key, None)


class Journal:
    """Appends events to a file.

    A line reaches the operating system at once, so that killing the process loses none, and the
    disk at least once a second, so that a power cut loses a second of bookkeeping, whose tasks
    are then computed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            # A killed writer may have left half a line, which must not swallow the next.
            if os.fstat(self._descriptor).st_size and not _ends_a_line(path):
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise StoreError(refusal(f"the journal {path}", path, error)) from error
        self._flushed = monotonic()

    def write(self, event: str, **details: object) -> dict[str, Any]:
        """Append one event and return it."""
        line = {"event": event, "time": round(time(), 3), **details}
        payload = json.dumps(line).encode() + b"\n"
        try:
            rest = memoryview(payload)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                os.fsync(self._descriptor)
                self._flushed = monotonic()
        except OSError as error:
            what = f"an event to the journal {self._path}"
            raise StoreError(refusal(what, self._path, error)) from error
        return line

    def close(self) -> None:
        """Flush and close."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def read_journal(path: Path) -> Record:
    """Return what a journal tells; an unfinished last line, or none at all, is no error."""
    record = Record()
    for event in _events(path):
        record.add(event)
    return record


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"cannot read the journal {path}: {error.strerror}. Make it readable, or start a new "
            "run in another folder."
        ) from error
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
