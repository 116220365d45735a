"""What mean-field networks and their limit accept as data, and what they say otherwise."""

from torch import Tensor

from limits.checks import check_count, check_finite, check_real
from limits.exceptions import DTypeError, LimitsError, ShapeError
from limits.mean_field.weights import Embeddings, MeanFieldWeights

__all__ = ["as_batch", "check_embeddings", "check_pairs"]


def as_batch(x: Tensor, weights: MeanFieldWeights, length: int, name: str) -> Tensor:
    """Return `x` as ``(path, input, length)``, expanded over repetitions where they share it."""
    n_paths = weights.n_paths
    if isinstance(x, Tensor):
        check_real(x, name)
    if not isinstance(x, Tensor) or x.ndim not in (2, 3) or x.shape[-1] != length:
        found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(
            f"{name} must have shape (input, {length}) or ({n_paths}, input, {length}), found "
            f"{found}. Transpose data whose samples are columns."
        )
    if x.shape[-2] == 0:
        raise ShapeError(f"{name} has no inputs, shape {tuple(x.shape)}. Pass at least one.")
    if x.ndim == 3 and len(x) != n_paths:
        raise ShapeError(
            f"{name} has {len(x)} repetitions, the weights have {n_paths}. Pass {n_paths}, or "
            f"one that all share, shape (input, {length})."
        )
    if x.dtype != weights.dtype or x.device.type != weights.device.type:
        raise DTypeError(
            f"{name} is {x.dtype} on {x.device.type}, the weights are {weights.dtype} on "
            f"{weights.device.type}. Use {name}.to(weights.device, weights.dtype)."
        )
    check_finite(x, name)
    return x.expand(n_paths, -1, -1) if x.ndim == 2 else x


def check_pairs(h0: Tensor, targets: Tensor) -> None:
    """Raise unless there are as many inputs as targets."""
    if h0.shape[1] != targets.shape[1]:
        raise ShapeError(
            f"there are {h0.shape[1]} inputs and {targets.shape[1]} targets. Pass one per input."
        )


def check_embeddings(
    width: int, features: int | None, outputs: int | None, kind: Embeddings
) -> None:
    """Raise unless there are features and outputs, or neither, and they fit the width."""
    if features is None and outputs is None:
        return
    if features is None or outputs is None:
        raise LimitsError(
            f"frozen embeddings have both features and outputs, found features={features} and "
            f"outputs={outputs}. Pass both, or neither for inputs of length {width}."
        )
    check_count(features, "features")
    check_count(outputs, "outputs")
    if kind == "orthogonal" and features + outputs > width:
        raise LimitsError(
            f"{features} features and {outputs} outputs cannot be orthogonal in dimension "
            f'{width}. Use embedding_dim >= {features + outputs} or embeddings="gaussian".'
        )
