"""Learning rates that follow depth: where the factor of the branches is, and what was measured."""

from typing import TYPE_CHECKING

import numpy as np

from limits.user_models.check.judging.growth import MARGIN, Growth, slopes

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["adam_exponent", "factor_in_weights", "sgd_exponent"]


def factor_in_weights(data: "Dataset") -> Growth:
    """Return the largest exponent w of weights that begin at a size L^-w, 0 if none fall with L.

    As in GPT-2, whose output projections begin 1/sqrt(2L) times smaller. A step of Adam moves
    the entries of a weight by its rate, however small they are.

    Parameters
    ----------
    data : Dataset
        With `weight_size` over ``(weight, depth, seed)``, and the number of branches.
    """
    counts = data["multiplying"].to_numpy().astype(float)
    largest = Growth(0.0, 0.0, 0.0)
    for sizes in data["weight_size"].to_numpy():
        # Biases and gains begin at zero, or are there at some depths only.
        if not np.isfinite(sizes).all() or (sizes == 0).any():
            continue
        falling = Growth.of_slopes(-slopes(sizes, counts))
        if falling.low > 0 and falling.value > max(largest.value, MARGIN):
            largest = falling
    return largest


def adam_exponent(alpha: float, weights: float) -> float:
    """Return the exponent in L of the rate of Adam at which features change alike at all depths.

    A branch of size L^-alpha is a product of a multiplier and weights, one of which has size
    L^-w. A sign step of rate r changes that one by r, the branch by L^(w - alpha) r, and the
    features, as steps of all layers add up, by L^(1 + w - alpha) r.

    Examples
    --------
    >>> adam_exponent(0.5, 0.0), adam_exponent(0.5, 0.5)
    (-0.5, -1.0)
    """
    return -(1 - alpha + weights)


def sgd_exponent(alpha: float, weights: float) -> float:
    """Return the exponent in L of the rate of SGD, whose step is as large as the gradient.

    The gradient of a weight of size L^-w in a branch of size L^-alpha is L^(w - alpha), so that
    its step changes the features by L^(1 + 2w - 2 alpha) r.

    Examples
    --------
    >>> sgd_exponent(0.5, 0.0), sgd_exponent(0.5, 0.5), sgd_exponent(1.0, 0.0)
    (0.0, -1.0, 1.0)
    """
    return 2 * (alpha - weights) - 1
