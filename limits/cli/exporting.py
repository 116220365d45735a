"""``limits export``: numbers for other programs."""

from pathlib import Path
from typing import Annotated

import tyro

from limits.cli.console import output_console
from limits.exceptions import ExperimentError
from limits.sweeps import load_dataset, write_bytes

__all__ = ["export"]

_MOST_ROWS = 5_000_000


def export(
    file: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE", help="A .nc file that `limits run` wrote."),
    ],
    *,
    csv: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="Write comma-separated values.")
    ] = False,
    out: Annotated[
        Path | None, tyro.conf.arg(help="Where to; by default beside FILE, ending in .csv.")
    ] = None,
    variables: Annotated[
        tuple[str, ...], tyro.conf.arg(help="Which variables; all by default.")
    ] = (),
) -> int:
    """Write a result file as one table: a row per combination of coordinates."""
    if not csv:
        raise ExperimentError(f"no format was asked for. Use `limits export {file} --csv`.")
    dataset = load_dataset(file)
    unknown = [name for name in variables if name not in dataset.data_vars]
    if unknown:
        raise ExperimentError(
            f"{file} has no variable {', '.join(unknown)}; it has "
            f"{', '.join(str(name) for name in dataset.data_vars)}. Name some of these."
        )
    chosen = dataset[list(variables)] if variables else dataset
    rows = 1
    for size in chosen.sizes.values():
        rows *= size
    if rows > _MOST_ROWS:
        raise ExperimentError(
            f"a table of all {len(chosen.data_vars)} variables of {file} has {rows:,} rows, one "
            f"per combination of {', '.join(str(name) for name in chosen.sizes)}; the most is "
            f"{_MOST_ROWS:,}. Name variables of fewer dimensions with --variables."
        )
    target = out or file.with_suffix(".csv")
    frame = chosen.to_dataframe() if chosen.sizes else chosen.expand_dims("row").to_dataframe()
    write_bytes(target, frame.to_csv(float_format="%.17g").encode())
    output_console().print(f"{rows:,} rows: {target}", soft_wrap=True, markup=False)
    return 0
