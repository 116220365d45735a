"""The learning rate that halves the loss, and how far it moves the neurons."""

import numpy as np
import torch

import limits
from limits.experiments.chizat2025._fitting import Floats

FALL = 0.5


def rate_of_half(
    net: limits.MeanFieldResNet,
    x: torch.Tensor,
    y: torch.Tensor,
    weights: limits.MeanFieldWeights,
    steps: int,
) -> float:
    """Return the smallest rate after whose steps the mean loss is a half; NaN where none is."""

    def share(rate: float) -> float:
        losses = net.descend(
            x, y, weights, steps=steps, learning_rate=rate, nonfinite="keep"
        ).losses.mean(dim=1)
        return float(losses[-1] / losses[0])

    low = high = 2.0**-5
    while not share(high) <= FALL:
        low, high = high, 2 * high
        if high > 2.0**5:
            return np.nan
    for _ in range(5):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if share(middle) <= FALL else (middle, high)
    return high


def movement_at(
    net: limits.MeanFieldResNet,
    x: torch.Tensor,
    y: torch.Tensor,
    weights: limits.MeanFieldWeights,
    steps: int,
    rate: float,
) -> Floats:
    """Return RMS change of u.h_0 over its RMS at the start, ``(path,)``."""
    after = net.descend(x, y, weights, steps=steps, learning_rate=rate).weights
    change, own = x.new_zeros(weights.n_paths), x.new_zeros(weights.n_paths)
    for old, new in zip(weights.u, after.u, strict=True):
        change += (x @ (new - old)).square().sum(dim=(1, 2))
        own += (x @ old).square().sum(dim=(1, 2))
    return (change / own).sqrt().numpy()
