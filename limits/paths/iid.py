"""Independent weights that are not Gaussian: a limit in law only."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limits.checks import check_choice
from limits.paths.base import Family, WeightPath
from limits.paths.sources import IndependentSource
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["IIDPath"]

Law = Literal["uniform", "rademacher"]
_HALF_WIDTH = math.sqrt(3)


@plain_numbers
@dataclass(frozen=True)
class IIDPath(WeightPath):
    """I.i.d. weights across layers from a symmetric law of variance 1 / width.

    Sums of increments of one draw converge to Brownian motion in law, not path by path: weights
    that are uniform at every depth are not increments of one process. A shallower reading sums
    increments, so its weights are sums of the drawn ones.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    law : {"uniform", "rademacher"}
        Uniform on [-sqrt(3 / d), sqrt(3 / d)], or +-1 / sqrt(d).

    Raises
    ------
    LimitsError
        If `law` is unknown. Use one of the two, or `BrownianPath` for Gaussian weights.

    References
    ----------
    Marion et al. (2025), Section 2 (initialisation) and Theorem 4 (limit).

    Examples
    --------
    >>> sample = IIDPath(4, law="rademacher").sample(depth=4, n_paths=16, seed=0)
    >>> sample.layer_weights.abs().unique()
    tensor([0.5000], dtype=torch.float64)
    """

    law: Law = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.law, "law", Law, "Use BrownianPath for Gaussian weights.")

    @property
    def family(self) -> Family:
        """Row of the theorem table."""
        return "iid"

    @property
    def index(self) -> float:
        """Index gamma = 1/2."""
        return 0.5

    @property
    def label(self) -> str:
        """Name of the law."""
        return f"iid-{self.law}"

    def source(self, *, depth: int, seed: int, role: str) -> IndependentSource:
        """Return the numbers behind a draw."""
        stream = self.stream(seed=seed, role=role, depth=depth)
        if self.law == "uniform":
            scale = _HALF_WIDTH * 2.0**-31
            return IndependentSource.of_matrices(
                stream, self.width, depth, _uniform, "centred", scale
            )
        return IndependentSource.of_matrices(stream, self.width, depth, Stream.signs, "sign")


def _uniform(
    stream: Stream,
    first: int,
    n_paths: int,
    size: int,
    layer: int,
    *,
    n_layers: int,
    device: torch.device,
) -> Tensor:
    return stream.centred_uniforms(
        first, n_paths, size, _HALF_WIDTH, layer, n_layers=n_layers, device=device
    )
