"""The modules that a user names: by a pattern, by a list of names, or by a predicate."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from limits.exceptions import BranchError

__all__ = ["BranchChoice", "chosen_names"]

BranchChoice: TypeAlias = str | Sequence[str] | Callable[[str, nn.Module], bool]


def chosen_names(model: nn.Module, choice: BranchChoice) -> tuple[str, ...]:
    """Return the modules that a pattern, names or a predicate choose, in the order of the model.

    Parameters
    ----------
    model : nn.Module
        The model.
    choice : str, sequence of str or callable
        A pattern such as ``"blocks.*.branch"``, names, or a predicate of ``(name, module)``.

    Raises
    ------
    BranchError
        If nothing is chosen, a name does not exist, or a module is inside another one.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> chosen_names(model, lambda name, module: isinstance(module, nn.Linear))
    ('0', '2')
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(choice, str):
        parts = choice.replace("{}", "*").split(".")
        names = [name for name in modules if _matches(name.split("."), parts)]
    elif callable(choice):
        names = [name for name, module in modules.items() if choice(name, module)]
    else:
        names = list(choice)
        missing = [name for name in names if name not in modules]
        if missing:
            raise BranchError(
                f"{type(model).__name__} has no module named {missing[0]!r} ({len(missing)} of "
                f"{len(names)} names are unknown). Its modules are {_some(list(modules))}."
            )
    if not names:
        raise BranchError(
            f"branch={choice!r} matches none of the {len(modules)} modules of "
            f"{type(model).__name__}, which are {_some(list(modules))}. Choose some of these."
        )
    chosen = set(names)
    nested = [
        name
        for name in names
        if any(name[:end] in chosen for end in range(len(name)) if name[end] == ".")
    ]
    if nested:
        raise BranchError(
            f"{nested[0]!r} is inside another chosen module and would be scaled twice "
            f"({len(nested)} such). Choose only modules that return a whole branch."
        )
    unasked = [name for name in names if _is_read_only(modules, name)]
    if unasked:
        raise BranchError(
            f"{unasked[0]!r} is never called: the attention around it reads its weights, so what "
            f"is chosen would not be scaled ({len(unasked)} such). Choose the attention itself, "
            f"{unasked[0].rpartition('.')[0]!r}."
        )
    return tuple(dict.fromkeys(names))


def _is_read_only(modules: dict[str, nn.Module], name: str) -> bool:
    parent, _, own = name.rpartition(".")
    return own == "out_proj" and isinstance(modules.get(parent), nn.MultiheadAttention)


def _matches(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(map(fnmatchcase, name, pattern))


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" ... {names[-1]}" if len(names) > 8 else "")
