"""``limits list``: what can be run."""

from typing import Annotated

import tyro
from rich.table import Table
from rich.text import Text

from limits.cli.console import output_console
from limits.cli.discovery import describe, known_names

__all__ = ["list_experiments"]


def list_experiments(
    *,
    plain: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="One name a line, for scripts.")
    ] = False,
) -> int:
    """List the experiments that `limits run` knows."""
    console = output_console()
    if plain:
        console.print("\n".join(known_names()), soft_wrap=True, markup=False)
        return 0
    table = Table("experiment", "what it shows", box=None, header_style="bold")
    for name in known_names():
        table.add_row(Text(name, no_wrap=True), Text(describe(name)))
    console.print(table)
    console.print("\nlimits run NAME --scale smoke|laptop|paper; a folder's name runs all in it.")
    return 0
