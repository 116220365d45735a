"""``limits cite``: what to cite."""

from typing import Annotated

import tyro

from limits.cli.console import output_console
from limits.cli.discovery import citation_of, known_names, matching_names
from limits.sweeps.provenance import library_version

__all__ = ["cite"]


def cite(
    name: Annotated[
        str | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME]", help="An experiment or a folder of them; all by default."),
    ] = None,
) -> int:
    """Print what to cite for the software and for an experiment."""
    names = known_names() if name is None else matching_names(name)
    software = (
        f"The limits authors. limits: deep residual networks and their infinite-depth limits, "
        f"version {library_version()}. Python package resnet-limits."
    )
    citations = dict.fromkeys([software, *(citation_of(each) for each in names)])
    output_console().print("\n\n".join(citations), soft_wrap=True, markup=False)
    return 0
