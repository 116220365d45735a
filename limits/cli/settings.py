"""What `limits run` can be told: settings for all, and every Config field of an experiment."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from limits.checks import check_seed
from limits.cli.bounds import check_bounds
from limits.cli.discovery import RunnableExperiment, describe, known_names
from limits.exceptions import ExperimentError, LimitsError

__all__ = [
    "DEFAULT_SCALE",
    "RunRequest",
    "RunSettings",
    "read_experiment",
    "read_folder",
    "read_request",
]

DEFAULT_SCALE = "laptop"
_HELP = frozenset({"-h", "--help"})


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What every experiment can be told."""

    scale: Annotated[
        Literal["smoke", "laptop", "paper"],
        tyro.conf.arg(help="Seconds, minutes, or the published grid."),
    ] = DEFAULT_SCALE
    seed: Annotated[int, tyro.conf.arg(help="Seed of all random numbers.")] = 0
    out: Annotated[
        Path, tyro.conf.arg(help="Folder of the figure; the numbers go to data/ in it.")
    ] = Path("figures")
    workers: Annotated[
        int | None,
        tyro.conf.arg(help="Worker processes; as many as cores by default, 0 for none."),
    ] = None
    dask: Annotated[
        str | None, tyro.conf.arg(help="Dask scheduler to compute on, tcp://HOST:PORT.")
    ] = None
    resume: Annotated[
        bool, tyro.conf.arg(help="Do not compute again what an earlier run has finished.")
    ] = True
    keep: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        tyro.conf.arg(help="Take over tasks finished with other settings or code, and record it."),
    ] = False
    quiet: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="No progress, for log files.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class RunRequest(RunSettings):
    """Run an experiment, all in a folder, or all of a pattern: numbers, figure, verdicts."""

    name: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="NAME", help="Experiment, folder or quoted pattern; comes first."),
    ]


def read_request(arguments: Sequence[str]) -> tuple[RunRequest, list[str]]:
    """Read the name and the scale, which decide what the other flags are.

    Returns
    -------
    request : RunRequest
        With flags that only an experiment knows left aside.
    rest : list of str
        All arguments but the name, to be read strictly by `read_experiment` or `read_folder`.
    """
    without_help = [argument for argument in arguments if argument not in _HELP]
    if not without_help and arguments:
        known = "The experiments: " + ", ".join(known_names()) + "."
        description = f"{RunRequest.__doc__} {known} `limits run NAME --help` shows its settings."
        tyro.cli(RunRequest, args=["--help"], prog="limits run", description=description)
    request, _ = tyro.cli(
        RunRequest, args=without_help, prog="limits run", return_unknown_args=True
    )
    rest = list(arguments)
    rest.remove(request.name)
    return request, rest


def read_experiment(
    name: str, experiment: RunnableExperiment, scale: str, rest: Sequence[str]
) -> tuple[RunSettings, Any]:
    """Read the settings and the Config of one experiment, whose defaults are those of a scale.

    Raises
    ------
    ExperimentError
        If the experiment has no such scale, or refuses the values.
    """
    if scale not in experiment.SCALES:
        raise ExperimentError(
            f"experiment {name!r} has no scale {scale!r}. Pass --scale with one of: "
            f"{', '.join(experiment.SCALES)}."
        )
    default = experiment.SCALES[scale]
    _check_fields(name, default)
    form = dataclasses.make_dataclass(
        "Run",
        [
            ("settings", Annotated[RunSettings, tyro.conf.arg(name="")], RunSettings()),
            ("config", Annotated[type(default), tyro.conf.arg(name="")], default),
        ],
        frozen=True,
    )
    description = f"{describe(name)} Defaults are those of scale {scale}."
    try:
        run = tyro.cli(form, args=rest, prog=f"limits run {name}", description=description)
    except LimitsError:
        raise
    except ZeroDivisionError as error:
        raise ExperimentError(
            f"experiment {name!r} cannot run with these settings: a number of layers or a count is "
            f"zero. Pass positive ones; `limits run {name} --help` shows settings that work."
        ) from error
    except ValueError as error:
        raise ExperimentError(
            f"experiment {name!r} cannot run with these settings: {error}. "
            f"`limits run {name} --help` shows settings that work."
        ) from error
    check_bounds(name, run.config, experiment.SCALES)
    check_seed(run.settings.seed)
    return run.settings, run.config


def read_folder(name: str, names: Sequence[str], rest: Sequence[str]) -> RunSettings:
    """Read the settings that all experiments of a folder or pattern share."""
    description = f"Run {', '.join(names)}."
    settings = tyro.cli(RunSettings, args=rest, prog=f"limits run {name}", description=description)
    check_seed(settings.seed)
    return settings


def _check_fields(name: str, config: object) -> None:
    fields = {field.name for field in dataclasses.fields(RunRequest)}
    if not dataclasses.is_dataclass(config):
        raise ExperimentError(
            f"a scale of experiment {name!r} is a {type(config).__name__}. Make it an instance of "
            "a frozen dataclass, whose fields become flags."
        )
    taken = sorted(fields & {field.name for field in dataclasses.fields(config)})
    if taken:
        raise ExperimentError(
            f"the Config of experiment {name!r} has fields {', '.join(taken)}, which are settings "
            "of every run already. Rename them."
        )
