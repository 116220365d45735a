"""What an experiment is to a sweep, and how another process finds it."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from limits.sweeps.grid import Coordinate

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = [
    "PACKAGE",
    "Experiment",
    "experiment_name",
    "package_of_experiments",
    "scale_name",
    "source_file",
]

PACKAGE = "limits.experiments"
_CHECKOUT = Path(__file__).resolve().parents[2] / "experiments"


class Experiment(Protocol):
    """What the runner asks of an experiment, which is usually a module.

    ``axes(config)`` returns the values along each axis, and
    ``task(config, *, seed, **coordinates)`` the dataset of one point of their grid. A task with
    a parameter ``progress`` is handed a callback to report from the inside with. An experiment
    may have ``cost(config, **coordinates)``, the relative time of a task: costly ones start
    first, so that workers finish together; and ``TIMED = True`` if its tasks measure time: they
    then run one after the other in the process of the caller.
    """

    __name__: str
    axes: Callable[[Any], Mapping[str, Sequence[Coordinate]]]
    task: "Callable[..., Dataset]"


def experiment_name(experiment: Experiment) -> str:
    """Return the name that the command line knows an experiment by.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> experiment_name(SimpleNamespace(__name__="limits.experiments.marion2025.fig7"))
    'marion2025.fig7'
    """
    name = getattr(experiment, "__name__", type(experiment).__name__)
    return name.rpartition("experiments.")[2]


def source_file(experiment: Experiment) -> str | None:
    """Return where an experiment is written: its module's file, or that of its task."""
    try:
        written = experiment if isinstance(experiment, ModuleType) else experiment.task
        return inspect.getsourcefile(written)
    except TypeError:
        return None


def scale_name(experiment: Experiment, config: object) -> str:
    """Return the scale that a configuration belongs to, or ``custom``."""
    scales: Mapping[str, object] = getattr(experiment, "SCALES", {})
    return next((name for name, scale in scales.items() if scale == config), "custom")


def package_of_experiments(name: str = PACKAGE) -> ModuleType:
    """Return the package of experiments, in a checkout that is not installed too.

    An installation maps the folder into the library; a bare checkout has it beside the library,
    and every process that is to read an experiment from there has to say so once.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name or name != PACKAGE:
            raise
    spec = ModuleSpec(name, loader=None, is_package=True)
    spec.submodule_search_locations = [str(_CHECKOUT)] if _CHECKOUT.is_dir() else []
    package = module_from_spec(spec)
    sys.modules[name] = package
    return package
