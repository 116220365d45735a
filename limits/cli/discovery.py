"""Find experiments by name, in an installation and in a checkout that is not installed."""

import ast
import difflib
import fnmatch
import importlib
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from limits.exceptions import ExperimentError
from limits.sweeps.experiment import PACKAGE, Experiment, package_of_experiments

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

    from limits.estimates import Verdict

__all__ = ["RunnableExperiment", "citation_of", "describe", "known_names", "load", "matching_names"]

_PACKAGE = PACKAGE
_BEFORE_A_DOCSTRING = (tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE)
_CONTRACT = ("SCALES", "axes", "task", "draw", "check", "CITATION")


class RunnableExperiment(Experiment, Protocol):
    """What a module in ``experiments`` offers to the command line."""

    SCALES: Mapping[str, Any]
    CITATION: str
    draw: "Callable[[Dataset], Figure]"
    check: "Callable[[Dataset], tuple[Verdict, ...]]"


def known_names() -> tuple[str, ...]:
    """Return the names of all experiments, in alphabetical order.

    Raises
    ------
    ExperimentError
        If this installation has no experiments.
    """
    return tuple(sorted(_files()))


def matching_names(name: str) -> tuple[str, ...]:
    """Return the experiment of that name, all in the folder of that name, or all it matches.

    Raises
    ------
    ExperimentError
        If there is none; the message lists what there is and what comes close.

    Examples
    --------
    >>> matching_names("marion2025.fig[12]")
    ('marion2025.fig1', 'marion2025.fig2')
    """
    known = known_names()
    if name in known:
        return (name,)
    inside = tuple(other for other in known if other.startswith(f"{name}."))
    inside = inside or tuple(fnmatch.filter(known, name))
    if inside:
        return inside
    folders = {other.rpartition(".")[0] for other in known} - {""}
    close = difflib.get_close_matches(name, [*known, *sorted(folders)], n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ExperimentError(
        f"there is no experiment called {name!r}.{hint} The known ones are: {', '.join(known)}."
    )


def load(name: str) -> RunnableExperiment:
    """Import an experiment.

    Raises
    ------
    ExperimentError
        If its module lacks a part that the command line needs.
    """
    _package()
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    missing = [part for part in _CONTRACT if not hasattr(module, part)]
    if missing:
        raise ExperimentError(
            f"experiment {name!r} lacks {', '.join(missing)}. An experiment is a module with "
            f"{', '.join(_CONTRACT)}."
        )
    return cast("RunnableExperiment", module)


def describe(name: str) -> str:
    """Return the first line of an experiment's docstring, without importing it."""
    with _files()[name].open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.STRING:
                return ast.literal_eval(token.string).strip().partition("\n")[0]
            if token.type not in _BEFORE_A_DOCSTRING:
                break
    return ""


def citation_of(name: str) -> str:
    """Return what an experiment cites, without importing it where its source says so plainly."""
    found = _written_citation(_files()[name])
    return (load(name).CITATION if found is None else found).strip()


def _written_citation(file: Path) -> str | None:
    """Return the text of ``CITATION``, written in a file or in the sibling it imports it from."""
    for node in _parsed(file).body:
        if isinstance(node, ast.ImportFrom) and "CITATION" in {each.name for each in node.names}:
            sibling = file.with_name(f"{(node.module or '').rpartition('.')[2]}.py")
            return _written_citation(sibling) if sibling.is_file() else None
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CITATION":
            value = node.value
            is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
            return ast.literal_eval(value) if is_text else None
    return None


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _files() -> dict[str, Path]:
    found = {name: file for folder in _package().__path__ for name, file in _walk(Path(folder), "")}
    if not found:
        raise ExperimentError(
            "this installation of limits has no experiments. Install it again, or run "
            "`python -m limits` in the root of a checkout."
        )
    return found


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for entry in folder.iterdir():
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}.")
        elif entry.suffix == ".py":
            yield f"{prefix}{entry.stem}", entry


def _package() -> ModuleType:
    return package_of_experiments(_PACKAGE)
