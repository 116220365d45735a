"""Multilevel Monte Carlo: how levels are weighted, allocated and judged. Knows no networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from limits.exceptions import NonFiniteStateError

__all__ = ["Extrapolation", "Moments", "Tally", "allocation", "moments", "trusted_variances"]

_DECAY = 4
"""The strong order is one at most: a variance falls by this factor from level to level."""
_UNSEEN = 3.0
"""Events that n draws may have missed without one of them being seen, at 95 %: exp(-3) = 0.05."""
_FEW = 10
"""Events below which a level does not know how large they are."""


class Moments(NamedTuple):
    """Count, mean, and the sums of the second to fourth powers of the deviations from it."""

    n: int
    mean: float
    second: float
    third: float
    fourth: float


@dataclass(frozen=True)
class Extrapolation:
    """What the means of the levels say about infinite depth.

    With A_K = Y_0 + ... + Y_K the estimate at depth L_K = L_0 2^K, an error expansion
    c_1 / L + c_2 / L^2 + ... loses its first two terms in R_K = T_K + (T_K - T_(K-1)) / 3,
    T_K = A_K + Y_K. Without an expansion, R_K = A_K.

    Parameters
    ----------
    order : float
        Order of the error of A_K in 1 / L.
    eliminates : bool
        Whether the error has the expansion; the order is then one.

    References
    ----------
    Lemaire and Pages, "Multilevel Richardson-Romberg extrapolation", Bernoulli 23 (2017); Giles,
    "Multilevel Monte Carlo path simulation", Operations Research 56 (2008), Section 4.2.

    Examples
    --------
    >>> rule = Extrapolation()
    >>> means = [1 + 1 + 3] + [-1 / 2**k - 3 * 3 / 4**k for k in (1, 2, 3, 4)]
    >>> round(rule.value(means), 12)
    1.0
    """

    order: float = 1.0
    eliminates: bool = True

    def weights(self, n_levels: int) -> tuple[float, ...]:
        """Return the factor of every level's mean; at least two levels where it eliminates."""
        ones = (1.0,) * n_levels
        if not self.eliminates or n_levels < 2:
            return ones
        if n_levels == 2:
            return (1.0, 2.0)
        return (*ones[:-2], 2 / 3, 8 / 3)

    def value(self, means: Sequence[float]) -> float:
        """Return R_K."""
        weights = self.weights(len(means))
        return math.fsum(w * m for w, m in zip(weights, means, strict=True))

    def bias(self, means: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
        """Return an estimate of |R_K - R_infinity| that errs upwards, and its standard error.

        R_K - R_(K-1) in units of what a geometric decay leaves: of the order of the expansion,
        or of order two where the theory after elimination says three. The change before it
        counts as well, at the slower first order, so that one change that vanishes by chance
        or by a change of sign cannot end the search.

        Parameters
        ----------
        means, errors : sequence of float
            Mean of every level and its standard error.
        """
        rest = 2 ** (2.0 if self.eliminates else self.order) - 1
        last, before = self._change(len(means)), self._change(len(means) - 1)
        now = abs(float(last @ np.asarray(means)))
        earlier = abs(float(before @ np.asarray(means[:-1])))
        spread = math.sqrt(float(last**2 @ np.square(errors)))
        return max(now, earlier * 2**-self.order) / rest, spread / rest

    def _change(self, n_levels: int) -> np.ndarray:
        """Return the factors of the means in R_K - R_(K-1)."""
        return np.subtract(self.weights(n_levels), (*self.weights(n_levels - 1), 0.0))


@dataclass
class Tally:
    """Running moments of one level.

    Parameters
    ----------
    depth : int
        Depth of the deep network of the pair.
    coarse : int or None
        Depth of the shallow one; None on the first level.
    """

    depth: int
    coarse: int | None
    count: int = 0
    _parts: list[Moments] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Layers evaluated for one draw: deep and shallow, each with both signs."""
        return 2 * (self.depth + (self.coarse or 0))

    @property
    def mean(self) -> float:
        """Mean of the differences."""
        return math.fsum(part.n * part.mean for part in self._parts) / self.count

    @property
    def variance(self) -> float:
        """Unbiased variance of the differences."""
        return self._second / (self.count - 1)

    @property
    def event(self) -> float:
        """Size of the squares that carry the variance, sum d^4 / sum d^2; 0 where all agree."""
        mean = self.mean
        fourth = math.fsum(
            part.fourth + shift * (4 * part.third + 6 * shift * part.second)
            + part.n * shift**4
            for part in self._parts
            for shift in (part.mean - mean,)
        )  # fmt: skip
        return fourth / self._second if self._second > 0 else 0.0

    @property
    def events(self) -> float:
        """Draws that carry the variance, (sum d^2)^2 / sum d^4.

        Of an indicator how often it was met; of normal numbers a third of them all.
        """
        return self._second / self.event if self.event > 0 else 0.0

    @property
    def _second(self) -> float:
        mean = self.mean
        within = math.fsum(part.second for part in self._parts)
        return within + math.fsum(part.n * (part.mean - mean) ** 2 for part in self._parts)

    def add(self, parts: Sequence[Moments]) -> None:
        """Add moments of new draws."""
        self._parts.extend(parts)
        self.count += sum(part.n for part in parts)


def moments(values: Tensor) -> Moments:
    """Return count, mean and sums of powers of the deviations.

    Raises
    ------
    NonFiniteStateError
        If their fourth powers overflow. Use a functional of smaller values.
    """
    mean = values.mean()
    apart = values - mean
    squares = apart.square()
    if not math.isfinite(float(squares.square().sum())):
        raise NonFiniteStateError(
            f"values of the functional differ by {float(apart.abs().max()):.3g}, whose fourth "
            "powers a float cannot hold. Use a smaller coefficient, or the functional's logarithm."
        )
    return Moments(
        len(values),
        float(mean),
        float(squares.sum()),
        float((squares * apart).sum()),
        float(squares.square().sum()),
    )


def trusted_variances(tallies: Sequence[Tally]) -> list[float]:
    """Return the variance of every level with what its draws may have missed.

    k events of square m in n draws make a variance k m / n, and could have been k + 2 k^(1/2) + 3
    (k = 0: the rule of three). So a level that saw nothing does not claim to vary by nothing. How
    large events are is known where there are ten; elsewhere they are as large as at any level,
    and where nothing has varied yet they change phi by its own size, or by 1. No variance lies
    below a quarter of the one before it, the first two apart: such a level has not seen its tail.

    References
    ----------
    Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249 (1983),
    for the rule of three.
    """
    sizes = [tally.event for tally in tallies]
    # Both signs of a draw are averaged, so that an event of one of them changes half.
    largest = max(sizes) or max(1.0, abs(tallies[0].mean)) ** 2 / 4
    variances: list[float] = []
    for number, (tally, size) in enumerate(zip(tallies, sizes, strict=True)):
        events = tally.events
        missed = (size if events >= _FEW else largest) * (2 * math.sqrt(events) + _UNSEEN)
        least = variances[-1] / _DECAY if number > 1 else 0.0
        variances.append(max(tally.variance + missed / tally.count, least))
    return variances


def allocation(
    tallies: Sequence[Tally], weights: Sequence[float], standard_error: float
) -> list[int]:
    """Return how many draws every level needs for a standard error at the least cost.

    n_l = s^-2 w_l (V_l / C_l)^(1/2) sum_j w_j (V_j C_j)^(1/2).

    References
    ----------
    Giles, "Multilevel Monte Carlo path simulation", Operations Research 56 (2008), Section 5.
    """
    variances = trusted_variances(tallies)
    roots = [abs(w) * math.sqrt(v) for w, v in zip(weights, variances, strict=True)]
    total = sum(r * math.sqrt(t.cost) for r, t in zip(roots, tallies, strict=True))
    return [
        math.ceil(total * root / math.sqrt(tally.cost) / standard_error**2)
        for root, tally in zip(roots, tallies, strict=True)
    ]
