"""How claims about exponents and repeated comparisons are judged."""

import numpy as np
import scipy

import limits

# One true claim in a thousand lies outside, so that repeated runs do not fail by chance.
CERTAIN = 0.999


def of_exponent(
    claim: str, order: limits.Order, expected: float, *, widest: float, symbol: str = "L"
) -> limits.Verdict:
    """Judge an exponent by its interval alone, without a margin; a wide interval decides nothing.

    The order's 95 % interval is widened to one of probability `CERTAIN`, which must contain
    what is expected and be narrower than `widest`. NaN decides nothing.
    """
    stretch = normal_quantile(CERTAIN) / normal_quantile(0.95)
    low = order.value - stretch * (order.value - order.low)
    high = order.value + stretch * (order.high - order.value)
    contains, narrow = low <= expected <= high, high - low < widest
    return limits.Verdict(
        claim,
        f"{expected:.3g} inside a 99.9 % interval narrower than {widest:g}",
        f"{order.value:.3f} [{low:.3f}, {high:.3f}], {symbol} = {order.depths[0]}-"
        f"{order.depths[-1]}",
        bool(contains and narrow),
        # What is outside a wide interval is outside; NaN compares false.
        decided=bool(narrow or low > expected or high < expected),
    )


def normal_quantile(probability: float, comparisons: int = 1) -> float:
    """Return how many standard errors hold all comparisons at once with a probability."""
    return float(scipy.stats.norm.ppf(1 - (1 - probability) / 2 / comparisons))


def student_quantile(n: int, probability: float, comparisons: int = 1) -> float:
    """The same where the standard error is that of `n` repetitions."""
    return float(scipy.stats.t.ppf(1 - (1 - probability) / 2 / comparisons, n - 1))


def predicted_range(logs: np.ndarray, comparisons: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of one more draw beside the draws ``(path, comparison)``, in logs."""
    n = len(logs)
    half = student_quantile(n, CERTAIN, comparisons) * logs.std(axis=0, ddof=1) * (1 + 1 / n) ** 0.5
    return logs.mean(axis=0) - half, logs.mean(axis=0) + half


def of_falls(claim: str, sizes: np.ndarray, distances: np.ndarray) -> limits.Verdict:
    """Judge whether distances shrink from each size to the next by more than their noise."""
    squares = distances.astype(float) ** 2
    n = squares.shape[1]
    logs = np.log(squares.mean(axis=1)) / 2
    noise = squares.std(axis=1, ddof=1) / squares.mean(axis=1) / 2 / n**0.5
    falls, errors = -np.diff(logs), np.hypot(noise[1:], noise[:-1])
    sure = student_quantile(n, 0.95, len(falls)) * errors
    return limits.Verdict(
        claim,
        "nearer at every larger L M, by more than the noise of all falls at once (95 %)",
        ", ".join(f"{np.exp(log):.3g} at {size}" for log, size in zip(logs, sizes, strict=True)),
        bool((falls > sure).all()),
        decided=bool((np.abs(falls) > sure).all()),
    )


def of_estimate(
    claim: str,
    estimates: tuple[float, float],
    n: int,
    expected: float,
    *,
    widest: float,
    sizes: str,
    changed: str = "",
) -> limits.Verdict:
    """Judge a value and its standard error from `n` groups as `of_exponent` does."""
    value, error = estimates
    half = student_quantile(n, CERTAIN) * error
    contains, narrow = abs(value - expected) <= half, 2 * half < widest
    return limits.Verdict(
        claim,
        f"{expected:.3g} inside a 99.9 % interval narrower than {widest:g}",
        f"{value:.3f} [{value - half:.3f}, {value + half:.3f}], {sizes}",
        bool(contains and narrow),
        # Leaving out groups says little of an estimate that is lost in noise.
        decided=bool(narrow),
        changed=changed,
    )
