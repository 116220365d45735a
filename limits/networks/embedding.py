"""The frozen input layer h_0 = A x."""

import torch
from torch import Tensor

from limits.exceptions import NonFiniteStateError, ShapeError
from limits.paths.base import check_count
from limits.randomness import BLOCK, Stream

__all__ = ["embed"]


def embed(inputs: Tensor, *, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Embed data into the hidden space, h_0 = A x with frozen A of N(0, 1 / width) entries.

    E|h_0|^2 = |x|^2 at every width.

    Parameters
    ----------
    inputs : Tensor
        Data, shape ``(input, features)``.
    width : int
        Size d of the hidden state.
    seed : int
        Seed of A, which depends on nothing else but the number of features and the width.
    dtype : torch.dtype
        Precision of the result.

    Returns
    -------
    Tensor
        h_0, shape ``(input, width)``.

    Raises
    ------
    ShapeError
        If `inputs` is not two-dimensional. Flatten images with ``x.flatten(1)``.
    NonFiniteStateError
        If the data hold NaN or infinite values.

    References
    ----------
    Marion et al. (2025), Section 2 (input layer A).

    Examples
    --------
    >>> embed(torch.ones(3, 64), width=8, seed=0).shape
    torch.Size([3, 8])
    """
    check_count(width, "width")
    if not isinstance(inputs, Tensor) or inputs.ndim != 2 or inputs.numel() == 0:
        found = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ShapeError(
            f"inputs must be a tensor of shape (input, features), found {found}. Flatten images "
            "with x.flatten(1)."
        )
    bad = int((~torch.isfinite(inputs)).sum())
    if bad:
        raise NonFiniteStateError(
            f"inputs have {bad} NaN or infinite values out of {inputs.numel()}. Clean the data."
        )
    features = inputs.shape[1]
    stream = Stream(seed, f"embedding/features={features}/width={width}")
    normals = stream.normals(0, BLOCK, -(-features // BLOCK) * width)
    matrix = normals.reshape(-1)[: features * width].reshape(features, width).to(inputs.device)
    return (inputs.to(dtype) @ matrix.to(dtype)) / width**0.5
