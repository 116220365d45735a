"""What a command takes from the environment, and what it does not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["own_figures"]

_OURS = {
    # Figures go to files. A notebook asks every program that it starts for a backend of its own,
    # which another environment does not have; a window system may be missing as well.
    "MPLBACKEND": "agg",
    # The look of a figure is part of the result.
    "MATPLOTLIBRC": os.devnull,
}


@contextmanager
def own_figures() -> Iterator[None]:
    """Let this process, and the workers it starts, draw without the user's settings of matplotlib.

    For the time of a command: the environment is the user's.
    """
    before = {name: os.environ.get(name) for name in _OURS}
    os.environ.update(_OURS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
