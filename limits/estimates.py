"""Numbers with their uncertainty: what every error, order and verdict is reported as."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from limits.checks import checked_array
from limits.scalars import plain_numbers

_SAFE = 1e-100

__all__ = ["Estimate", "Order", "Verdict"]


@plain_numbers
@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo estimate.

    Parameters
    ----------
    value : float
        The estimate, in the units of what was averaged.
    standard_error : float
        Its standard error over independent weight draws; NaN for one draw, which cannot tell.
    n : int
        Number of weight draws (paths).

    Examples
    --------
    >>> print(Estimate(0.1234, 0.005, 64))
    0.123 ± 0.010 (64 paths)
    """

    value: float
    standard_error: float
    n: int

    @classmethod
    def of_power_mean(cls, values: ArrayLike, p: int) -> "Estimate":
        """Estimate (E|x|^p)^(1/p) from independent draws of |x|, one per path.

        The standard error is that of the mean of the p-th powers, by the delta method:
        d(m^(1/p)) = m^(1/p - 1) / p dm.

        Examples
        --------
        >>> Estimate.of_power_mean([3.0, 4.0, 5.0], 1)
        Estimate(value=4.0, standard_error=0.5773502691896258, n=3)
        >>> Estimate.of_power_mean([3.0, 4.0], 2).value ** 2
        12.5
        """
        sizes = checked_array(values, "the draws of an estimate")
        n = len(sizes)
        # Where powers would overflow or vanish, in units of the largest.
        largest = float(np.abs(sizes).max())
        unit = 1.0 if _SAFE < largest < 1 / _SAFE or not 0 < largest < math.inf else largest
        powers = (sizes / unit) ** p
        mean = float(powers.mean())
        value = mean ** (1 / p) * unit
        spread = float(powers.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        return cls(value, spread * value / (p * mean) if mean else 0.0, n)

    @property
    def interval(self) -> tuple[float, float]:
        """Normal 95 % interval, value ± 1.96 standard errors."""
        half = 1.96 * self.standard_error
        return self.value - half, self.value + half

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {1.96 * self.standard_error:.2g} ({self.n} paths)"


@plain_numbers
@dataclass(frozen=True)
class Order:
    """A convergence order p, error ~ constant * L^-p, on a stated range of depths.

    Parameters
    ----------
    value : float
        Fitted order p; positive when the error falls with depth.
    low, high : float
        95 % interval from a bootstrap over paths, paired across depths; infinite where a few paths
        decide the order, and nothing can be said.
    constant : float
        Fitted error at L = 1, in the units of the error.
    depths : tuple of int
        The depths of the fit: a slope is a statement about a range.

    Examples
    --------
    >>> print(Order(0.504, 0.49, 0.52, 1.1, (8, 16, 32)))
    order 0.504 [0.490, 0.520], L = 8-32
    """

    value: float
    low: float
    high: float
    constant: float
    depths: tuple[int, ...]

    def __str__(self) -> str:
        span = f"L = {min(self.depths)}-{max(self.depths)}"
        if math.isinf(self.high - self.low):
            return f"order {self.value:.3f} (a few paths decide: no interval), {span}"
        return f"order {self.value:.3f} [{self.low:.3f}, {self.high:.3f}], {span}"

    def agrees_with(self, order: float, *, margin: float = 0.03, widest: float = 0.05) -> bool:
        """Say whether `order` lies inside the interval widened by `margin`.

        False as well when the interval is `widest` or wider: a noisy fit proves nothing.
        """
        close = self.low - margin <= order <= self.high + margin
        return close and self.high - self.low < widest


@plain_numbers
@dataclass(frozen=True)
class Verdict:
    """One claim of an experiment, what was asked of it and what was measured.

    Parameters
    ----------
    claim, asked, measured : str
        The claim, what its test asks for, and what was found, in words and numbers.
    passed : bool
        Whether it was found.
    decided : bool
        False where the numbers can say neither yes nor no, such as an optimum at the end of its
        range: such a claim has not passed, and has not failed.
    changed : str
        What was asked before numbers were seen, and why it is something else now; empty where
        nothing changed.

    Examples
    --------
    >>> Verdict("best rate", "inside the grid", "at its end", False, decided=False).word
    'not decided'
    """

    claim: str
    asked: str
    measured: str
    passed: bool
    decided: bool = True
    changed: str = ""

    @property
    def failed(self) -> bool:
        """Whether the numbers contradict the claim."""
        return self.decided and not self.passed

    @property
    def word(self) -> str:
        """``pass``, ``FAIL`` or ``not decided``."""
        if self.passed:
            return "pass"
        return "FAIL" if self.decided else "not decided"

    @classmethod
    def of_order(
        cls,
        claim: str,
        order: Order,
        expected: float,
        *,
        margin: float = 0.03,
        widest: float = 0.05,
    ) -> "Verdict":
        """Judge a fitted order against theory, as `Order.agrees_with` does.

        Examples
        --------
        >>> order = Order(0.504, 0.49, 0.52, 1.1, (8, 16, 32))
        >>> Verdict.of_order("strong order", order, 0.5).passed
        True
        """
        return cls(
            claim,
            f"{expected:g} within {margin:g} of an interval narrower than {widest:g}",
            str(order),
            order.agrees_with(expected, margin=margin, widest=widest),
        )

    @classmethod
    def of_closed_form(
        cls, claim: str, values: ArrayLike, exact: ArrayLike, standard_errors: ArrayLike
    ) -> "Verdict":
        """Judge estimates against exact values: each within four standard errors.

        Examples
        --------
        >>> Verdict.of_closed_form("errors", [1.0, 2.0], [1.1, 2.0], [0.1, 0.1]).measured
        'at most 1.0 standard errors away'
        """
        found, known, errors = (
            checked_array(each, "estimates") for each in (values, exact, standard_errors)
        )
        distances = np.abs(found - known) / errors
        worst = float(distances.max())
        return cls(
            claim,
            "within 4 standard errors",
            f"at most {worst:.1f} standard errors away",
            worst <= 4,
        )
