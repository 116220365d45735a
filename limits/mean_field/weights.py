"""The weights of mean-field networks: neurons of all layers, and frozen embeddings."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from limits.randomness import Stream

__all__ = ["Embeddings", "MeanFieldWeights", "draw_embeddings", "draw_neurons"]

Embeddings = Literal["gaussian", "orthogonal"]


@dataclass(frozen=True)
class MeanFieldWeights:
    """A draw of the neurons (u, v) of every layer, with the frozen embeddings if there are any.

    Parameters
    ----------
    u, v : Tensor
        Input and output weights of order sqrt(D), shape ``(layer, path, width, neuron)``.
    embedding : Tensor or None
        W_E, shape ``(path, features, width)``: h^0 = x W_E.
    readout : Tensor or None
        W_U, shape ``(path, width, outputs)``: y = h^L W_U / D.
    tag : str
        Name of the draw. Descents that start from one draw are coupled path by path.
    """

    u: Tensor
    v: Tensor
    embedding: Tensor | None
    readout: Tensor | None
    tag: str

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return self.u.shape[0]

    @property
    def n_paths(self) -> int:
        """Number of networks side by side."""
        return self.u.shape[1]

    @property
    def width(self) -> int:
        """Embedding dimension D, the size of the hidden state."""
        return self.u.shape[2]

    @property
    def hidden_width(self) -> int:
        """Neurons M of a layer."""
        return self.u.shape[3]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of all weights."""
        return self.u.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.u.device

    def clone(self) -> "MeanFieldWeights":
        """Return the same neurons in memory of their own."""
        return replace(self, u=self.u.clone(), v=self.v.clone())


def draw_neurons(
    stream: Stream,
    shape: tuple[int, int, int, int],
    *,
    spreads: tuple[float, float],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return u and v of ``(layer, path, width, neuron)`` with entries N(0, spread^2).

    A shallower draw, or one of fewer paths, is a part of a deeper or larger one.
    """
    depth, n_paths, width, neurons = shape
    u, v = (torch.empty(shape, dtype=dtype, device=device) for _ in spreads)
    for layer in range(depth):
        drawn = stream.normals(0, n_paths, 2 * width * neurons, layer, device=device)
        pairs = drawn.view(n_paths, neurons, 2, width).permute(2, 0, 3, 1)
        u[layer].copy_(pairs[0]).mul_(spreads[0])
        v[layer].copy_(pairs[1]).mul_(spreads[1])
    return u, v


def draw_embeddings(
    stream: Stream,
    shape: tuple[int, int, int, int],
    kind: Embeddings,
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return W_E ``(path, features, width)`` and W_U ``(path, width, outputs)``.

    Entries are N(0, 1). Orthogonal ones have all columns of both orthogonal to each other and of
    norm sqrt(D), which is what Gaussian ones tend to as D grows.
    """
    n_paths, features, width, outputs = shape
    # Layers of their own: features do not move when there are more outputs.
    rows = torch.cat(
        [
            stream.normals(0, n_paths, count * width, layer).view(n_paths, count, width).double()
            for layer, count in enumerate((features, outputs))
        ],
        dim=1,
    )
    if kind == "orthogonal":
        q, r = torch.linalg.qr(rows.mT)
        # With a positive diagonal of R the frame is uniformly distributed.
        signs = torch.diagonal(r, dim1=-2, dim2=-1).sign()
        rows = (q * signs.unsqueeze(-2)).mT * width**0.5
    rows = rows.to(dtype).to(device)
    embedding, readout = rows.split((features, outputs), dim=1)
    return embedding.contiguous(), readout.mT.contiguous()
