"""The adaptive loop of a multilevel estimate: pilot, allocate, judge, deepen."""

import math

from limits._typing import Progress
from limits.exceptions import LimitsError
from limits.parallel import Ticker, map_chunks
from limits.studies.infinite_depth.couplings import PairCoupling
from limits.studies.infinite_depth.levels import (
    Extrapolation,
    Moments,
    Tally,
    allocation,
    moments,
    trusted_variances,
)
from limits.studies.infinite_depth.result import DepthLevel

__all__ = ["AdaptiveLevels"]

_LEVELS = 5
"""Levels at the start: the fewest with two changes of the extrapolated value to judge by."""
_PILOT = 256
_FEWEST = 64
_ROUND = 16
"""Draws are added in multiples: products of very few paths are slow."""
_LARGEST_BIAS = 0.35
"""Share of the tolerance that the bias may take before a deeper level is cheaper."""
_MARGIN = 1.02
_KNOWN, _GROWTH = 16, 4
"""Events from which a level may grow by any factor at once, and by which it may before."""


class AdaptiveLevels:
    """Adds draws and levels until so many standard errors and the bias are within the tolerance.

    Parameters
    ----------
    pairs : PairCoupling
        Draws the differences.
    rule : Extrapolation
        Weighs the levels and estimates the bias.
    tolerance : float
        Bound on standard error + bias.
    first_depth : int
        Depth of the first level.
    budget : float
        Most layer evaluations.
    progress : callable or None
        Called as ``progress(done, total, label)``.
    label : str
        What is computed.
    """

    def __init__(
        self,
        pairs: PairCoupling,
        rule: Extrapolation,
        tolerance: float,
        quantile: float,
        first_depth: int,
        budget: float,
        progress: Progress | None,
        label: str,
    ) -> None:
        self._pairs, self._rule = pairs, rule
        self._tolerance, self._quantile = tolerance, quantile
        self._budget, self._progress, self._label = budget, progress, label
        self._tallies: list[Tally] = []
        self._first_depth = first_depth

    def run(self) -> tuple[float, float, float, tuple[DepthLevel, ...]]:
        """Return value, standard error, bias and levels."""
        for number in range(_LEVELS):
            self._deepen(max(_FEWEST, _PILOT >> number))
        while True:
            error, bias, doubt = self._judge()
            reach = self._quantile * error
            if reach + bias <= self._tolerance:
                return self._result(error, bias)
            too_shallow = bias > _LARGEST_BIAS * self._tolerance
            # A bias that noise could explain is looked at again with more draws.
            certain = bias - 2 * doubt > _LARGEST_BIAS * self._tolerance
            if certain or (too_shallow and reach <= (1 - _LARGEST_BIAS) * self._tolerance):
                self._deepen(max(_FEWEST, self._tallies[-1].count // 2))
            else:
                left = self._tolerance - min(bias, _LARGEST_BIAS * self._tolerance)
                self._refine(left / self._quantile)

    def _judge(self) -> tuple[float, float, float]:
        """Return the standard error, the estimated bias and the standard error of that."""
        variances = trusted_variances(self._tallies)
        errors = [math.sqrt(v / t.count) for v, t in zip(variances, self._tallies, strict=True)]
        weights = self._rule.weights(len(errors))
        total = math.sqrt(math.fsum((w * e) ** 2 for w, e in zip(weights, errors, strict=True)))
        return total, *self._rule.bias([tally.mean for tally in self._tallies], errors)

    def _deepen(self, count: int) -> None:
        coarse = self._tallies[-1].depth if self._tallies else None
        self._tallies.append(Tally(2 * coarse if coarse else self._first_depth, coarse))
        self._draw([0] * (len(self._tallies) - 1) + [count])

    def _refine(self, standard_error: float) -> None:
        wanted = allocation(
            self._tallies, self._rule.weights(len(self._tallies)), standard_error / _MARGIN
        )
        wanted = [
            # What is known from a few events says little of how many draws they need.
            n if tally.events >= _KNOWN else min(n, _GROWTH * tally.count)
            for n, tally in zip(wanted, self._tallies, strict=True)
        ]
        more = [
            -(-max(0, n - tally.count) // _ROUND) * _ROUND
            for n, tally in zip(wanted, self._tallies, strict=True)
        ]
        self._draw(more)

    def _draw(self, counts: list[int]) -> None:
        work = [n * tally.cost for n, tally in zip(counts, self._tallies, strict=True)]
        self._check_budget(sum(work))
        label = f"{self._label}, depths up to {self._tallies[-1].depth}"
        ticker = Ticker(sum(work), label, self._progress)
        for count, tally in zip(counts, self._tallies, strict=True):
            if count:
                self._draw_level(tally, count, ticker)

    def _draw_level(self, tally: Tally, count: int, ticker: Ticker) -> None:
        chunk, start = self._pairs.chunk(tally.depth), tally.count

        def draw(first: int, size: int) -> Moments:
            values = self._pairs.differences(tally.depth, tally.coarse, start + first, size)
            ticker(size * tally.cost)
            return moments(values)

        ranges = [(first, min(chunk, count - first)) for first in range(0, count, chunk)]
        tally.add(map_chunks(draw, ranges))

    def _check_budget(self, work: int) -> None:
        """Raise unless the work is within the budget, before it is begun."""
        total = work + sum(tally.count * tally.cost for tally in self._tallies)
        if total > self._budget:
            depth = self._tallies[-1].depth
            raise LimitsError(
                f"tolerance={self._tolerance:g} needs at least {total:.2g} layer evaluations with "
                f"depths up to {depth}, more than budget={self._budget:.2g}. Use a larger "
                f"tolerance, or budget={1.5 * total:.1g}."
            )

    def _result(
        self, error: float, bias: float
    ) -> tuple[float, float, float, tuple[DepthLevel, ...]]:
        weights = self._rule.weights(len(self._tallies))
        levels = tuple(
            DepthLevel(t.depth, t.count, t.mean, v, w, t.count * t.cost)
            for t, v, w in zip(
                self._tallies, trusted_variances(self._tallies), weights, strict=True
            )
        )
        value = self._rule.value([tally.mean for tally in self._tallies])
        return value, error, bias, levels
