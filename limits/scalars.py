"""Numbers from numpy where a number is asked for: made plain at the door.

`np.int64(64)` and `np.float32(0.7)` print, overflow and promote in ways of their own: the name of
a stream would change with the type of a seed, and a small integer could overflow in a count of
entries. So whatever the library offers to users turns them into Python's own numbers first.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

__all__ = ["plain", "plain_numbers", "takes_numpy_numbers"]

T = TypeVar("T")
_MARK = "__takes_numpy_numbers__"
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "b": bool,
    "i": int,
    "u": int,
    "f": float,
    "c": complex,
}
"""How a kind of numpy's scalars becomes plain; `item` leaves long doubles as they are."""


def plain(value: Any) -> Any:
    """Return `value` with numpy's scalars replaced by Python's numbers.

    Scalars, arrays without axes, and one level of tuples, lists and dictionaries; anything else
    is returned as it came.

    Examples
    --------
    >>> plain(np.int64(8)), plain(np.float64(0.5)), plain((np.int32(8), 16))
    (8, 0.5, (8, 16))
    """
    if isinstance(value, np.generic):
        return _number(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _number(value[()])
    if type(value) in (tuple, list) and any(isinstance(each, np.generic) for each in value):
        return type(value)([plain(each) for each in value])
    if type(value) is dict and any(isinstance(each, np.generic) for each in value.values()):
        return {name: plain(each) for name, each in value.items()}
    return value


def plain_numbers(target: T) -> T:
    """Let a function, or the making and the public methods of a class, take numpy's numbers.

    An argument that is annotated as a sequence of numbers may be a one-dimensional array.

    Examples
    --------
    >>> @plain_numbers
    ... def kind(value: int) -> str:
    ...     return type(value).__name__
    >>> kind(np.uint8(3))
    'int'
    """
    if isinstance(target, type):
        for name, member in list(vars(target).items()):
            if name == "__init__" or (not name.startswith("_") and _asks_for_numbers(member)):
                setattr(target, name, _wrapped(member))
        return target
    return cast("T", _wrapped(target))


def takes_numpy_numbers(target: Callable[..., Any]) -> bool:
    """Say whether `plain_numbers` was applied to a function or to the making of a class."""
    return hasattr(target.__init__ if isinstance(target, type) else target, _MARK)


def _wrapped(member: Any) -> Any:
    if isinstance(member, classmethod | staticmethod):
        return type(member)(_wrapped(member.__func__))

    names = tuple(inspect.signature(member).parameters)
    lists = {name for name, note in member.__annotations__.items() if _is_sequence(note)}

    def made_plain(name: str, value: Any) -> Any:
        if name in lists and isinstance(value, np.ndarray) and value.ndim == 1:
            return tuple(map(_number, value))
        return plain(value)

    @wraps(member)
    def taking(*args: Any, **kwargs: Any) -> Any:
        # Too many arguments are the function's own to refuse.
        known = tuple(map(made_plain, names, args)) + args[len(names) :]
        return member(*known, **{name: made_plain(name, each) for name, each in kwargs.items()})

    setattr(taking, _MARK, True)
    return taking


def _asks_for_numbers(member: object) -> bool:
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if not inspect.isfunction(function):
        return False
    asked = (note for name, note in function.__annotations__.items() if name != "return")
    return any("int" in str(note) or "float" in str(note) for note in asked)


def _is_sequence(note: object) -> bool:
    text = str(note).replace("collections.abc.", "")
    return any(f"{kind}[{of}" in text for kind in ("Sequence", "tuple") for of in ("int", "float"))


def _number(value: Any) -> Any:
    make = _MAKERS.get(value.dtype.kind)
    return value if make is None else make(value)
