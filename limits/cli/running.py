"""``limits run``: compute, store, draw and judge."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from limits.cli.console import error_console, output_console, print_error, progress_reports
from limits.cli.discovery import RunnableExperiment, load, matching_names
from limits.cli.settings import (
    DEFAULT_SCALE,
    RunSettings,
    read_experiment,
    read_folder,
    read_request,
)
from limits.cli.watching import duration
from limits.exceptions import LimitsError
from limits.reports.tables import verdict_table
from limits.sweeps import load_dataset, prepare_folder, run, save_dataset, scale_name
from limits.sweeps.executors import executor_for
from limits.sweeps.places import place_of

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["run_experiments"]


@dataclass(frozen=True)
class _Session:
    """What all experiments of one command share."""

    settings: RunSettings
    executor: Any
    command: str


@dataclass(frozen=True)
class _Outcome:
    name: str
    passed: int
    judged: int
    seconds: float
    problem: str = ""
    failed: int = 0

    @property
    def good(self) -> bool:
        return not (self.problem or self.failed)


def run_experiments(arguments: Sequence[str]) -> int:
    """Run what the arguments after ``limits run`` ask for.

    Returns
    -------
    int
        0 if no verdict failed, else 1; what is not decided has not failed.

    Raises
    ------
    LimitsError
        If the one experiment asked for cannot run. In a folder that counts as a failure and the
        others still run.
    """
    request, rest = read_request(arguments)
    names = matching_names(request.name)
    command = _command(arguments)
    if names != (request.name,):
        settings = read_folder(request.name, names, rest)
        _prepare(settings.out)
        with executor_for(workers=settings.workers, dask=settings.dask) as executor:
            return _run_folder(names, _Session(settings, executor, command))
    experiment = load(request.name)
    settings, config = read_experiment(request.name, experiment, request.scale, rest)
    _prepare(settings.out)
    with executor_for(workers=settings.workers, dask=settings.dask) as executor:
        session = _Session(settings, executor, command)
        return 0 if _run_one(request.name, experiment, config, session).good else 1


def _command(arguments: Sequence[str]) -> str:
    """Return what to type to go on with a run; to compute everything anew is not going on."""
    started = Path(sys.argv[0])
    name = "python -m limits" if started.name == "__main__.py" else started.name or "limits"
    return f"{name} run {shlex.join(each for each in arguments if each != '--no-resume')}"


def _run_folder(names: Sequence[str], session: _Session) -> int:
    outcomes = [_run_or_report(name, session) for name in names]
    table = Table("experiment", "verdicts passed", "time", "", header_style="bold")
    for outcome in outcomes:
        word = Text("pass", "bold green") if outcome.good else Text("FAIL", "bold red")
        judged = outcome.problem or f"{outcome.passed} of {outcome.judged}"
        table.add_row(Text(outcome.name), Text(judged), duration(outcome.seconds), word)
    output_console().print(table)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _run_or_report(name: str, session: _Session) -> _Outcome:
    started = perf_counter()
    try:
        experiment = load(name)
        _, config = read_experiment(name, experiment, session.settings.scale, [])
        return _run_one(name, experiment, config, session)
    except LimitsError as error:
        print_error(f"{name}: {error}")
        problem = type(error).__name__
    # One broken experiment must not cost a night of others, but its traceback must be seen.
    except Exception as error:
        traceback.print_exc()
        problem = type(error).__name__
    return _Outcome(name, 0, 0, perf_counter() - started, problem)


def _run_one(name: str, experiment: RunnableExperiment, config: Any, session: _Session) -> _Outcome:
    console, settings = output_console(), session.settings
    scale = scale_name(experiment, config)
    numbers, figure = _targets(name, scale, settings.out)
    console.print(Text(f"{name}, scale {scale}, seed {settings.seed}"))
    started = perf_counter()
    _compute(name, experiment, config, session, numbers)
    # Figure and verdicts are made of the file, so that whoever reads it later gets the same.
    dataset = load_dataset(numbers)
    _draw(experiment, dataset, figure)
    verdicts = experiment.check(dataset)
    seconds = perf_counter() - started
    console.print(verdict_table(verdicts, title=f"{name}, scale {scale}"))
    lines = f"numbers: {numbers}\nfigure:  {figure}\n{duration(seconds)}"
    console.print(Text(lines), soft_wrap=True)
    passed = sum(verdict.passed for verdict in verdicts)
    failed = sum(verdict.failed for verdict in verdicts)
    return _Outcome(name, passed, len(verdicts), seconds, failed=failed)


def _compute(
    name: str, experiment: RunnableExperiment, config: Any, session: _Session, numbers: Path
) -> None:
    settings = session.settings
    place = place_of(experiment, config, seed=settings.seed, parent=settings.out / "runs")
    output_console().print(Text(f"run:     {place.folder}"), soft_wrap=True)
    for sentence in place.sentences(resume=settings.resume, keep=settings.keep):
        output_console().print(Text(sentence), soft_wrap=True)
    try:
        with progress_reports(name, quiet=settings.quiet) as (progress, notify):
            dataset = run(
                experiment,
                config,
                seed=settings.seed,
                folder=place.folder,
                executor=session.executor,
                fresh=not settings.resume,
                keep=place.earlier.path if settings.keep and place.earlier else None,
                progress=progress,
                notify=notify,
            )
        save_dataset(dataset, numbers)
    except (KeyboardInterrupt, LimitsError):
        done, total = place.progress()
        error_console().print(
            Text(
                f"{done} of {total} tasks of {name} are finished and kept in {place.folder}. "
                f"Go on with: {session.command}"
            ),
            soft_wrap=True,
        )
        raise


def _draw(experiment: RunnableExperiment, dataset: "Dataset", path: Path) -> None:
    from limits.reports.figures import draw_figure

    draw_figure(lambda: experiment.draw(dataset), path)


def _targets(name: str, scale: str, out: Path) -> tuple[Path, Path]:
    # A quick look at another scale or with other settings never replaces a kept figure.
    stem = name if scale == DEFAULT_SCALE else f"{name}-{scale}"
    return out / "data" / f"{stem}.nc", out / f"{stem}.png"


def _prepare(out: Path) -> None:
    prepare_folder(out)
    prepare_folder(out / "data")
