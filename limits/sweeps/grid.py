"""The tasks of a sweep: every combination of its coordinates, each with a seed of its own."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from limits.exceptions import ExperimentError
from limits.scalars import plain, plain_numbers

__all__ = ["Coordinate", "Task", "plain_axes", "tasks"]

Coordinate = str | int | float
"""What an axis may hold: values that a file stores and a seed can be derived from."""

_RESERVED = frozenset({"config", "progress", "seed"})
_SEED_BITS = 63


@dataclass(frozen=True)
class Task:
    """One point of a grid.

    Parameters
    ----------
    coordinates : mapping of str to str, int or float
        Where the task lies, in the order of the axes.
    seed : int
        Seed of everything that the task draws, below 2^63.
    """

    coordinates: Mapping[str, Coordinate]
    seed: int

    def __reduce__(self) -> tuple[object, ...]:
        # A read-only mapping does not travel to another process; what it shows does.
        return _restored, (dict(self.coordinates), self.seed)

    @property
    def label(self) -> str:
        """The coordinates as a person reads them.

        Examples
        --------
        >>> tasks({"law": ["brownian"], "width": [8]}, seed=0)[0].label
        'law=brownian width=8'
        """
        return " ".join(f"{name}={value}" for name, value in self.coordinates.items())

    @property
    def key(self) -> str:
        """A short digest of the coordinates and the seed, fit for a file name.

        Examples
        --------
        >>> [len(task.key) for task in tasks({"width": [8, 40]}, seed=0)]
        [20, 20]
        """
        return hashlib.sha256(_canonical(self.coordinates, self.seed)).hexdigest()[:20]


@plain_numbers
def tasks(axes: Mapping[str, Sequence[Coordinate]], seed: int) -> tuple[Task, ...]:
    """Return every combination of the axes' values, the last axis varying fastest.

    A task's seed is a SHA-256 digest of the base seed and the task's own coordinates. It is the
    same whatever the order of axes and values and however many other tasks there are, so a grid
    can grow without changing a number that was computed before.

    Parameters
    ----------
    axes : mapping of str to sequence
        Values along each axis. No axes at all make one task without coordinates.
    seed : int
        Base seed, from 0 to 2^63 - 1.

    Returns
    -------
    tuple of Task

    Raises
    ------
    ExperimentError
        If an axis is empty, repeats a value, mixes text with numbers, holds something other
        than text and finite numbers, or has a name that a task cannot take as a keyword.

    Examples
    --------
    >>> grid = tasks({"width": [8, 40], "law": ["brownian", "smooth"]}, seed=0)
    >>> [task.label for task in grid]  # doctest: +NORMALIZE_WHITESPACE
    ['width=8 law=brownian', 'width=8 law=smooth',
     'width=40 law=brownian', 'width=40 law=smooth']
    >>> tasks({"law": ["smooth"], "width": [40]}, seed=0)[0].seed == grid[-1].seed
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**_SEED_BITS:
        raise ExperimentError(
            f"the seed of a sweep must be an integer from 0 to 2^{_SEED_BITS} - 1, found {seed!r}. "
            "Pass for example seed=0."
        )
    axes = plain_axes(axes)
    for name, values in axes.items():
        _check_axis(name, values)
    return tuple(
        _task(dict(zip(axes, values, strict=True)), seed)
        for values in itertools.product(*axes.values())
    )


def plain_axes(axes: Mapping[str, Sequence[Coordinate]]) -> dict[str, Sequence[Coordinate]]:
    """Return axes whose values are Python's numbers, where numpy's or an array were given."""
    return {
        name: values.tolist() if isinstance(values, np.ndarray) else plain(values)
        for name, values in axes.items()
    }


def _restored(coordinates: dict[str, Coordinate], seed: int) -> Task:
    return Task(MappingProxyType(coordinates), seed)


def _task(coordinates: dict[str, Coordinate], seed: int) -> Task:
    digest = hashlib.sha256(_canonical(coordinates, seed)).digest()
    return Task(MappingProxyType(coordinates), int.from_bytes(digest[:8]) >> (64 - _SEED_BITS))


def _canonical(coordinates: Mapping[str, Coordinate], seed: int) -> bytes:
    """Return the same bytes whatever the order of the axes."""
    return json.dumps([seed, sorted(coordinates.items())], separators=(",", ":")).encode()


def _check_axis(name: str, values: Sequence[Coordinate]) -> None:
    if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
        raise ExperimentError(
            f"an axis is called {name!r}, but a task takes its coordinates as keywords beside "
            f"{', '.join(sorted(_RESERVED))}. Give the axis another name, written like a variable."
        )
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ExperimentError(
            f"axis {name!r} must be a list or a tuple of values, found "
            f"{type(values).__name__} {values!r}. Write {name}=[...]."
        )
    if not values:
        raise ExperimentError(
            f"axis {name!r} has no values, so the sweep has no tasks. Give it at least one value "
            "or leave the axis out."
        )
    for value in values:
        _check_coordinate(name, value)
    repeated = sorted({str(value) for value in values if list(values).count(value) > 1})
    if repeated:
        raise ExperimentError(
            f"axis {name!r} holds {', '.join(repeated)} more than once among its {len(values)} "
            "values, so two tasks would be the same. List each value once."
        )
    if len({isinstance(value, str) for value in values}) > 1:
        raise ExperimentError(
            f"axis {name!r} mixes text and numbers: {list(values)}. Use one kind, for example "
            "by writing the numbers as text."
        )


def _check_coordinate(name: str, value: Coordinate) -> None:
    supported = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not supported or (isinstance(value, float) and not math.isfinite(value)):
        raise ExperimentError(
            f"axis {name!r} holds {value!r} of type {type(value).__name__}; a coordinate is text, "
            "an integer or a finite number. Convert it, for example with .item() or .tolist()."
        )
