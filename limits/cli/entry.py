"""Where every command begins and every error ends."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from limits.cli.interrupts import Terminated, terminable
from limits.cli.streams import OutputLost, guarded_streams
from limits.cli.surroundings import own_figures
from limits.exceptions import LimitsError

__all__ = ["main"]

_DESCRIPTION = (
    "Deep residual networks, their infinite-depth limits, and the error between the two. "
    "Begin with `limits list`, then `limits run NAME --scale smoke`. "
    "`limits run NAME --help` shows every setting of an experiment, "
    "`limits --version` the version."
)
_FAILED_USAGE = 2
_INTERRUPTED = 130
_READER_LEFT = 141
_TERMINATED = 143


class _Command(NamedTuple):
    """A command: the module that is imported when it is called, and what help says of it."""

    module: str
    function: str
    summary: str
    arguments: str | None = None
    """The function that tells argparse of its arguments, for a command that is over before the
    parser of dataclasses is imported."""


_COMMANDS = {
    "run": _Command("running", "run_experiments", "Numbers, figure and verdicts of an experiment."),
    "list": _Command(
        "listing", "list_experiments", "The experiments that can be run.", "list_arguments"
    ),
    "check": _Command("checking", "check", "The regime of your own network, and the remedy."),
    "check-weights": _Command("checking", "check_weights", "How rough the weights in a file are."),
    "show": _Command("showing", "show", "What a file of numbers holds, and its verdicts."),
    "status": _Command("watching", "status", "How far a run is."),
    "export": _Command("exporting", "export", "Write a figure in another format."),
    "figures": _Command("indexing", "figures", "Write the page of all figures and verdicts."),
    "cite": _Command(
        "citing", "cite", "What to cite, for all or for one experiment.", "cite_arguments"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all went well, 1 if a verdict failed, 2 if the request cannot be carried out or its
        output cannot be written, 130 after Ctrl-C, 141 if whoever read the output has left, as
        ``head`` does, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with guarded_streams():
            return _status(arguments)
    except OutputLost as lost:
        if lost.reader_left:
            return _READER_LEFT
        # The guard, and what it still holds, are gone: this is the stream as it came.
        with contextlib.suppress(OSError):
            print(
                f"error: cannot write to standard output: {lost.reason}. Send it elsewhere, "
                "for example to a file on another disk.",
                file=sys.stderr,
                flush=True,
            )
        return _FAILED_USAGE


def _status(arguments: list[str]) -> int:
    try:
        with terminable(), own_figures():
            return _dispatch(arguments)
    except SystemExit as stop:
        # Parsers print their help and their usage and then leave the program.
        return stop.code if isinstance(stop.code, int) else _FAILED_USAGE
    except LimitsError as error:
        from limits.cli.console import print_error

        print_error(error)
        return _FAILED_USAGE
    except KeyboardInterrupt as stop:
        from limits.cli.console import error_console

        terminated = isinstance(stop, Terminated)
        error_console().print(
            f"Stopped by {'SIGTERM' if terminated else 'Ctrl-C'}. What was finished is kept, and "
            "nothing half-written was left.",
            soft_wrap=True,
        )
        return _TERMINATED if terminated else _INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from limits.sweeps.provenance import library_version

        print(f"limits {library_version()}")
        return 0
    if not arguments:
        _parser("").print_help(sys.stderr)
        return _FAILED_USAGE
    name = arguments[0]
    if name not in _COMMANDS or _COMMANDS[name].arguments:
        request = vars(_parser(name).parse_args(arguments))
        del request["command"], request["version"]
        return _function(name)(**request)
    # The flags of `run` depend on the experiment, so it reads its own arguments.
    if name == "run":
        return _function(name)(arguments[1:])
    import tyro

    return tyro.cli(_function(name), args=arguments[1:], prog=f"limits {name}")


def _function(name: str) -> Callable[..., int]:
    return _part(_COMMANDS[name].module, _COMMANDS[name].function)


def _part(module: str, function: str) -> Callable[..., int]:
    return getattr(import_module(f"limits.cli.{module}"), function)


def _parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the light commands, which knows the names of all."""
    parser = argparse.ArgumentParser("limits", description=_DESCRIPTION)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for each, command in _COMMANDS.items():
        under = commands.add_parser(each, help=command.summary, description=command.summary)
        if each == name and command.arguments:
            _part(command.module, command.arguments)(under)
    return parser
