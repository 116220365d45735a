"""What a person sees: two consoles, one way to say an error, and progress while it works."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from limits._typing import Progress
    from limits.sweeps.runner import Notify

__all__ = ["error_console", "output_console", "print_error", "progress_reports"]

_WIDTH_OF_A_FILE = 120


def output_console() -> Console:
    """Return a console on standard output, wide enough for a table in a log file."""
    return _console(stderr=False)


def error_console() -> Console:
    """Return a console on standard error, where progress and errors go."""
    return _console(stderr=True)


def print_error(message: object) -> None:
    """Print ``error: ...`` in red on standard error."""
    line = Text.assemble(("error:", "bold red"), " ", str(message))
    error_console().print(line, soft_wrap=True)


@contextmanager
def progress_reports(name: str, *, quiet: bool = False) -> Iterator["tuple[Progress, Notify]"]:
    """Give callbacks that show how far a run is, and sentences about what went wrong.

    On a terminal progress is a bar with the rate and the time left; in a log file, one line per
    finished task; in quiet mode nothing. Sentences are always shown.
    """
    console = error_console()

    def notify(sentence: str) -> None:
        console.print(Text(f"{name}: {sentence}", "yellow"), soft_wrap=True)

    if quiet:
        yield _nothing, notify
        return
    if not console.is_terminal:
        yield _line_per_task(console, name), notify
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        row, pace = bar.add_task(name, total=None, counts=""), _Pace()

        def progress(done: float, total: float, label: str) -> None:
            counts = f"{int(done)}/{total:g}{pace(int(done))}"
            text = f"{name} {label}".strip()
            bar.update(row, completed=done, total=total, description=text, counts=counts)

        yield progress, notify


class _Pace:
    """Tasks a minute since the run began, what was finished before left aside."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._started = perf_counter()

    def __call__(self, done: int) -> str:
        if self._first is None:
            self._first = done
        minutes = (perf_counter() - self._started) / 60
        fresh = done - self._first
        return f", {fresh / minutes:.3g}/min" if fresh and minutes else ""


def _nothing(done: float, total: float, label: str) -> None:
    pass


def _line_per_task(console: Console, name: str) -> "Progress":
    started = perf_counter()
    printed = -1

    def progress(done: float, total: float, label: str) -> None:
        nonlocal printed
        if printed < 0:
            printed = int(done)
        if int(done) > printed:
            printed = int(done)
            seconds = perf_counter() - started
            line = f"{name}: {printed} of {total:g} tasks done after {seconds:.1f} s  {label}"
            console.print(Text(line.rstrip()), soft_wrap=True)

    return progress


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_A_FILE
    return console
