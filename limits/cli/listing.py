"""``limits list``: what can be run."""

import shutil
import textwrap
from argparse import ArgumentParser

from limits.cli.discovery import describe, known_names

__all__ = ["list_arguments", "list_experiments"]

_COLUMNS_OF_A_FILE = 120
_NARROWEST = 20


def list_arguments(parser: ArgumentParser) -> None:
    """Describe the arguments of `list_experiments`."""
    parser.add_argument("--plain", action="store_true", help="one name a line, for scripts")


def list_experiments(*, plain: bool) -> int:
    """Print the experiments that `limits run` knows."""
    names = known_names()
    if plain:
        print("\n".join(names))
        return 0
    left = max(map(len, ("experiment", *names))) + 2
    columns = shutil.get_terminal_size((_COLUMNS_OF_A_FILE, 0)).columns
    room = max(_NARROWEST, columns - left)
    print(f"{'experiment':<{left}}what it shows")
    for name in names:
        first, *rest = textwrap.wrap(describe(name), room) or [""]
        print(f"{name:<{left}}{first}")
        for line in rest:
            print(" " * left + line)
    print("\nlimits run NAME --scale smoke|laptop|paper; a folder's name runs all in it.")
    return 0
