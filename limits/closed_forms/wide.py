"""Answers for infinite width."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limits.checks import checked_array, is_number
from limits.exceptions import LimitsError
from limits.scalars import plain_numbers

__all__ = ["relu_correlation"]


@plain_numbers
def relu_correlation(time: ArrayLike, initial: float) -> NDArray[np.float64]:
    """Return the correlation of two inputs at layer time t, res-1 relu, width to infinity.

    dc/dt = (f(c) - c) / 2, f(c) = (c arcsin c + (1 - c^2)^(1/2)) / pi + c / 2, at beta = 1/2 and
    coefficient 1, for inputs whose coordinates have a symmetric law. Depth and width may go to
    infinity in any order.

    Parameters
    ----------
    time : array_like
        Layer times in [0, 1], increasing.
    initial : float
        Correlation c_0 of the inputs, in [-1, 1].

    References
    ----------
    Hayou and Yang, "Width and depth limits commute in residual networks", ICML 2023,
    arXiv:2302.00453.

    Examples
    --------
    >>> float(relu_correlation(1.0, 1.0))
    1.0
    """
    times = np.atleast_1d(checked_array(time, "time"))
    if not (is_number(initial) and -1 <= initial <= 1 and (times >= 0).all()):
        raise LimitsError(
            f"a correlation lies in [-1, 1] and layer times are not negative, found "
            f"initial={initial!r} and times from {times.min():g}. Use for example initial=0.5."
        )

    def rate(_: float, c: NDArray[np.float64]) -> NDArray[np.float64]:
        c = np.clip(c, -1, 1)
        kernel = (c * np.arcsin(c) + np.sqrt(1 - c**2)) / math.pi + c / 2
        return (kernel - c) / 2

    grid = np.unique(np.append(times, 0.0))
    import scipy

    solution = scipy.integrate.solve_ivp(
        rate, (0.0, max(grid[-1], 1e-12)), [initial], t_eval=grid, rtol=1e-10, atol=1e-12
    )
    values = np.interp(times, grid, solution.y[0])
    return values if np.ndim(time) else values[0]
