"""Best learning rates: a grid refined around its best, and parabolas."""

from collections.abc import Callable, Sequence

import numpy as np

_AROUND = (-1.5, -0.5, 0.5, 1.5)
"""Half steps around the best whole one: draws differ by about a step."""


def refined(
    losses: Callable[[Sequence[float]], np.ndarray], exponents: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return exponents of all half steps, and losses ``(exponent, draw)``; NaN where not tried."""
    steps = np.arange(2 * min(exponents), 2 * max(exponents) + 1) / 2
    coarse = np.asarray(losses([float(each) for each in exponents]))
    found = np.full((len(steps), coarse.shape[1]), np.nan)
    found[np.searchsorted(steps, exponents)] = np.where(np.isfinite(coarse), coarse, np.inf)
    best = exponents[int(np.log(np.where(np.isfinite(coarse), coarse, np.inf)).mean(1).argmin())]
    extra = [best + each for each in _AROUND if steps[0] <= best + each <= steps[-1]]
    fine = np.asarray(losses(extra))
    found[np.searchsorted(steps, extra)] = np.where(np.isfinite(fine), fine, np.inf)
    return steps, found


def log_best(exponents: np.ndarray, losses: np.ndarray) -> tuple[float, bool]:
    """Return where a draw's log loss is least, and whether rates on both sides were tried.

    By the parabola through the best rate and its neighbours. What diverged is worst.
    """
    tried = ~np.isnan(losses)
    places, values = exponents[tried], losses[tried]
    if not np.isfinite(values).any():
        return float("nan"), False
    at = int(np.argmin(values))
    if not 0 < at < len(values) - 1:
        return float(places[at]), False
    around = slice(at - 1, at + 2)
    if not np.isfinite(values[around]).all():
        return float(places[at]), True
    a, b, _ = np.polyfit(places[around], np.log(values[around]), 2)
    return float(np.clip(-b / (2 * a), places[at - 1], places[at + 1])), True
