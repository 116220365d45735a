"""How regular the weights of a network are across its layers, measured on anybody's weights."""

import math
from collections.abc import Sequence
from typing import TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from limits.checks import check_finite, check_seed, checked_array
from limits.exceptions import ShapeError
from limits.scalars import plain_numbers
from limits.user_models.weights.result import DepthRegularity, RegularityVerdict, WeightRegularity

__all__ = ["weight_regularity"]

Weights: TypeAlias = Tensor | NDArray[np.floating]

_FEWEST_LAYERS = 16
_LARGEST_BLOCK = 16
_RESAMPLES = 1000
_FEWEST_UNITS = 32
_ROUGH_BELOW = 0.55
_SMOOTH_ABOVE = 1.0


@overload
def weight_regularity(weights: Weights, *, seed: int = 0) -> WeightRegularity: ...
@overload
def weight_regularity(weights: Sequence[Weights], *, seed: int = 0) -> DepthRegularity: ...
@plain_numbers
def weight_regularity(
    weights: Weights | Sequence[Weights],
    *,
    seed: int = 0,
) -> WeightRegularity | DepthRegularity:
    """Measure the regularity of weights V_k, k = 0 ... L - 1, across layers.

    The Hurst index comes from X_k = V_0 + ... + V_(k-1): second differences of X over blocks of
    n layers, Z_n(k) = X_(k+2n) - 2 X_(k+n) + X_k, have mean square ~ n^2H. H is half the slope
    of log mean Z_n^2 in log n for n = 1, 2, 4, 8, 16, each weighted by the blocks there are:
    exact for fractional noise of any H in (0, 1), 1/2 for independent layers whatever their
    law, 2 for weights that are differentiable in layer time. A mean that the weights share
    does not count. The interval is a bootstrap over entries; where there are fewer than 32, over
    stretches of layers too, and widened by Student's quantile and by what neighbours share
    (a single weight: 95 % of intervals hold the index at 2048 layers, 91 % at 512).

    The verdict is ``"smooth"`` if the interval lies above 1 (the limit is an ODE), ``"rough"``
    if it reaches down to 0.55 (independent or alternating layers: SDE-like), else ``"between"``
    (persistent noise: Young equation).

    Parameters
    ----------
    weights : Tensor or array, or a sequence of them
        One network: shape ``(layer, ...)``, at least 16 layers, for example
        ``torch.stack([block.weight for block in net.blocks])``. A sequence of such stacks, of at
        least two different depths, is judged by slopes in depth instead.
    seed : int
        Of the bootstrap.

    Returns
    -------
    WeightRegularity or DepthRegularity
        The second for several depths.

    Raises
    ------
    ShapeError
        If there are fewer than 16 layers, or the stacks of a sequence have one depth only.
    NonFiniteStateError
        If weights are NaN or infinite. Load a checkpoint from before the training diverged.

    References
    ----------
    Cohen, Cont, Rossier, Xu, "Scaling properties of deep residual networks", ICML 2021
    (arXiv:2105.12245), Section 3, for the norms and the rule over depths; Istas and Lang,
    "Quadratic variations and estimation of the local Hölder index of a Gaussian process",
    Ann. Inst. H. Poincaré 33 (1997), for the index.

    Examples
    --------
    >>> import limits
    >>> smooth = limits.SmoothPath(8).sample(depth=256, n_paths=1, seed=0).layer_weights[:, 0]
    >>> weight_regularity(smooth).verdict
    'smooth'
    >>> weight_regularity(torch.randn(256, 8, 8, generator=torch.Generator().manual_seed(0)))
    WeightRegularity(rough: H = 0.505 [0.492, 0.516], sqrt QV / RSS = 1.42, 256 layers)
    """
    check_seed(seed)
    if isinstance(weights, Tensor | np.ndarray):
        return _one_depth(_as_entries(weights), seed)
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise ShapeError(
            f"weights must be a tensor, an array or a sequence of them, found "
            f"{type(weights).__name__}. Pass the stacks in a list; of a state_dict, the layers of "
            "one name stacked with torch.stack."
        )
    measured = [_one_depth(_as_entries(each), seed) for each in weights]
    if len({each.depth for each in measured}) < 2:
        raise ShapeError(
            f"a sequence of weights needs two different depths, found "
            f"{sorted({each.depth for each in measured})}. Pass one stack of shape (layer, ...) "
            "for one network, or networks of several depths."
        )
    return DepthRegularity(tuple(sorted(measured, key=lambda each: each.depth)))


def _as_entries(weights: Weights) -> NDArray[np.float64]:
    """Return the weights as ``(layer, entry)`` in float64."""
    if not isinstance(weights, Tensor | np.ndarray):
        raise ShapeError(
            f"weights must be a tensor or an array of shape (layer, ...), found "
            f"{type(weights).__name__}. Stack the layers with torch.stack; of a state_dict, those "
            "of one name at a time."
        )
    values = checked_array(weights, "the stack of weights")
    if values.ndim == 0 or len(values) < _FEWEST_LAYERS or values.size == 0:
        raise ShapeError(
            f"weights must have shape (layer, ...) with at least {_FEWEST_LAYERS} layers, found "
            f"{values.shape}. Stack the layers with torch.stack; fewer layers say nothing about "
            "regularity."
        )
    check_finite(
        torch.from_numpy(values),
        "the stack of weights",
        "Load a checkpoint from before the training diverged.",
    )
    return values.reshape(len(values), -1)


def _one_depth(entries: NDArray[np.float64], seed: int) -> WeightRegularity:
    # In units of the largest, a power of two, so that squares neither overflow nor vanish.
    unit = 2.0 ** np.clip(np.frexp(np.abs(entries).max())[1], -1000, 1000)
    entries = entries / unit
    depth, squares = len(entries), (entries**2).sum(axis=1)
    sums = np.concatenate([np.zeros((1, entries.shape[1])), entries.cumsum(axis=0)])
    detrended = sums - np.linspace(0, 1, depth + 1)[:, None] * sums[-1]
    variation = float(np.sqrt((np.diff(entries, axis=0) ** 2).sum()))
    total = math.sqrt(squares.sum())
    hurst, low, high = _hurst(sums, seed)
    return WeightRegularity(
        depth=depth,
        entries=entries.shape[1],
        max_norm=math.sqrt(squares.max()) * unit,
        root_sum_squares=total * unit,
        sqrt_quadratic_variation=variation * unit,
        variation_ratio=variation / total if total > 0 else 0.0,
        cumulative_sum_norm=float(np.linalg.norm(sums[-1])) * unit,
        detrended_cumulative_sum=np.linalg.norm(detrended, axis=1) * unit,
        hurst=hurst,
        hurst_low=low,
        hurst_high=high,
        verdict=_verdict(low),
    )


def _verdict(low: float) -> RegularityVerdict:
    if low <= _ROUGH_BELOW:
        return "rough"
    return "smooth" if low > _SMOOTH_ABOVE else "between"


def _hurst(sums: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Return the index and a 95 % bootstrap interval."""
    depth, entries = len(sums) - 1, sums.shape[1]
    blocks = [2**i for i in range(_LARGEST_BLOCK.bit_length()) if 2**i <= depth // 8]
    stretches = 1 if entries >= _FEWEST_UNITS else min(-(-_FEWEST_UNITS // entries), depth // 16)
    squares = np.stack([_mean_squares(sums, n, stretches) for n in blocks])
    if not (squares.sum(axis=1) > 0).all():
        # Constant or linear weights: their second differences vanish.
        return 2.0, 2.0, 2.0
    weights = np.sqrt(1 / np.array(blocks))
    slope = _slope_of(np.log(blocks), weights)
    value = slope @ np.log(squares.mean(axis=1)) / 2
    rng = np.random.default_rng(seed)
    units = squares.shape[1]
    if units == 1:
        return float(value), -math.inf, math.inf
    counts = rng.multinomial(units, np.full(units, 1 / units), size=_RESAMPLES)
    resampled = slope @ np.log(np.maximum(squares @ counts.T / units, 1e-300)) / 2
    low, high = np.percentile(resampled, [2.5, 97.5])
    # Resampling few units lacks what Student's law has beyond the normal one, and stretches of
    # layers side by side are not independent.
    wider = _wider(slope, squares) if stretches > 1 else 1.0
    return float(value), float(value - wider * (value - low)), float(value + wider * (high - value))


def _wider(slope: NDArray[np.float64], squares: NDArray[np.float64]) -> float:
    """Return by what the bootstrap's interval is too short, for units that follow one another."""
    units = squares.shape[1]
    influence = slope @ (squares / squares.mean(axis=1, keepdims=True))
    influence -= influence.mean()
    alone = max(float(influence @ influence), np.finfo(float).tiny)
    neighbours = 1 + 2 * (influence[1:] @ influence[:-1]) / alone
    quantile = stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975)
    return float(quantile * np.sqrt(max(1.0, neighbours) * units / (units - 1)))


def _mean_squares(sums: NDArray[np.float64], n: int, stretches: int) -> NDArray[np.float64]:
    """Return the mean square second difference over n layers of every unit of the bootstrap."""
    second = sums[2 * n :] - 2 * sums[n:-n] + sums[: -2 * n]
    parts = np.array_split(second**2, stretches)
    return np.concatenate([part.mean(axis=0) for part in parts])


def _slope_of(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the functional that maps values to their weighted least squares slope in x."""
    centred = x - (weights * x).sum() / weights.sum()
    functional = weights * centred
    return functional / (functional * x).sum()
