"""Shapes and closed sets of names, checked at run time in the tests only, and callbacks."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Array",
    "BlockName",
    "Exponents",
    "Keep",
    "LayerMatrices",
    "Matrices",
    "Nonfinite",
    "Progress",
    "Regime",
    "State",
    "States",
    "TimeUnit",
    "TrainableBlock",
]

Array: TypeAlias = NDArray[np.float64]
State: TypeAlias = Float[Tensor, "path input width"]
States: TypeAlias = Float[Tensor, "time path input width"]
Exponents: TypeAlias = Int[Tensor, "path input"]
Matrices: TypeAlias = Float[Tensor, "path width width"]
LayerMatrices: TypeAlias = Float[Tensor, "path layer width width"]

BlockName = Literal["res-1", "res-2", "res-3", "post-relu"]
TrainableBlock = Literal["res-1", "res-2", "res-3"]
Keep = Literal["terminal", "all"]
Nonfinite = Literal["raise", "keep"]
Regime = Literal["identity", "limit", "explosion", "contraction"]
TimeUnit = Literal["time", "layer"]

Progress = Callable[[float, float, str], None]
"""Called as progress(done, total, label)."""
