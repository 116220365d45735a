"""``limits status``: how far a run is, from another terminal."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table
from rich.text import Text

from limits.cli.console import output_console
from limits.sweeps.status import RunStatus, run_status

__all__ = ["duration", "status"]

_MOST_VALUES = 12


def status(
    folder: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FOLDER", help="Folder of a run, as `limits run` prints it."),
    ],
    *,
    log: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="Tracebacks of failed tasks.")
    ] = False,
) -> int:
    """Show what a run has done, is doing and has left; running or not."""
    state, console = run_status(folder), output_console()
    console.print(_summary(state))
    for axis in _axes_worth_showing(state):
        console.print(axis)
    for label, reason in state.reasons.items():
        console.print(Text(f"failed: {label}: {reason}", "red"), soft_wrap=True)
        if log:
            console.print(Text(state.logs[label]), soft_wrap=True)
    return 1 if state.failed else 0


def duration(seconds: float) -> str:
    """Return a time in the largest units that matter.

    Examples
    --------
    >>> duration(4.21), duration(75), duration(7300)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _summary(state: RunStatus) -> Table:
    manifest = state.manifest
    title = f"{manifest['experiment']}, scale {manifest['scale']}, seed {manifest['seed']}"
    table = Table("", "tasks", "", title=title, title_justify="left", header_style="bold")
    left = len(state.grid) - len(state.done) - len(state.failed) - len(state.running)
    table.add_row("done", str(len(state.done)), f"{duration(state.seconds)} of computing")
    names = ", ".join(task.label for task in state.running[:3])
    more = f" and {len(state.running) - 3} more" if len(state.running) > 3 else ""
    table.add_row("running", str(len(state.running)), Text(names + more))
    table.add_row("failed", str(len(state.failed)), "")
    table.add_row("waiting", str(left), _outlook(state, left))
    table.add_row("all", str(len(state.grid)), f"begun {manifest.get('begun', 'at no known time')}")
    return table


def _outlook(state: RunStatus, waiting: int) -> str:
    if state.seconds_left is not None:
        return f"about {duration(state.seconds_left)} left"
    if state.active:
        return "no task finished yet, so no estimate"
    unfinished = waiting + len(state.failed)
    return "nothing is running; the same command goes on" if unfinished else "complete"


def _axes_worth_showing(state: RunStatus) -> list[Table]:
    tables = []
    for axis, counts in state.along_axes().items():
        if len(counts) < 2:
            continue
        table = Table(axis, "done", "of", header_style="bold")
        for value, (done, total) in list(counts.items())[:_MOST_VALUES]:
            table.add_row(Text(value), str(done), str(total))
        if len(counts) > _MOST_VALUES:
            rest = list(counts.values())[_MOST_VALUES:]
            done, total = (sum(column) for column in zip(*rest, strict=True))
            table.add_row(f"({len(rest)} more)", str(done), str(total))
        tables.append(table)
    return tables
