"""``limits cite``: what to cite."""

from argparse import ArgumentParser

from limits.cli.discovery import citation_of, known_names, matching_names
from limits.sweeps.provenance import library_version

__all__ = ["cite", "cite_arguments"]


def cite_arguments(parser: ArgumentParser) -> None:
    """Describe the arguments of `cite`."""
    parser.add_argument("name", nargs="?", help="an experiment or a folder of them; all by default")


def cite(*, name: str | None) -> int:
    """Print what to cite for the software and for experiments."""
    names = known_names() if name is None else matching_names(name)
    software = (
        f"The limits authors. limits: deep residual networks and their infinite-depth limits, "
        f"version {library_version()}. Python package resnet-limits."
    )
    print("\n\n".join(dict.fromkeys([software, *(citation_of(each) for each in names)])))
    return 0
