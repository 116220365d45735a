"""Pictures of datasets: a Dataset goes in, matplotlib Axes come out, nothing else happens."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from limits.exceptions import LimitsError
from limits.plots.palette import BLUE as BLUE
from limits.plots.palette import COLOURS as COLOURS
from limits.plots.palette import DASHED as DASHED
from limits.plots.palette import DOTTED as DOTTED
from limits.plots.palette import GREEN as GREEN
from limits.plots.palette import MARKERS as MARKERS
from limits.plots.palette import ORANGE as ORANGE
from limits.plots.palette import PURPLE as PURPLE

if TYPE_CHECKING:
    from limits.plots.depth import depth_page as depth_page
    from limits.plots.errors import convergence as convergence
    from limits.plots.look import style as style

_DRAWING = {"convergence": "errors", "depth_page": "depth", "style": "look"}


def __getattr__(name: str) -> Any:
    # Experiments name colours where they are listed; only those who draw wait for matplotlib.
    if name in _DRAWING:
        _check_matplotlib()
        return getattr(import_module(f"limits.plots.{_DRAWING[name]}"), name)
    raise AttributeError(f"module 'limits.plots' has no attribute {name!r}")


def _check_matplotlib() -> None:
    """Raise if matplotlib cannot be used with what the environment asks of it."""
    try:
        import_module("matplotlib.pyplot")
    except (ImportError, ValueError) as error:
        raise LimitsError(
            f"matplotlib cannot be imported with MPLBACKEND={os.environ.get('MPLBACKEND')!r}: "
            f"{error}. Unset MPLBACKEND, or set it to agg to write figures to files only."
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *_DRAWING})
