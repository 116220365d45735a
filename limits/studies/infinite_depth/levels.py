"""Multilevel Monte Carlo: how levels are weighted, allocated and judged. Knows no networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

__all__ = ["Extrapolation", "Moments", "Tally", "allocation", "moments", "trusted_variances"]

Moments = tuple[int, float, float]
"""Count, mean and sum of squared deviations."""

_DECAY = 4
"""The strong order is one at most: a variance falls by this factor from level to level."""


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
        return math.fsum(n * mean for n, mean, _ in self._parts) / self.count

    @property
    def variance(self) -> float:
        """Unbiased variance of the differences."""
        mean = self.mean
        within = math.fsum(square for _, _, square in self._parts)
        between = math.fsum(n * (each - mean) ** 2 for n, each, _ in self._parts)
        return (within + between) / (self.count - 1)

    def add(self, parts: Sequence[Moments]) -> None:
        """Add moments of new draws."""
        self._parts.extend(parts)
        self.count += sum(n for n, _, _ in parts)


def moments(values: Tensor) -> Moments:
    """Return count, mean and sum of squared deviations."""
    mean = values.mean()
    return len(values), float(mean), float((values - mean).square().sum())


def trusted_variances(tallies: Sequence[Tally]) -> list[float]:
    """Return the variance of every level, none below a quarter of the one before it.

    A level with a smaller one, the first two apart, has been sampled too little to see its tail.
    """
    variances: list[float] = []
    for number, tally in enumerate(tallies):
        least = variances[-1] / _DECAY if number > 1 else 0.0
        variances.append(max(tally.variance, least))
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
