"""What the numbers of a depth check mean: growth with depth, and one of four words or none."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limits._typing import Regime
from limits.user_models.check.vocabulary import Direction, Likeness

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["MARGIN", "Growth", "Judgement", "judge", "kind_of", "slopes", "stream_factor"]

# Half the distance between exponents that people use: 1/4, 1/2, 1.
MARGIN = 0.125
_CONFIDENCE = 0.99
_FEWEST_DEPTHS = 3
_FEWEST_SEEDS = 3
_SMALLEST_RANGE = 4
_DEEP_ENOUGH = -1.0
_FALLING = -0.25
_SAME = 0.9


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
    def of_slopes(cls, values: NDArray[np.float64]) -> "Growth":
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


@dataclass(frozen=True)
class Judgement:
    """What depth does in one direction.

    Parameters
    ----------
    direction : {"forward", "backward"}
        Hidden states or gradients.
    regime : {"identity", "limit", "explosion", "contraction"} or None
        None where the evidence is too thin.
    growth : Growth
        Exponent in depth of what all branches together change, relative to the first state
        (the last gradient); of the norm itself where a factor acts on the stream as well.
    reason : str
        One sentence with the numbers, and what to do where there is no verdict.
    bounded : bool
        Whether the norm stays bounded although what branches add does not, as in a stream that is
        normalised after every sum: explosion then says that the last branches dominate it and
        the first are forgotten, not that anything diverges.
    """

    direction: Direction
    regime: Regime | None
    growth: Growth
    reason: str
    bounded: bool = False

    @property
    def word(self) -> str:
        """The regime, or ``no verdict``."""
        return self.regime or "no verdict"


def slopes(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope of log values in log counts, per seed; values are ``(depth, seed)``.

    Examples
    --------
    >>> counts = np.array([8.0, 16.0, 32.0])
    >>> slopes(counts[:, None] ** 0.5, counts)
    array([0.5])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _log_slopes(np.log(values), counts)


def judge(data: "Dataset", direction: Direction) -> Judgement:
    """Judge one moment of a depth check.

    Parameters
    ----------
    data : Dataset
        Variables over ``(depth, seed)`` at one phase, see `limits.depth_check`.
    direction : {"forward", "backward"}
        Hidden states or gradients.
    """
    prefix = "" if direction == "forward" else "gradient_"
    change, norm = data[f"{prefix}change"].to_numpy(), data[f"{prefix}log_norm"].to_numpy()
    counts = data["branches"].to_numpy().astype(float)
    measured = Growth.of_slopes(slopes(change, counts))
    thin = _thin(data, change, direction)
    if thin:
        return Judgement(direction, None, measured, thin)
    overflow = np.isinf(change) | np.isposinf(norm)
    if overflow.any():
        worst = int(data["depth"].to_numpy()[overflow.any(axis=1)][0])
        reason = f"{_subject(direction)} overflow from depth {worst} on"
        growth = Growth(math.inf, math.inf, math.inf)
        return Judgement(direction, "explosion", growth, reason)
    shrinking = _contraction(norm, counts)
    if shrinking:
        return Judgement(direction, "contraction", measured, f"{_subject(direction)} {shrinking}")
    factor = stream_factor(data)
    if factor is not None:
        return _by_norm(direction, norm, counts, factor)
    judged = _compare(direction, measured, _linear_growth(data, counts))
    if judged.regime == "explosion" and _bounded(data, norm, counts):
        size = math.exp(float(norm[-1].mean()))
        reason = (
            f"{judged.reason}; normalisation keeps the {_subject(direction)} themselves bounded, "
            f"at {size:.2g} times their first size at the deepest"
        )
        return replace(judged, reason=reason, bounded=True)
    return judged


def stream_factor(data: "Dataset") -> float | None:
    """Return what is left of the deepest stream without branches, None unless depth changes it.

    As in h -> sqrt(1/2) (h + f(h)): the sum of branches then says nothing about the stream.
    """
    logs, counts = data["frozen_log_norm"].to_numpy(), data["branches"].to_numpy().astype(float)
    if not np.isfinite(logs).all():
        return math.exp(float(logs[-1].mean())) if np.isneginf(logs).any() else None
    steep = abs(float(_log_slopes(logs, counts).mean())) > -_FALLING
    deepest = float(logs[-1].mean())
    return math.exp(min(deepest, 700.0)) if steep and abs(deepest) > -_DEEP_ENOUGH else None


def _by_norm(
    direction: Direction, norm: NDArray[np.float64], counts: NDArray[np.float64], factor: float
) -> Judgement:
    """Decide by the norm alone, where not only branches act on the stream."""
    found = Growth.of_slopes(_log_slopes(norm, counts))
    reason = (
        f"the norm of the {_subject(direction)} grows like L^{found}; what branches add up to does "
        f"not count, since without them the stream is multiplied by {factor:.2g} at the deepest"
    )
    if len(found.regimes) == 1 and found.nearest != "identity":
        return Judgement(direction, found.nearest, found, reason)
    more = "more than one regime is open: use more seeds (n_seeds), or a larger batch"
    return Judgement(direction, None, found, f"{reason}; {more}")


def _bounded(data: "Dataset", norm: NDArray[np.float64], counts: NDArray[np.float64]) -> bool:
    """Say whether norms stay flat since h_L - h_0 is not the sum of the branches."""
    moved, added = (float(data[name][-1].mean()) for name in ("stream_change", "change"))
    return moved < _SAME * added and float(_log_slopes(norm, counts).mean()) <= MARGIN


def _log_slopes(logs: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.log(counts) - np.log(counts).mean()
    return np.einsum("d,ds->s", x, logs) / (x**2).sum()


def _thin(data: "Dataset", change: NDArray[np.float64], direction: Direction) -> str:
    """Say why there cannot be a verdict, or return an empty string."""
    counts = data["branches"].to_numpy()
    if len(counts) < _FEWEST_DEPTHS or counts[-1] < _SMALLEST_RANGE * counts[0]:
        return (
            f"{len(counts)} depths with {counts[0]} to {counts[-1]} branches are too few: a growth "
            f"exponent needs at least {_FEWEST_DEPTHS} depths over a factor of {_SMALLEST_RANGE}. "
            "Pass for example depths=(8, 16, 32, 64)"
        )
    if data.sizes["seed"] < _FEWEST_SEEDS:
        return f"{data.sizes['seed']} seeds give no useful interval. Pass n_seeds=3 or more"
    if np.isnan(change).all():
        return (
            f"no {_subject(direction)} were seen. Let the model compute gradients, return what "
            "depends on its residual stream, and checkpoint with use_reentrant=False"
        )
    if (change[~np.isnan(change)] == 0).any():
        if direction == "backward" and (data["change"].to_numpy() != 0).all():
            return (
                "no gradient through branches reaches the tensor they are added to, as where h is "
                "multiplied or copied before the sum, c * h + f(h). Read the forward verdict"
            )
        return (
            "branches return exactly zero, as with a last layer that starts at zero: depth shows "
            "only after training steps. Pass make_step, and read the verdict after training"
        )
    return ""


def _contraction(norm: NDArray[np.float64], counts: NDArray[np.float64]) -> str:
    """Describe a norm that falls with depth without end, or return an empty string."""
    if not np.isfinite(norm).all():
        return "vanish" if np.isneginf(norm).any() else ""
    falling = Growth.of_slopes(_log_slopes(norm, counts))
    deepest = float(norm[-1].mean())
    if falling.high < _FALLING and deepest < _DEEP_ENOUGH:
        return (
            f"shrink to {math.exp(deepest):.2g} of their size at the deepest, the logarithm of "
            f"their norm by {falling} for every e-fold of depth"
        )
    return ""


def _linear_growth(data: "Dataset", counts: NDArray[np.float64]) -> Growth:
    """Return what branches add up to while the stream is frozen, with critical exponent >= 1/2."""
    coherence = slopes(data["frozen_sum"].to_numpy(), counts)
    size = slopes(data["frozen_size"].to_numpy(), counts)
    return Growth.of_slopes(np.maximum(coherence, 0.5) + size)


def _compare(direction: Direction, measured: Growth, expected: Growth) -> Judgement:
    """Decide by two witnesses, as growth over small depths is not yet that of large ones."""
    found, second = measured.regimes, expected.regimes
    numbers = f"{_what(direction)} grows like L^{measured}"
    if len(found) == 1 and expected.nearest == found[0]:
        return Judgement(direction, found[0], measured, numbers)
    if len(second) == 1 and measured.nearest == second[0]:
        reason = f"{numbers}; {_second(expected)}"
        return Judgement(direction, second[0], measured, reason)
    if len(found) == len(second) == 1 and direction == "backward":
        # Normalisation changes gradients and not what the branches add up to.
        return Judgement(direction, found[0], measured, numbers)
    verb = "disagree" if len(found) == len(second) == 1 else "leave more than one regime open"
    reason = (
        f"{numbers}, and {_second(expected)}: they {verb}. Use more seeds (n_seeds), larger "
        "depths, or a larger batch"
    )
    return Judgement(direction, None, measured, reason)


def _second(expected: Growth) -> str:
    return f"size and coherence of the branches at one frozen state predict L^{expected}"


def _what(direction: Direction) -> str:
    if direction == "forward":
        return "what the branches add to the stream"
    return "what the branches add to the gradient"


def _subject(direction: Direction) -> str:
    return "hidden states" if direction == "forward" else "gradients"


def kind_of(coherence: Growth) -> Likeness | None:
    """Name the limit by the exponent with which updates add up: 1/2 diffusive, 1 coherent."""
    if coherence.high < 0.6:
        return "SDE-like"
    if coherence.low > 0.9:
        return "ODE-like"
    return "between" if coherence.low > 0.55 and coherence.high < 0.95 else None
