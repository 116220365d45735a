"""The matrices, what a layer does with them, and how a network of one depth reads them."""

from dataclasses import dataclass

from torch import Tensor

from limits.kernels.philox import Key, NumberKind
from limits.kernels.pointwise.polynomials import ActivationCode

__all__ = ["DrawnMatrices", "LayerRule", "Rung"]


@dataclass(frozen=True)
class DrawnMatrices:
    """The numbers that matrices are made of, for a range of paths.

    Entry (j, i) of a layer's matrix, from input j to output i, is the number of entry
    j `width` + i of that layer.

    Parameters
    ----------
    outer, inner : Key
        Their streams; `inner` is None for blocks without inner weights.
    kind, scale
        What is made of the words, as in `limits.kernels.fill`.
    width, depth, first_path : int
        Size of the matrices, number of drawn layers, number of the first path.
    """

    outer: Key
    inner: Key | None
    kind: NumberKind
    scale: float
    width: int
    depth: int
    first_path: int


@dataclass(frozen=True)
class LayerRule:
    """What a layer does: h + factor V s(h), or with inner weights h + factor V s(W h + bias).

    Parameters
    ----------
    activation : str
        A name in `ACTIVATION_CODES`.
    reflects : bool
        Whether a relu acts on the sum.
    bias : float
        Added to W h.
    """

    activation: ActivationCode
    reflects: bool = False
    bias: float = 0.0


@dataclass(frozen=True)
class Rung:
    """How a network of one depth reads the matrices.

    Parameters
    ----------
    depth : int
        A divisor of the drawn depth: a layer's matrix is the sum of consecutive ones.
    factor : Tensor
        What products are multiplied by, one number per input.
    inner_scale : float
        What turns numbers to inner weights.
    period : int
        States are divided by a power of two after so many layers; 0 for never.
    stride : int
        The states of every so manieth layer are kept; a divisor of `depth`.
    """

    depth: int
    factor: Tensor
    inner_scale: float
    period: int
    stride: int

    @property
    def kept(self) -> int:
        """How many states are kept, both ends among them."""
        return self.depth // self.stride + 1
