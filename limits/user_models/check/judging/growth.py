"""How a quantity grows with depth: exponents with intervals, bends, exponentials, constants."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limits._typing import Regime

__all__ = ["MARGIN", "Curve", "Growth", "log_slopes", "slopes"]

# Half the distance between exponents that people use: 1/4, 1/2, 1.
MARGIN = 0.125
_CONFIDENCE = 0.99
# Branches that do not grow with the stream add up to L times the largest of them at most.
_STEEPEST_POWER = 1.0

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Growth:
    """An exponent in depth, value ~ L^exponent, with its interval over seeds.

    Parameters
    ----------
    value : float
        Mean over seeds of the least squares slope in log L.
    low, high : float
        99 % interval: slopes are paired over depths by seed, and Student's quantile is used, as
        percentiles of a bootstrap over a handful of seeds are far too narrow. One wrong verdict
        costs more than a refused one, hence 99.

    Examples
    --------
    >>> print(Growth(0.5, 0.48, 0.52))
    +0.50 [+0.48, +0.52]
    """

    value: float
    low: float
    high: float

    @classmethod
    def of_slopes(cls, values: _Array) -> "Growth":
        """Summarise one slope per seed."""
        mean, n = float(np.mean(values)), len(values)
        if n < 2 or not np.isfinite(values).all():
            return cls(mean, -math.inf, math.inf)
        import scipy

        quantile = scipy.stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)
        half = float(quantile * np.std(values, ddof=1) / math.sqrt(n))
        return cls(mean, mean - half, mean + half)

    @property
    def regimes(self) -> tuple[Regime, ...]:
        """The regimes that the interval reaches: decay, neither, growth."""
        words: tuple[tuple[Regime, float, float], ...] = (
            ("identity", -math.inf, -MARGIN),
            ("limit", -MARGIN, MARGIN),
            ("explosion", MARGIN, math.inf),
        )
        return tuple(word for word, low, high in words if self.low < high and self.high > low)

    @property
    def nearest(self) -> Regime:
        """The regime of the value itself."""
        if abs(self.value) <= MARGIN:
            return "limit"
        return "explosion" if self.value > 0 else "identity"

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def slopes(values: _Array, counts: _Array) -> _Array:
    """Return the slope of log values in log counts, per seed; values are ``(depth, seed)``.

    Examples
    --------
    >>> counts = np.array([8.0, 16.0, 32.0])
    >>> slopes(counts[:, None] ** 0.5, counts)
    array([0.5])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_slopes(np.log(values), counts)


def log_slopes(logs: _Array, counts: _Array) -> _Array:
    """Return the slope of logarithms in log counts, per seed."""
    x = np.log(counts) - np.log(counts).mean()
    return np.einsum("d,ds->s", x, logs) / (x**2).sum()


@dataclass(frozen=True, eq=False)
class Curve:
    """Logarithms of a quantity at several depths, ``(depth, seed)``, and what they grow like.

    Parameters
    ----------
    logs : array, (depth, seed)
        Finite.
    counts : array, (depth,)
        Number of branches L, ascending, at least two.
    n_stages : int
        Number of stretches whose growth is multiplied.
    """

    logs: _Array
    counts: _Array
    n_stages: int = 1

    @property
    def late(self) -> Growth:
        """The exponent between the two largest depths."""
        return Growth.of_slopes(log_slopes(self.logs[-2:], self.counts[-2:]))

    @property
    def bend(self) -> Growth:
        """The exponent between the two largest depths minus that between the two smallest."""
        early = log_slopes(self.logs[:2], self.counts[:2])
        return Growth.of_slopes(log_slopes(self.logs[-2:], self.counts[-2:]) - early)

    @property
    def levels_off(self) -> bool:
        """Whether growth has come to an end at the largest depths, while it was there before."""
        late, bend = self.late, self.bend
        return bend.high < 0 and late.low > -MARGIN and late.high < MARGIN

    @property
    def per_branch(self) -> float | None:
        """Growth of the logarithm by one more branch at the deepest, None where it is a power.

        No power above L^1 can come from branches that do not grow with the stream. A steeper curve
        that is nearer to a straight line in L than in log L is that of a product.

        Examples
        --------
        >>> counts = np.array([8.0, 16.0, 32.0])
        >>> round(Curve(0.1 * counts[:, None], counts).per_branch, 3)
        0.1
        >>> Curve(0.5 * np.log(counts)[:, None], counts).per_branch is None
        True
        """
        steepest = self.n_stages * _STEEPEST_POWER + MARGIN
        middle = self.logs.mean(axis=1)
        if self.late.value <= steepest or _misfit(middle, self.counts) >= _misfit(
            middle, np.log(self.counts)
        ):
            return None
        return float((middle[-1] - middle[-2]) / (self.counts[-1] - self.counts[-2]))

    def reaches_one(self, exponent: float) -> float:
        """Return the L at which the quantity is one, extrapolated with an exponent.

        Examples
        --------
        >>> counts = np.array([8.0, 16.0, 32.0])
        >>> round(Curve(np.log(0.05 * counts**0.5)[:, None], counts).reaches_one(0.5))
        400
        """
        x, y = np.log(self.counts), self.logs.mean(axis=1)
        beyond = -1 if y[-1] < 0 else 0
        if y[0] < 0 <= y[-1]:
            return float(np.exp(np.interp(0.0, y, x)))
        logarithm = x[beyond] - y[beyond] / exponent if exponent > 0 else math.inf
        return math.exp(logarithm) if logarithm < 700 else math.inf


def _misfit(values: _Array, at: _Array) -> float:
    """Return the sum of squares that the best straight line leaves."""
    line = np.polynomial.Polynomial.fit(at, values, 1)
    return float(((values - line(at)) ** 2).sum())
