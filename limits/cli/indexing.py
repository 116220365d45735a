"""``limits figures``: list all figures with their verdicts."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.text import Text

from limits.cli.console import output_console
from limits.cli.discovery import RunnableExperiment, describe, known_names, load
from limits.cli.settings import DEFAULT_SCALE
from limits.exceptions import StoreError
from limits.sweeps import load_dataset, write_bytes

if TYPE_CHECKING:
    from limits.reports.figure_index import FigureEntry

__all__ = ["figures", "index_of"]


def figures(
    *,
    out: Annotated[
        Path, tyro.conf.arg(help="Folder of the figures; their numbers are in data/ in it.")
    ] = Path("figures"),
) -> int:
    """Write README.md beside the figures: figure, command, minutes, claim and verdict."""
    from limits.reports.figure_index import figure_index

    entries = index_of(out)
    file = out / "README.md"
    write_bytes(file, figure_index(entries).encode())
    failed = [each.stem for each in entries if each.verdict.startswith("FAIL")]
    console = output_console()
    console.print(Text(f"{len(entries)} figures: {file}"), soft_wrap=True)
    if failed:
        console.print(Text(f"verdicts failed: {', '.join(failed)}", "bold red"), soft_wrap=True)
    return 1 if failed else 0


def index_of(out: Path) -> "list[FigureEntry]":
    """Return an entry for every file of numbers, in the order of their names.

    Raises
    ------
    StoreError
        If there are none, or one is of an experiment that is not known here.
    """
    files = sorted((out / "data").glob("*.nc"), key=lambda file: file.stem)
    if not files:
        raise StoreError(
            f"there are no numbers in {out / 'data'}. Make figures with `limits run NAME`, or pass "
            "--out with the folder they are in."
        )
    return [_entry(file) for file in files]


def _entry(file: Path) -> "FigureEntry":
    from limits.reports.figure_index import FigureEntry

    dataset = load_dataset(file)
    name = str(dataset.attrs.get("experiment", ""))
    if name not in known_names():
        raise StoreError(
            f"{file} was written by the experiment {name!r}, which is not known here. "
            "Move it away, or run it again under the name that `limits list` shows."
        )
    experiment = load(name)
    return FigureEntry(
        stem=file.stem,
        command=_command(name, experiment, dataset.attrs),
        core_minutes=float(dataset.attrs["seconds_per_task"].sum()) / 60,
        claim=describe(name),
        verdicts=experiment.check(dataset),
        commit=str(dataset.attrs.get("git_revision", "")),
    )


def _command(name: str, experiment: RunnableExperiment, recorded: dict[Any, Any]) -> str:
    scale = str(recorded.get("scale", DEFAULT_SCALE))
    words = ["limits", "run", name]
    if scale in experiment.SCALES:
        words += [] if scale == DEFAULT_SCALE else ["--scale", scale]
    else:
        words += _flags(experiment, json.loads(recorded["config"]))
    seed = int(recorded.get("seed", 0))
    return " ".join(words + (["--seed", str(seed)] if seed else []))


def _flags(experiment: RunnableExperiment, config: dict[str, Any]) -> list[str]:
    """Return the flags that turn the default scale into `config`."""
    default = json.loads(json.dumps(dataclasses.asdict(experiment.SCALES[DEFAULT_SCALE])))
    words = []
    for field, value in config.items():
        if value == default.get(field):
            continue
        flag = field.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return words
