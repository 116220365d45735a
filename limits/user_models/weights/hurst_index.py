"""How regular the weights of a network are across its layers, measured on anybody's weights."""

import math
from collections.abc import Sequence
from typing import TypeAlias, overload

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from limits.checks import check_real, check_seed, checked_array
from limits.exceptions import NonFiniteStateError, ShapeError
from limits.scalars import plain_numbers
from limits.user_models.weights.few_entries import interval_by_law
from limits.user_models.weights.layer_sums import (
    LayerStack,
    LayerSums,
    TensorStack,
    slope_over,
)
from limits.user_models.weights.result import DepthRegularity, RegularityVerdict, WeightRegularity

__all__ = ["FEWEST_LAYERS", "regularity_of_stack", "weight_regularity"]

Weights: TypeAlias = Tensor | NDArray[np.floating]

FEWEST_LAYERS = 6
_RESAMPLES = 1000
_FEWEST_UNITS = 32
_FEW_LAYERS = 16
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
    does not count. The interval is a bootstrap over entries; where there are fewer than 32, it
    holds the indices of Gaussian weights at which the estimate is no surprise (of a single weight
    94 to 97 % of intervals hold the index, from 6 layers to 2048). Below 16 layers, entries that
    swing together from layer to layer, beyond chance, count as fewer.

    The verdict is ``"smooth"`` if the interval lies above 1 (the limit is an ODE), ``"rough"``
    if it reaches down to 0.55 (independent or alternating layers: SDE-like), else ``"between"``
    (persistent noise: Young equation), and ``"unclear"`` if it reaches from rough to smooth.

    Parameters
    ----------
    weights : Tensor or array, or a sequence of them
        One network: shape ``(layer, ...)``, at least 6 layers, for example
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
        If there are fewer than 6 layers, or the stacks of a sequence have one depth only.
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
    WeightRegularity(rough: H = 0.505 [0.491, 0.516], sqrt QV / RSS = 1.42, 256 layers)
    """
    check_seed(seed)
    if isinstance(weights, Tensor | np.ndarray):
        return regularity_of_stack(_as_stack(weights), seed=seed)
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise ShapeError(
            f"weights must be a tensor, an array or a sequence of them, found "
            f"{type(weights).__name__}. Pass the stacks in a list; of a state_dict, the layers of "
            "one name stacked with torch.stack."
        )
    measured = [regularity_of_stack(_as_stack(each), seed=seed) for each in weights]
    if len({each.depth for each in measured}) < 2:
        raise ShapeError(
            f"a sequence of weights needs two different depths, found "
            f"{sorted({each.depth for each in measured})}. Pass one stack of shape (layer, ...) "
            "for one network, or networks of several depths."
        )
    return DepthRegularity(tuple(sorted(measured, key=lambda each: each.depth)))


def _as_stack(weights: Weights) -> TensorStack:
    """Return the weights with the layers first."""
    if not isinstance(weights, Tensor | np.ndarray):
        raise ShapeError(
            f"weights must be a tensor or an array of shape (layer, ...), found "
            f"{type(weights).__name__}. Stack the layers with torch.stack; of a state_dict, those "
            "of one name at a time."
        )
    if isinstance(weights, Tensor):
        check_real(weights, "the stack of weights")
        stack = weights
    else:
        stack = torch.from_numpy(checked_array(weights, "the stack of weights"))
    if stack.ndim == 0 or len(stack) < FEWEST_LAYERS or stack.numel() == 0:
        raise ShapeError(
            f"weights must have shape (layer, ...) with at least {FEWEST_LAYERS} layers, found "
            f"{tuple(stack.shape)}. Stack the layers with torch.stack; fewer layers say nothing "
            "about regularity."
        )
    return TensorStack(stack)


def regularity_of_stack(stack: LayerStack, *, seed: int = 0) -> WeightRegularity:
    """Measure weights that are kept anywhere, a part of their entries at a time.

    Parameters
    ----------
    stack : LayerStack
        At least 6 layers.
    seed : int
        Of the bootstrap.

    Raises
    ------
    NonFiniteStateError
        If weights are NaN or infinite.
    """
    sums = LayerSums(stack)
    if sums.n_bad:
        raise NonFiniteStateError(
            f"the stack of weights has {sums.n_bad} NaN or infinite entries out of "
            f"{sums.depth * sums.entries}. Load a checkpoint from before the training diverged."
        )
    variation, total = math.sqrt(sums.variation), math.sqrt(sums.squares.sum())
    hurst, low, high = _hurst(sums, seed)
    return WeightRegularity(
        depth=sums.depth,
        entries=sums.entries,
        max_norm=math.sqrt(sums.squares.max()) * sums.unit,
        root_sum_squares=total * sums.unit,
        sqrt_quadratic_variation=variation * sums.unit,
        variation_ratio=variation / total if total > 0 else 0.0,
        cumulative_sum_norm=math.sqrt(sums.last) * sums.unit,
        detrended_cumulative_sum=np.sqrt(sums.detrended) * sums.unit,
        hurst=hurst,
        hurst_low=low,
        hurst_high=high,
        verdict=_verdict(low, high),
    )


def _verdict(low: float, high: float) -> RegularityVerdict:
    if low <= _ROUGH_BELOW:
        return "unclear" if high > _SMOOTH_ABOVE else "rough"
    return "smooth" if low > _SMOOTH_ABOVE else "between"


def _hurst(sums: LayerSums, seed: int) -> tuple[float, float, float]:
    """Return the index and a 95 % interval."""
    together = sums.units.sum(axis=1)
    if not (together > 0).all():
        # Constant or linear weights: their second differences vanish.
        return 2.0, 2.0, 2.0
    slope = slope_over(sums.blocks)
    value = float(slope @ np.log(together) / 2)
    if sums.n_units < _FEWEST_UNITS:
        return value, *interval_by_law(value, sums.depth, entries=sums.entries)
    low, high = _bootstrap(sums.units, value, slope, seed)
    if sums.depth < _FEW_LAYERS:
        swing, degrees = _swing(sums.positions)
        chance = 2 / sums.entries * stats.chi2.ppf(0.95, degrees) / degrees
        if swing > chance:
            ends = interval_by_law(value, sums.depth, entries=2 / swing, degrees=degrees)
            low, high = min(low, ends[0]), max(high, ends[1])
    return value, low, high


def _bootstrap(
    squares: NDArray[np.float64], value: float, slope: NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """Resample the entries, and widen by what Student's law has beyond the normal one."""
    units = squares.shape[1]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(units, np.full(units, 1 / units), size=_RESAMPLES)
    # In units of the mean, below which a resample of zeros cannot fall to minus infinity.
    relative = squares / squares.mean(axis=1, keepdims=True)
    resampled = slope @ np.log(np.maximum(relative @ counts.T / units, 1e-300)) / 2
    low, high = np.percentile(resampled, [2.5, 97.5])
    wider = stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975) * math.sqrt(units / (units - 1))
    return float(value + wider * low), float(value + wider * high)


def _swing(positions: NDArray[np.float64]) -> tuple[float, float]:
    """Return the relative variance of squares from layer to layer, and its degrees of freedom.

    Differences that share no layer are independent where layers are: 2 / n for n Gaussian entries
    that know nothing of each other.
    """
    apart = positions[::2]
    return float(apart.var(ddof=1) / apart.mean() ** 2), len(apart) - 1.0
