"""The command line: ``limits`` and ``python -m limits``, one command a file."""

from limits.cli.entry import main as main
