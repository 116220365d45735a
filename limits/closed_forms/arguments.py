"""What closed forms may be asked: depths, scales and indices for which they hold."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import checked_array
from limits.exceptions import LimitsError, ShapeError

__all__ = ["check_antipersistent", "positive_array"]


def positive_array(values: ArrayLike, name: str = "depth") -> NDArray[np.float64]:
    """Return positive numbers as a float64 array; infinity is one.

    Raises
    ------
    ShapeError, DTypeError
        If they are no real numbers, or not positive.

    Examples
    --------
    >>> positive_array([8, 16])
    array([ 8., 16.])
    """
    found = checked_array(values, name)
    bad = found[~(found > 0)]
    if bad.size:
        raise ShapeError(
            f"{name} must be positive, found {float(bad.flat[0])!r} among {found.size} values. Use "
            f"for example {name}=1024."
        )
    return found


def check_antipersistent(hurst: float) -> None:
    """Raise unless the formula for H < 1/2, or its end at 1/2, holds at a Hurst index."""
    if hurst > 0.5:
        raise LimitsError(
            f"this limit is that of antipersistent weights, hurst at most 0.5, found {hurst!r}. "
            "For persistent ones solve limits.depth_limit, a Young equation."
        )
