"""Errors that say what was asked, what was found and what to do.

Every error that a user can cause is a `LimitsError`, itself a `ValueError`, so that
``except ValueError`` in existing scripts keeps working.
"""

__all__ = [
    "BranchError",
    "CouplingError",
    "DTypeError",
    "DepthMismatchError",
    "ExperimentError",
    "LimitsError",
    "NoLimitError",
    "NonFiniteStateError",
    "ShapeError",
    "SolverError",
    "StoreError",
]


class LimitsError(ValueError):
    """Base class of everything this library raises on purpose."""


class ShapeError(LimitsError):
    """A tensor has the wrong number of axes or the wrong sizes."""


class DTypeError(LimitsError):
    """A tensor has a dtype or a device that does not fit the weights it meets."""


class DepthMismatchError(LimitsError):
    """A weight path was asked for at a depth or number of steps that its draw cannot serve."""


class CouplingError(LimitsError):
    """Two things were compared path by path that do not share one weight path."""


class NonFiniteStateError(LimitsError):
    """A hidden state, an input or an error became NaN or infinite."""


class NoLimitError(LimitsError):
    """A limit was asked for where depth to infinity has none, or none of that form."""


class SolverError(LimitsError):
    """A solver was asked for something it cannot do, or a library took a wrong number of steps."""


class StoreError(LimitsError):
    """A result could not be written or read; nothing half-written is left behind."""


class ExperimentError(LimitsError):
    """An experiment is unknown, or was configured with values it cannot run."""


class BranchError(LimitsError):
    """The residual branches of a user's model were not found, or not for sure."""
