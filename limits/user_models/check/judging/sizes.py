"""How large the branches are: a law in depth and layer, and what it predicts of their sum."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limits.user_models.check.judging.growth import MARGIN, Growth, slopes

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["layer_decay", "predicted_growth", "size_slopes"]

_Array = NDArray[np.float64]


def layer_decay(data: "Dataset") -> tuple[float, _Array] | None:
    """Return exponents q and beta of branches of size L^-beta k^-q, k = 1 ... L, None if q = 0.

    As where layer k begins with weights of size 1/sqrt(k): a deeper network then begins with the
    layers of a shallower one, the root mean square of its branches falls with L, and their sum
    grows like sqrt(log L).

    Parameters
    ----------
    data : Dataset
        Variables over ``(depth, seed)`` at one phase, see `limits.depth_check`.

    Returns
    -------
    tuple of float and array, (seed,)
    """
    sizes, groups = data["frozen_contribution"].to_numpy(), data["group"].to_numpy()
    first = int(bool(data["normalised"].any()))
    rows, places = [], []
    for place, count in enumerate(data["multiplying"].to_numpy()):
        seen: dict[int, int] = {}
        for layer, group in enumerate(groups[place, :count]):
            seen[group] = rank = seen.get(group, 0) + 1
            # The first branch of a normalised stream may answer to a state of another size.
            if rank > first:
                rows.append((int(group), np.log(count), np.log(rank)))
                places.append((place, layer))
    names = sorted({group for group, _, _ in rows})
    kinds = np.array([[group == name for name in names] for group, _, _ in rows], float)
    design = np.column_stack([kinds, [row[1:] for row in rows]])
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([sizes[place, :, layer] for place, layer in places]))
    if not np.isfinite(logs).all() or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    solution = np.linalg.lstsq(design, logs, rcond=None)[0]
    decay = Growth.of_slopes(-solution[-1])
    if decay.high > -MARGIN and decay.low < MARGIN:
        return None
    return decay.value, -solution[-2]


def size_slopes(data: "Dataset") -> _Array:
    """Return the exponent in L of the size of the branches while the stream is frozen, by seed."""
    decay = layer_decay(data)
    if decay is not None:
        return -decay[1]
    return slopes(data["frozen_size"].to_numpy(), _counts(data))


def predicted_growth(data: "Dataset") -> Growth:
    """Return what branches add up to while the stream is frozen, with critical exponent >= 1/2."""
    coherence = slopes(data["frozen_sum"].to_numpy(), _counts(data))
    critical = np.maximum(coherence, 0.5)
    decay = layer_decay(data)
    if decay is not None:
        # sum of k^(-q) over L layers: L^(critical - q), or bounded up to logarithms.
        critical = np.maximum(critical - decay[0], 0.0)
        if abs(float(np.mean(critical))) < MARGIN:
            critical = np.zeros_like(critical)
    return Growth.of_slopes(critical + size_slopes(data))


def _counts(data: "Dataset") -> _Array:
    return data["multiplying"].to_numpy().astype(float)
