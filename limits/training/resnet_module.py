"""A residual network as a torch module, with the weights of all layers stacked."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from limits._typing import TrainableBlock
from limits.activations import Activation, as_activation
from limits.checks import (
    check_beta,
    check_choice,
    check_coefficient,
    check_count,
    check_dtype,
    check_real,
)
from limits.exceptions import ShapeError
from limits.paths import TrainedPath, WeightPath
from limits.randomness import Stream
from limits.scalars import plain_numbers
from limits.scaling import residual_scale

__all__ = ["ResNetModule", "initial_layers", "uniform_matrix"]


@plain_numbers
class ResNetModule(torch.nn.Module):
    """The network B h_L of h_0 = A x, h_{k+1} = h_k + c L^-beta V_k g(h_k), to be trained.

    Its weights begin as a draw of a weight path, so a module and a `limits.ResNet` of the same
    path, seed and depth are one network. A and B have uniform entries of variance 1 / features
    and 1 / width.

    Parameters
    ----------
    path : WeightPath
        The law of the weights across layers; its width is the network's.
    depth : int
        Number of layers L.
    seed : int
        Of the weights, A and B.
    activation : str or callable
        The s of the block, as in `limits.ResNet`.
    block : {"res-1", "res-2", "res-3"}
        V s(h), V s(W h) or V relu(W h).
    beta : float, optional
        Scaling exponent; the path's critical exponent when left out.
    coefficient : float
        The c of the residual scale.
    features, outputs : int, optional
        Length of an input and of an output. Without `features` inputs are hidden states
        (A is the identity), without `outputs` so are outputs.
    train_embedding, train_readout : bool
        Whether A and B require gradients.
    dtype : torch.dtype
        float32 or float64.

    Attributes
    ----------
    outer : Parameter
        V, shape ``(layer, width, width)``.
    inner : Parameter or None
        W of res-2 and res-3, of the same shape.
    embedding, readout : Parameter or None
        A, shape ``(width, features)``, and B, ``(outputs, width)``.

    Raises
    ------
    LimitsError
        If a name is unknown or a number out of range.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Sections 2 and 6.

    Examples
    --------
    >>> import limits
    >>> path = limits.SmoothPath(8)
    >>> net = ResNetModule(path, depth=32, seed=0, features=64, outputs=10)
    >>> net(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    >>> h0 = torch.ones(1, 8, dtype=torch.float64)
    >>> limits.ResNet("relu")(h0, net.as_path(index=1.0).sample()).terminal.shape
    torch.Size([1, 1, 8])
    """

    def __init__(
        self,
        path: WeightPath,
        *,
        depth: int,
        seed: int,
        activation: str | Callable[[Tensor], Tensor] | Activation = "relu",
        block: TrainableBlock = "res-1",
        beta: float | None = None,
        coefficient: float = 1.0,
        features: int | None = None,
        outputs: int | None = None,
        train_embedding: bool = True,
        train_readout: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_choice(block, "block", TrainableBlock)
        check_count(depth, "depth")
        check_dtype(dtype)
        self.depth, self.width, self.block = depth, path.width, block
        self.activation = as_activation("relu" if block == "res-3" else activation)
        self.residual_scale = _scale(path, depth, beta, coefficient)
        self.outer = torch.nn.Parameter(initial_layers(path, depth=depth, seed=seed, dtype=dtype))
        self.inner = self.embedding = self.readout = None
        if block != "res-1":
            drawn = initial_layers(path, depth=depth, seed=seed, dtype=dtype, role="inner")
            self.inner = torch.nn.Parameter(drawn)
        if features is not None:
            check_count(features, "features")
            drawn = uniform_matrix(path.width, features, seed=seed, name="embedding", dtype=dtype)
            self.embedding = torch.nn.Parameter(drawn, requires_grad=train_embedding)
        if outputs is not None:
            check_count(outputs, "outputs")
            drawn = uniform_matrix(outputs, path.width, seed=seed, name="readout", dtype=dtype)
            self.readout = torch.nn.Parameter(drawn, requires_grad=train_readout)

    @property
    def weights(self) -> Tensor:
        """A copy of the order-one weights V_k, shape ``(layer, width, width)``."""
        return self.outer.detach().clone()

    def as_path(self, index: float) -> TrainedPath:
        """Return the weights as they are now as a path, for networks, limits and studies.

        Parameters
        ----------
        index : float
            Regularity of the weights across layers, see `limits.TrainedPath`;
            `limits.weight_regularity` measures it.
        """
        inner = None if self.inner is None else self.inner.detach()
        return TrainedPath(self.outer.detach(), index=index, inner=inner)

    def hidden_state(self, inputs: Tensor) -> Tensor:
        """Return h_L, shape ``(input, width)``."""
        expected = self.width if self.embedding is None else self.embedding.shape[1]
        check_real(inputs, "the tensor inputs")
        if inputs.ndim != 2 or inputs.shape[1] != expected:
            raise ShapeError(
                f"inputs must have shape (input, {expected}), found {tuple(inputs.shape)}. Flatten "
                "images with x.flatten(1)."
            )
        h = inputs if self.embedding is None else inputs @ self.embedding.mT
        # Taken apart once: the gradient of indexing layer by layer would fill the whole stack
        # with zeros for every layer.
        outer = self.outer.unbind()
        inner = [None] * self.depth if self.inner is None else self.inner.unbind()
        for v, w in zip(outer, inner, strict=True):
            field = self.activation.value(h if w is None else h @ w.mT)
            h = h + self.residual_scale * (field @ v.mT)
        return h

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs B h_L, shape ``(input, outputs)``."""
        h = self.hidden_state(inputs)
        return h if self.readout is None else h @ self.readout.mT

    def extra_repr(self) -> str:
        """Say what the parameters do not show."""
        return (
            f"{self.block}, {self.activation.name}, depth={self.depth}, width={self.width}, "
            f"residual_scale={self.residual_scale:.4g}"
        )


def initial_layers(
    path: WeightPath, *, depth: int, seed: int, dtype: torch.dtype, role: str = "outer"
) -> Tensor:
    """Return the first draw of a path, order-one weights ``(layer, width, width)``."""
    sample = path.sample(depth=depth, n_paths=1, seed=seed)
    chosen = sample.inner if role == "inner" else sample
    return chosen.layer_weights[:, 0].to(dtype, copy=True)


def uniform_matrix(rows: int, columns: int, *, seed: int, name: str, dtype: torch.dtype) -> Tensor:
    """Return a matrix with entries uniform on [-sqrt(3 / columns), sqrt(3 / columns)]."""
    stream = Stream(seed, f"module/{name}/{rows}x{columns}")
    uniforms = stream.uniforms(0, 1, rows * columns).view(rows, columns)
    return (uniforms * 2 - 1).to(dtype) * math.sqrt(3 / columns)


def _scale(path: WeightPath, depth: int, beta: float | None, coefficient: float) -> float:
    check_beta(beta)
    check_coefficient(coefficient)
    return float(residual_scale(depth, path.critical_beta if beta is None else beta, coefficient))
