"""One labelled dataset out of those of the tasks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limits.exceptions import ExperimentError
from limits.sweeps.grid import Coordinate, Task

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["join", "labelled"]


def labelled(dataset: object, task: Task, experiment: str) -> "Dataset":
    """Return a task's dataset with its own coordinates as leading dimensions of size one.

    Raises
    ------
    ExperimentError
        If the task returned something else, or uses the name of an axis for something else.
    """
    from xarray import Dataset

    if not isinstance(dataset, Dataset):
        raise ExperimentError(
            f"task {task.label!r} of {experiment} returned {type(dataset).__name__}. Return an "
            "xarray.Dataset."
        )
    taken = [name for name in task.coordinates if name in {*dataset.dims, *dataset.data_vars}]
    if taken:
        raise ExperimentError(
            f"task {task.label!r} of {experiment} returned a dimension or variable "
            f"{', '.join(taken)}, which is also an axis of the sweep. Rename one of the two; the "
            "runner adds the axes."
        )
    known = dataset.drop_vars(task.coordinates, errors="ignore")
    return known.expand_dims({name: [value] for name, value in task.coordinates.items()})


def join(axes: Mapping[str, Sequence[Coordinate]], results: "Sequence[Dataset]") -> "Dataset":
    """Return one dataset with the axes in front, from the tasks' datasets in grid order.

    Raises
    ------
    ExperimentError
        If the datasets do not fit together.
    """
    import xarray

    if not axes:
        return results[0]
    _check_kinds(results)
    try:
        joined = xarray.combine_nested(
            _nested(results, [len(values) for values in axes.values()]),
            concat_dim=list(axes),
            data_vars="all",
            coords="different",
            compat="equals",
            join="outer",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        raise ExperimentError(
            f"the {len(results)} datasets of the tasks along {', '.join(axes)} cannot be joined: "
            f"{error}. Let every task return the same dimensions for the same variable."
        ) from error
    # Joining turns text into Python objects; the declared values are what a reader selects by.
    return joined.assign_coords({name: list(values) for name, values in axes.items()})


def _check_kinds(results: "Sequence[Dataset]") -> None:
    """Raise if a variable is text in one task and a number in another."""
    kinds: dict[str, dict[bool, int]] = {}
    for number, dataset in enumerate(results):
        for name, variable in dataset.data_vars.items():
            kinds.setdefault(str(name), {}).setdefault(variable.dtype.kind in "OSU", number)
    for name, found in kinds.items():
        if len(found) > 1:
            raise ExperimentError(
                f"variable {name!r} is text in task number {found[True]} and a number in task "
                f"number {found[False]}. Let every task return the same kind."
            )


def _nested(results: "Sequence[Dataset]", sizes: Sequence[int]) -> list[Any]:
    if len(sizes) == 1:
        return list(results)
    step = len(results) // sizes[0]
    return [
        _nested(results[start : start + step], sizes[1:]) for start in range(0, len(results), step)
    ]
