"""Where every command begins and every error ends."""

import sys
from collections.abc import Sequence

from tyro.extras import subcommand_cli_from_dict

from limits.cli.checking import check, check_weights
from limits.cli.citing import cite
from limits.cli.console import error_console, output_console, print_error
from limits.cli.exporting import export
from limits.cli.indexing import figures
from limits.cli.interrupts import Terminated, terminable
from limits.cli.listing import list_experiments
from limits.cli.settings import RunRequest
from limits.cli.showing import show
from limits.cli.watching import status
from limits.exceptions import LimitsError
from limits.sweeps.provenance import library_version

__all__ = ["main"]

_DESCRIPTION = (
    "Deep residual networks, their infinite-depth limits, and the error between the two. "
    "Begin with `limits list`, then `limits run NAME --scale smoke`. "
    "`limits run NAME --help` shows every setting of an experiment, "
    "`limits --version` the version."
)
_FAILED_USAGE = 2
_INTERRUPTED = 130
_TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all went well, 1 if a verdict failed, 2 if the request cannot be carried out, 130
        after Ctrl-C, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminable():
            return _dispatch(arguments)
    except SystemExit as stop:
        # tyro prints its help and its usage boxes and then leaves the program.
        return stop.code if isinstance(stop.code, int) else _FAILED_USAGE
    except LimitsError as error:
        print_error(error)
        return _FAILED_USAGE
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        error_console().print(
            f"Stopped by {'SIGTERM' if terminated else 'Ctrl-C'}. What was finished is kept, and "
            "nothing half-written was left.",
            soft_wrap=True,
        )
        return _TERMINATED if terminated else _INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        output_console().print(f"limits {library_version()}")
        return 0
    # The flags of `run` depend on the experiment, so it reads its own arguments.
    if arguments[:1] == ["run"]:
        from limits.cli.running import run_experiments

        return run_experiments(arguments[1:])
    commands = {
        "run": RunRequest,
        "list": list_experiments,
        "check": check,
        "check-weights": check_weights,
        "show": show,
        "status": status,
        "export": export,
        "figures": figures,
        "cite": cite,
    }
    return subcommand_cli_from_dict(
        commands, prog="limits", description=_DESCRIPTION, args=arguments
    )
