"""The weights of one trained network as a path."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limits._typing import LayerMatrices
from limits.checks import check_finite, check_real, checked_times, is_count, is_number
from limits.exceptions import DepthMismatchError, LimitsError, ShapeError
from limits.paths.base import Family, WeightPath
from limits.paths.sample import WeightSample
from limits.scalars import plain_numbers

__all__ = ["TrainedPath"]


@plain_numbers
@dataclass(frozen=True, eq=False, init=False)
class TrainedPath(WeightPath):
    """Given weights V_k, one path, read at a shallower depth by sampling every L / L'-th layer.

    Between its nodes k / L the path is linear in t, after the last one constant.

    Parameters
    ----------
    weights : Tensor
        Order-one weights V_k, shape ``(layer, width, width)``: what stands in the network's
        layers, without the residual scale.
    index : float
        Regularity gamma, required because one network does not tell: 1 for weights that vary
        smoothly with the layer, 1/2 for rough ones. Increments are V_k / L^gamma.
    inner : Tensor, optional
        Inner weights W_k of the same shape, for res-2 and res-3.

    Raises
    ------
    ShapeError, NonFiniteStateError, LimitsError
        If the weights are not ``(layer, width, width)`` and finite, or `index` not in (0, 1].

    Examples
    --------
    >>> path = TrainedPath(torch.ones(8, 2, 2, dtype=torch.float64), index=1.0)
    >>> path.sample().at_depth(4).increments[0, 0]
    tensor([[0.2500, 0.2500],
            [0.2500, 0.2500]], dtype=torch.float64)
    """

    weights: Tensor
    trained_index: float
    inner_weights: Tensor | None

    def __init__(self, weights: Tensor, *, index: float, inner: Tensor | None = None) -> None:
        _check_weights(weights, "weights")
        if inner is not None:
            _check_weights(inner, "inner")
            if inner.shape != weights.shape:
                raise ShapeError(
                    f"inner weights have shape {tuple(inner.shape)}, the outer ones "
                    f"{tuple(weights.shape)}. Pass one inner matrix per layer."
                )
        if not is_number(index) or not 0 < index <= 1:
            raise LimitsError(
                f"index must lie in (0, 1], found {index!r}. Use 1.0 for weights that are smooth "
                "in the layer, 0.5 for independent ones."
            )
        object.__setattr__(self, "weights", weights.detach().clone())
        object.__setattr__(self, "trained_index", float(index))
        object.__setattr__(self, "inner_weights", None if inner is None else inner.detach().clone())
        super().__init__(weights.shape[1])

    @property
    def family(self) -> Family:
        """Smooth, when its index says so; else a row of no theorem."""
        return "smooth" if self.trained_index == 1 else "trained"

    @property
    def index(self) -> float:
        """Index gamma, as given."""
        return self.trained_index

    @property
    def label(self) -> str:
        """Name of the law, with a digest of the weights."""
        digest = hashlib.sha256()
        for weights in (self.weights, self.inner_weights):
            if weights is not None:
                digest.update(weights.double().cpu().contiguous().numpy().tobytes())
        return f"trained-{digest.hexdigest()[:8]}"

    def sample(
        self,
        *,
        depth: int | None = None,
        n_paths: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
        lazy: bool = False,
    ) -> WeightSample:
        """Return the one path there is; it takes no seed.

        Parameters
        ----------
        depth : int, optional
            A divisor of the number of layers; all layers when left out.
        dtype, device
            As in `WeightPath.sample`.

        Raises
        ------
        DepthMismatchError, LimitsError
            If `depth` does not divide the number of layers, or several paths are asked for.
        """
        layers = len(self.weights)
        if n_paths != 1:
            raise LimitsError(
                f"a trained network is one path, asked for {n_paths}. Leave n_paths out."
            )
        whole = super().sample(
            depth=layers, n_paths=1, seed=seed, dtype=dtype, device=device, lazy=lazy
        )
        if depth is None:
            return whole
        if not is_count(depth) or layers % depth:
            raise DepthMismatchError(
                f"cannot read {layers} trained layers at depth {depth}, which does not divide "
                f"{layers}. Use a divisor of {layers}."
            )
        return whole.at_depth(depth)

    def source(self, *, depth: int, seed: int, role: str) -> "TrainedSource":
        """Return the weights behind the path."""
        if role == "inner":
            if self.inner_weights is None:
                raise LimitsError(
                    "this block reads inner weights, and the trained path has none. Pass "
                    "TrainedPath(weights, index=..., inner=inner_weights)."
                )
            return TrainedSource(self.inner_weights, f"{self.label}/inner")
        return TrainedSource(self.weights, f"{self.label}/outer")

    def weights_at(self, sample: WeightSample, time: float | Tensor) -> Tensor:
        """Return V(t), linear between nodes; see `WeightSample.weights_at`."""
        times = checked_times(time)
        source = self.source(depth=sample.depth, seed=sample.seed, role=sample.role)
        weights = source.open(0, 1).at(times.reshape(-1)).transpose(0, 1).mT
        weights = weights.to(sample.device, sample.dtype)
        return weights if times.ndim else weights[0]


@dataclass(frozen=True, eq=False)
class TrainedSource:
    """Weights of one network, transposed on reading."""

    weights: Tensor
    name: str

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.weights)

    @property
    def slab_layers(self) -> int:
        """All layers at once: they are in memory anyway."""
        return len(self.weights)

    @property
    def bytes_per_path(self) -> int:
        """Nothing is drawn."""
        return 8 * self.weights.numel()

    @property
    def reading(self) -> Literal["sum", "point"]:
        """Shallower networks sample layers."""
        return "point"

    @property
    def scale(self) -> float:
        """Weights come as they are."""
        return 1.0

    def open(
        self, first_path: int, n_paths: int, device: torch.device | None = None
    ) -> "TrainedSource":
        """Return itself, the reader of the one path."""
        return self

    def slab(self, part: int) -> LayerMatrices:
        """Return all layers, transposed."""
        return self.weights.mT.unsqueeze(0)

    def at(self, times: Tensor) -> LayerMatrices:
        """Return the interpolated weights, transposed, ``(1, time, width, width)``."""
        position = times.to(self.weights.device) * self.depth
        left = position.floor().long().clamp(0, self.depth - 1)
        right = (left + 1).clamp_max(self.depth - 1)
        share = (position - left).clamp(0, 1).reshape(-1, 1, 1)
        # In double precision: in that of the weights a smooth path would have steps.
        nodes = self.weights[left].double(), self.weights[right].double()
        values = torch.lerp(nodes[0], nodes[1], share)
        return values.mT.unsqueeze(0)


def _check_weights(weights: Tensor, name: str) -> None:
    if isinstance(weights, Tensor):
        check_real(weights, name)
    if (
        not isinstance(weights, Tensor)
        or weights.ndim != 3
        or weights.shape[1] != weights.shape[2]
        or not weights.dtype.is_floating_point
        or weights.numel() == 0
    ):
        found = (
            f"{weights.dtype} of shape {tuple(weights.shape)}"
            if isinstance(weights, Tensor)
            else type(weights).__name__
        )
        raise ShapeError(
            f"{name} must be a floating-point tensor (layer, width, width), found {found}. "
            "Stack the layers with torch.stack."
        )
    check_finite(weights, name, "Load a checkpoint from before the training diverged.")
