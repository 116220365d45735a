"""What a person sees: two consoles, one way to say an error, and progress while it works."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

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
def progress_reports(name: str) -> Iterator[Callable[[float, float, str], None]]:
    """Give a callback ``progress(done, total, label)`` that shows how far a run is.

    On a terminal it is a bar with the time left; in a log file, one line per finished task.
    """
    console = error_console()
    if not console.is_terminal:
        yield _line_per_task(console, name)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task(name, total=None)

        def progress(done: float, total: float, label: str) -> None:
            bar.update(row, completed=done, total=total, description=f"{name} {label}".strip())

        yield progress


def _line_per_task(console: Console, name: str) -> Callable[[float, float, str], None]:
    started = perf_counter()
    printed = 0

    def progress(done: float, total: float, label: str) -> None:
        nonlocal printed
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
