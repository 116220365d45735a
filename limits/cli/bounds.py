"""What no setting of an experiment may be, told by its scales before anything is computed."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from limits.exceptions import ExperimentError

__all__ = ["check_bounds"]

T = TypeVar("T", int, float)
_FOR_A_SLOPE = 3
_EXPONENTS = ("beta", "exponent")


def check_bounds(name: str, config: Any, scales: Mapping[str, Any]) -> None:
    """Raise if a count is no count, a number none, or depths too few for what is fitted over them.

    A whole number that is positive at every scale counts something, and must be positive; one
    that is zero at some scale must not be negative. Other numbers must be finite, and positive if
    they are so at every scale; exponents may have any sign, and Hurst indices are below 1. Depths
    must be as many as the fewest of any scale, or three: a slope through two has no interval.

    Parameters
    ----------
    name : str
        The experiment's, for messages.
    config : frozen dataclass
        Its settings.
    scales : mapping
        The settings of its scales.

    Raises
    ------
    ExperimentError
        Naming the flag, what was found and what to pass.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        usual = [getattr(scale, field.name) for scale in scales.values()]
        flag = f"--{field.name.replace('_', '-')}"
        least = min((each for one in usual for each in _whole(one)), default=-1)
        bad = [each for each in _whole(value) if each < min(least, 1)] if least >= 0 else []
        if bad:
            example = " ".join(map(str, _whole(usual[0])))
            raise ExperimentError(
                f"experiment {name!r} cannot run with {flag} {bad[0]}: it must be "
                f"{'positive' if least else 'zero or more'}. Pass for example {flag} {example}."
            )
        _check_numbers(name, flag, value, usual, exponents=field.name.rstrip("s") in _EXPONENTS)
        if not field.name.endswith("depths") or not isinstance(value, tuple):
            continue
        fewest = min(_FOR_A_SLOPE, *(len(each) for each in usual))
        if len(set(value)) < fewest:
            raise ExperimentError(
                f"experiment {name!r} needs {fewest} different {field.name.replace('_', ' ')} or "
                f"more, found {len(set(value))}: {flag} {' '.join(map(str, value))}. Pass for "
                f"example {flag} {' '.join(map(str, usual[0]))}."
            )


def _check_numbers(
    name: str, flag: str, value: object, usual: list[object], *, exponents: bool
) -> None:
    known = [each for one in usual for each in _parts(one, float)]
    positive = bool(known) and min(known) > 0 and not exponents
    most = 1.0 if flag.startswith("--hurst") else math.inf
    for each in _parts(value, float):
        if math.isfinite(each) and (each > 0 or not positive) and each < most:
            continue
        below = f" below {most:g}" if most < math.inf else ""
        raise ExperimentError(
            f"experiment {name!r} cannot run with {flag} {each:g}: it must be a finite"
            f"{' positive' if positive else ''} number{below}. Pass for example {flag} "
            f"{' '.join(f'{one:g}' for one in _parts(usual[0], float))}."
        )


def _whole(value: object) -> list[int]:
    """Return the whole numbers that a setting consists of; True and False are none."""
    return _parts(value, int)


def _parts(value: object, kind: type[T]) -> list[T]:
    values = value if isinstance(value, tuple) else (value,)
    return [each for each in values if type(each) is kind]
