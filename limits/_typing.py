"""Shapes and closed sets of names, checked at run time in the tests only."""

from typing import Literal, TypeAlias

from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "BlockName",
    "Device",
    "Exponents",
    "Keep",
    "LayerMatrices",
    "LogNorms",
    "Matrices",
    "Nonfinite",
    "Regime",
    "State",
    "States",
    "TimeUnit",
    "TrainableBlock",
]

State: TypeAlias = Float[Tensor, "path input width"]
States: TypeAlias = Float[Tensor, "time path input width"]
LogNorms: TypeAlias = Float[Tensor, "time path input"]
Exponents: TypeAlias = Int[Tensor, "path input"]
Matrices: TypeAlias = Float[Tensor, "path width width"]
LayerMatrices: TypeAlias = Float[Tensor, "path layer width width"]

BlockName = Literal["res-1", "res-2", "res-3", "post-relu"]
TrainableBlock = Literal["res-1", "res-2", "res-3"]
Keep = Literal["terminal", "all"]
Nonfinite = Literal["raise", "keep"]
Regime = Literal["identity", "limit", "explosion", "contraction"]
Device: TypeAlias = str
TimeUnit = Literal["time", "layer"]
