"""The frozen input and output layers, h_0 = A x or relu(A x) and y = B h_L."""

from typing import Literal

import torch
from torch import Tensor

from limits.checks import check_choice, check_count, check_dtype, check_finite
from limits.exceptions import ShapeError
from limits.modes import keeps_dtypes
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["embed", "readout"]

InputActivation = Literal["identity", "relu"]


@plain_numbers
@keeps_dtypes
def embed(
    inputs: Tensor,
    *,
    width: int,
    seed: int,
    dtype: torch.dtype = torch.float64,
    activation: InputActivation = "identity",
) -> Tensor:
    """Embed data into the hidden space, h_0 = A x with frozen A of N(0, 1 / width) entries.

    Or h_0 = relu(A x), A of N(0, 2 / width) entries. Either way E|h_0|^2 = |x|^2 at every width.

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
    activation : {"identity", "relu"}
        What acts on A x.

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
    Marion et al. (2025), Section 2 (input layer A); Zhang et al., "Stabilize deep ResNet with a
    sharp scaling factor tau", Mach. Learn. 111 (2022), Section 2, for relu(A x).

    Examples
    --------
    >>> embed(torch.ones(3, 64), width=8, seed=0).shape
    torch.Size([3, 8])
    """
    check_count(width, "width")
    check_choice(activation, "activation", InputActivation)
    if not isinstance(inputs, Tensor) or inputs.ndim != 2 or inputs.numel() == 0:
        found = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ShapeError(
            f"inputs must be a tensor of shape (input, features), found {found}. Flatten images "
            "with x.flatten(1)."
        )
    check_finite(inputs, "the tensor inputs")
    features = inputs.shape[1]
    stream = Stream(seed, f"embedding/features={features}/width={width}")
    normals = stream.normals(0, 1, features * width, device=inputs.device)
    matrix = normals.reshape(features, width)
    h0 = (inputs.to(dtype) @ matrix.to(dtype)) / width**0.5
    return torch.relu(h0 * 2**0.5) if activation == "relu" else h0


@plain_numbers
def readout(*, width: int, outputs: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the frozen output layer B of y = B h_L, with N(0, 1 / outputs) entries.

    E|B h|^2 = |h|^2 for every h: ``out.terminal @ B.mT`` are the outputs, and ``e @ B`` is
    dLoss/dh_L for the gradient e of the loss with respect to the outputs.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    outputs : int
        Length of an output.
    seed : int
        Seed of B, which depends on nothing else but the width and the number of outputs.
    dtype : torch.dtype
        Precision of the result.

    Returns
    -------
    Tensor
        B, shape ``(outputs, width)``.

    Raises
    ------
    ShapeError
        If `width` or `outputs` is not a positive integer.

    References
    ----------
    Zhang et al., "Stabilize deep ResNet with a sharp scaling factor tau", Mach. Learn. 111
    (2022), Section 2 (output layer B).

    Examples
    --------
    >>> readout(width=8, outputs=10, seed=0).shape
    torch.Size([10, 8])
    """
    check_count(width, "width")
    check_count(outputs, "outputs")
    check_dtype(dtype)
    stream = Stream(seed, f"readout/outputs={outputs}/width={width}")
    normals = stream.normals(0, 1, outputs * width)
    return normals.reshape(outputs, width).to(dtype) / outputs**0.5
