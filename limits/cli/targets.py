"""Find what a user names on the command line as ``package.module:name``."""

import importlib
import sys
from pathlib import Path
from typing import Any

from limits.exceptions import LimitsError

__all__ = ["load_target"]


def load_target(text: str, *, what: str) -> Any:
    """Import ``package.module:name``, with the current folder on the path.

    Parameters
    ----------
    text : str
        As the user wrote it.
    what : str
        What it should be, for messages.

    Raises
    ------
    LimitsError
        If there is no colon, no such module, no such name, or the module fails to import.
    """
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        raise LimitsError(
            f"{what} must be written package.module:name, found {text!r}. For the function "
            "make_model in models.py of this folder write models:make_model."
        )
    if module_name.endswith(".py") or "/" in module_name:
        raise LimitsError(
            f"{what} names a file, {module_name!r}. Write its import name with dots and without "
            ".py, for example package.module:name."
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _imported(module_name, what)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            public = [each for each in vars(module) if not each.startswith("_")]
            listed = ", ".join(public[:12]) or "nothing"
            raise LimitsError(f"module {module_name!r} has no {name!r}. It has {listed}.")
        value = getattr(value, part)
    return value


def _imported(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Either the module itself or something that it imports.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise LimitsError(
                f"there is no module {name!r} for the {what}, neither installed nor in "
                f"{Path.cwd()}. Run the command in the folder that holds it."
            ) from error
        raise LimitsError(
            f"module {name!r} needs {error.name!r}, which is not installed. Install it here."
        ) from error
    except (Exception, SystemExit) as error:
        raise LimitsError(
            f"module {name!r} cannot be imported: {type(error).__name__}: {error}. Keep code that "
            'runs out of the module, under if __name__ == "__main__".'
        ) from error
