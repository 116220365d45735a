"""The choice of a learning rate by validation loss, on a grid refined around its best."""

from collections.abc import Callable

import numpy as np


def searched(losses: Callable[[float], np.ndarray], coarse: tuple[float, ...]) -> dict:
    """Return validation losses of draws by rate: those of `coarse`, and around the best of them.

    Rates of ratio 2 are followed by the best one's neighbours by sqrt(2).
    """
    found = {rate: losses(rate) for rate in coarse}
    best = best_of(found)
    if best is not None:
        for rate in (best / 2**0.5, best * 2**0.5):
            if coarse[0] <= rate <= coarse[-1]:
                found[rate] = losses(rate)
    return dict(sorted(found.items()))


def best_of(found: dict) -> float | None:
    """Return the rate of least mean log loss; None where at every rate some draw diverged."""
    scores = {
        rate: float(np.log(values).mean()) if np.isfinite(values).all() else np.inf
        for rate, values in found.items()
    }
    best = min(scores, key=lambda rate: scores[rate])
    return best if np.isfinite(scores[best]) else None


def is_inside(found: dict) -> bool:
    """Return whether there is a best rate with a rate tried on either side of it."""
    return best_of(found) not in (None, min(found), max(found))
