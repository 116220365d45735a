"""``limits show``: what a result file holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from limits.cli.console import output_console, print_error
from limits.cli.discovery import known_names, load
from limits.sweeps import load_dataset

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["show"]


def show(
    file: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE", help="A .nc file that `limits run` wrote."),
    ],
) -> int:
    """Show where a result file comes from, what it holds and what it proves."""
    from limits.reports.tables import provenance_table, variable_table

    dataset = load_dataset(file)
    console = output_console()
    console.print(provenance_table(dataset))
    console.print(variable_table(dataset))
    _show_verdicts(dataset)
    return 0


def _show_verdicts(dataset: "Dataset") -> None:
    name = dataset.attrs.get("experiment")
    if name not in known_names():
        output_console().print(
            f"No verdicts: the experiment that wrote this file ({name}) is not known here.",
            markup=False,
        )
        return
    from limits.reports.tables import verdict_table

    # A file of an older version may lack whatever today's check reads.
    try:
        verdicts = load(name).check(dataset)
    except Exception as error:
        print_error(
            f"{name} cannot check this file ({type(error).__name__}: {error}). Run it again with "
            "this version."
        )
        return
    output_console().print(verdict_table(verdicts))
