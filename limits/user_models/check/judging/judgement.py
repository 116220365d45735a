"""What the numbers of a depth check mean: one of four words in each direction, or none."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limits._typing import Regime
from limits.user_models.check.judging.growth import MARGIN, Curve, Growth, log_slopes, slopes
from limits.user_models.check.judging.sizes import layer_decay, predicted_growth
from limits.user_models.check.vocabulary import Direction, Likeness

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["Judgement", "fitted", "judge", "kind_of", "stream_factor"]

_FEWEST_DEPTHS = 3
_FEWEST_SEEDS = 3
_SMALLEST_RANGE = 4
_DEEP_ENOUGH = -1.0
_FALLING = -0.25
# The deepest networks that were ever trained have ten thousand layers. In training branches may
# grow tenfold, which brings the depth where L^(1/2) matters a hundred times nearer.
_NEVER = 1e6

_Array = NDArray[np.float64]


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
    matters_at : float or None
        Number of branches L at which what they add equals the stream, measured or extrapolated;
        None where it does not grow.
    per_branch : float or None
        Growth of the logarithm by one more branch where growth is exponential.
    """

    direction: Direction
    regime: Regime | None
    growth: Growth
    reason: str
    bounded: bool = False
    matters_at: float | None = None
    per_branch: float | None = None

    @property
    def word(self) -> str:
        """The regime, or ``no verdict``."""
        return self.regime or "no verdict"

    @property
    def law(self) -> str:
        """How the quantity grows: a power of L with its interval, or an exponential."""
        if self.per_branch is None:
            return f"L^{self.growth}"
        return f"exp({self.per_branch:.2g} L)"


def fitted(data: "Dataset") -> "Dataset":
    """Return the depths that enter fits: those at which one layer follows another one."""
    return data.isel(depth=np.flatnonzero(data["fitted"].to_numpy()))


def judge(data: "Dataset", direction: Direction) -> Judgement:
    """Judge one stream at one moment of a depth check.

    Parameters
    ----------
    data : Dataset
        Variables over ``(depth, seed)`` at one phase, see `limits.depth_check`.
    direction : {"forward", "backward"}
        Hidden states or gradients.
    """
    data = fitted(data)
    prefix = "" if direction == "forward" else "gradient_"
    change, norm = data[f"{prefix}change"].to_numpy(), data[f"{prefix}log_norm"].to_numpy()
    counts = data["multiplying"].to_numpy().astype(float)
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
    judged = _compare(direction, data, Curve(np.log(change), counts), measured)
    return _with_constants(
        judged, data, Curve(np.log(change), counts), Curve(norm, counts, int(data["stages"].max()))
    )


def _with_constants(judged: Judgement, data: "Dataset", change: Curve, norm: Curve) -> Judgement:
    """Say from which depth on growth matters, and whether anything diverges at all."""
    if judged.regime != "explosion":
        return judged
    subject = _subject(judged.direction)
    per_branch = norm.per_branch if np.isfinite(norm.logs).all() else None
    if per_branch is not None:
        reason = (
            f"{subject} grow exponentially, tenfold every {math.log(10) / per_branch:.3g} branches"
        )
        return replace(judged, reason=reason, per_branch=per_branch)
    reached = change.reaches_one(max(judged.growth.value, MARGIN))
    judged = replace(judged, matters_at=reached)
    size = f"{judged.reason}; it equals {_whole(judged.direction)} {_at(reached, data)}"
    if reached > _NEVER:
        reason = f"{size}: growth that never matters at this size of the branches"
        return replace(judged, regime="limit", reason=reason)
    flat = float(log_slopes(norm.logs, norm.counts).mean()) <= MARGIN
    if bool(data["normalised"].any()) and flat:
        final = math.exp(float(norm.logs[-1].mean()))
        reason = (
            f"{size}; normalisation keeps the {subject} themselves bounded, at {final:.2g} times "
            "their first size at the deepest"
        )
        return replace(judged, reason=reason, bounded=True)
    return replace(judged, reason=size)


def _at(reached: float, data: "Dataset") -> str:
    """Name a number of branches, and the depth of the user's factory it belongs to."""
    depths, counts = data["depth"].to_numpy(), data["multiplying"].to_numpy()
    if not math.isfinite(reached):
        return "at no depth"
    slope = (counts[-1] - counts[0]) / (depths[-1] - depths[0])
    depth = depths[-1] + (reached - counts[-1]) / slope
    if reached <= counts[0]:
        return f"at L = {counts[0]} branches (depth {depths[0]}) already"
    number = f"{reached:.0f}" if reached < 1e5 else f"{reached:.1g}"
    of_factory = f"{depth:.0f}" if depth < 1e5 else f"{depth:.1g}"
    return f"at L = {number} branches (depth {of_factory})"


def stream_factor(data: "Dataset") -> float | None:
    """Return what is left of the deepest stream without branches, None unless depth changes it.

    As in h -> sqrt(1/2) (h + f(h)): the sum of branches then says nothing about the stream.
    """
    logs = data["frozen_log_norm"].to_numpy()
    counts = data["multiplying"].to_numpy().astype(float)
    if not np.isfinite(logs).all():
        return math.exp(float(logs[-1].mean())) if np.isneginf(logs).any() else None
    steep = abs(float(log_slopes(logs, counts).mean())) > -_FALLING
    deepest = float(logs[-1].mean())
    return math.exp(min(deepest, 700.0)) if steep and abs(deepest) > -_DEEP_ENOUGH else None


def _by_norm(direction: Direction, norm: _Array, counts: _Array, factor: float) -> Judgement:
    """Decide by the norm alone, where not only branches act on the stream."""
    found = Growth.of_slopes(log_slopes(norm, counts))
    reason = (
        f"the norm of the {_subject(direction)} grows like L^{found}; what branches add up to does "
        f"not count, since without them the stream is multiplied by {factor:.2g} at the deepest"
    )
    if len(found.regimes) == 1 and found.nearest != "identity":
        return Judgement(direction, found.nearest, found, reason)
    more = "more than one regime is open: use more seeds (n_seeds), or a larger batch"
    return Judgement(direction, None, found, f"{reason}; {more}")


def _thin(data: "Dataset", change: _Array, direction: Direction) -> str:
    """Say why there cannot be a verdict, or return an empty string."""
    counts = data["multiplying"].to_numpy()
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
            f"no {_subject(direction)} of this stream were seen: its states are detached, or were "
            "made under torch.no_grad() or with checkpointing by use_reentrant=True"
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
    if np.isnan(change).any():
        return f"{_subject(direction)} are zero in some of the models: pass a larger batch"
    return ""


def _contraction(norm: _Array, counts: _Array) -> str:
    """Describe a norm that falls with depth without end, or return an empty string."""
    if not np.isfinite(norm).all():
        return "vanish" if np.isneginf(norm).any() else ""
    falling = Growth.of_slopes(log_slopes(norm, counts))
    deepest = float(norm[-1].mean())
    if falling.high < _FALLING and deepest < _DEEP_ENOUGH:
        return (
            f"shrink to {math.exp(deepest):.2g} of their size at the deepest, the logarithm of "
            f"their norm by {falling} for every e-fold of depth"
        )
    return ""


def _compare(direction: Direction, data: "Dataset", change: Curve, measured: Growth) -> Judgement:
    """Decide by two witnesses, as growth over small depths is not yet that of large ones."""
    expected = predicted_growth(data)
    found, second = measured.regimes, expected.regimes
    numbers = f"{_what(direction)} grows like L^{measured}"
    if change.levels_off:
        reason = f"{_what(direction)} levels off: L^{change.late} between the largest depths"
        return Judgement(direction, "limit", measured, reason)
    if len(found) == 1 and expected.nearest == found[0]:
        return Judgement(direction, found[0], measured, numbers)
    if len(second) == 1 and measured.nearest == second[0]:
        reason = f"{numbers}; {_second(expected)}"
        return Judgement(direction, second[0], measured, reason)
    slows = second == ("limit",) and change.bend.value < 0
    if slows and layer_decay(data) is not None:
        reason = f"{numbers} and less and less: layer k is so much smaller that the sum is bounded"
        return Judgement(direction, "limit", measured, f"{reason} up to logarithms")
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


def _whole(direction: Direction) -> str:
    return "the stream" if direction == "forward" else "the gradient"


def _subject(direction: Direction) -> str:
    return "hidden states" if direction == "forward" else "gradients"


def kind_of(coherence: Growth) -> Likeness | None:
    """Name the limit by the exponent with which updates add up: 1/2 diffusive, 1 coherent."""
    if coherence.high < 0.6:
        return "SDE-like"
    if coherence.low > 0.9:
        return "ODE-like"
    return "between" if coherence.low > 0.55 and coherence.high < 0.95 else None
