"""Tables for a terminal: verdicts, where a dataset comes from, what it holds."""

import json
from collections.abc import Iterable, Iterator

import xarray
from rich.table import Table
from rich.text import Text

from limits.estimates import Verdict

__all__ = ["provenance_table", "variable_table", "verdict_table"]

_ORDER = (
    "experiment",
    "scale",
    "seed",
    "config",
    "versions",
    "git_revision",
    "platform",
    "cpu",
    "seconds_per_task",
)


def verdict_table(verdicts: Iterable[Verdict], *, title: str | None = None) -> Table:
    """Return one row per verdict, ending in ``pass``, ``FAIL`` or ``not decided``.

    Parameters
    ----------
    verdicts : iterable of Verdict
        What an experiment's ``check`` returned.
    title : str, optional
        Printed above the table.
    """
    table = _table("claim", "asked", "measured", "verdict", title=title)
    for verdict in verdicts:
        colour = {"pass": "green", "FAIL": "red"}.get(verdict.word, "yellow")
        word = Text(verdict.word, f"bold {colour}")
        table.add_row(Text(verdict.claim), Text(verdict.asked), Text(verdict.measured), word)
    return table


def provenance_table(dataset: xarray.Dataset) -> Table:
    """Return one row per attribute, with the configuration field by field."""
    table = _table("recorded", "value", title="Where it comes from")
    # A netCDF file does not keep the order in which attributes were written.
    first = [name for name in _ORDER if name in dataset.attrs]
    others = sorted(set(dataset.attrs) - set(_ORDER))
    for name, value in _flattened({name: dataset.attrs[name] for name in (*first, *others)}):
        table.add_row(Text(name), Text(value))
    return table


def variable_table(dataset: xarray.Dataset) -> Table:
    """Return one row per coordinate and variable, with its dimensions and range."""
    table = _table("variable", "dimensions", "type", "values", title="What it holds")
    for name in (*dataset.coords, *dataset.data_vars):
        variable = dataset[name]
        dimensions = ", ".join(f"{dim}: {size}" for dim, size in variable.sizes.items())
        table.add_row(
            Text(str(name)), Text(dimensions), Text(str(variable.dtype)), Text(_range(variable))
        )
    return table


def _table(*columns: str, title: str | None) -> Table:
    return Table(*columns, title=title, title_justify="left", header_style="bold")


def _flattened(attributes: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in attributes.items():
        parts = _json_object(value)
        if parts is None:
            yield name, str(value)
        elif name == "config":
            yield from ((f"config.{field}", json.dumps(each)) for field, each in parts.items())
        else:
            yield name, ", ".join(f"{key} {each}" for key, each in parts.items())


def _json_object(value: object) -> dict[str, object] | None:
    # A file of somebody else may hold anything under these names.
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except json.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _range(variable: xarray.DataArray) -> str:
    if variable.size == 0:
        return "(empty)"
    if variable.dtype.kind in "iuf":
        return f"{float(variable.min()):.4g} to {float(variable.max()):.4g}"
    distinct = dict.fromkeys(str(value) for value in variable.values.flat)
    return ", ".join(list(distinct)[:6])
