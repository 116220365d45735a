"""The result of an infinite-depth expectation."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["DepthLevel", "InfiniteDepthExpectation", "two_sided_quantile"]

_TEXTS = ("coupling", "equation", "network", "path")


def two_sided_quantile(probability: float) -> float:
    """Return the z with P(|Z| <= z) = probability of a standard normal Z."""
    return NormalDist().inv_cdf((1 + probability) / 2)


@dataclass(frozen=True)
class DepthLevel:
    """One level of a multilevel estimate.

    Parameters
    ----------
    depth : int
        Depth of the deep network; the shallow one has half of it, and the first level none.
    n : int
        Number of draws, each of them used with both signs.
    mean, variance : float
        Of phi(deep) - phi(shallow), averaged over both signs. The variance includes what the
        draws may have missed, which is much where few of them differ from the rest; it is at
        least a quarter of that of the level before.
    weight : float
        Factor of the mean in the value.
    evaluations : int
        Layers evaluated.
    """

    depth: int
    n: int
    mean: float
    variance: float
    weight: float
    evaluations: int


@dataclass(frozen=True, repr=False)
class InfiniteDepthExpectation:
    """E phi(H_1) of an infinitely deep network, to a stated accuracy.

    Parameters
    ----------
    value : float
        The estimate, sum of weight * mean over the levels.
    standard_error : float
        Square root of the sum of weight^2 * variance / n. It is not zero where no event was
        seen: n draws do not exclude one of probability 3 / n.
    bias : float
        Estimated size of what depth the levels lack, erring upwards.
    tolerance : float
        What was asked for: standard_error + bias is at most that, or with `confidence` p its
        normal quantile times standard_error + bias.
    levels : tuple of DepthLevel
        From shallow to deep; none where the answer is exact.
    coupling : {"isotropic", "path", "exact"}
        What deep and shallow networks shared.
    equation, network, path : str
        The limit, the network and the law of its weights.
    seed, width, n_inputs : int
        As asked.
    confidence : float or None
        Probability that was asked for of lying within the tolerance.
    """

    value: float
    standard_error: float
    bias: float
    tolerance: float
    levels: tuple[DepthLevel, ...]
    coupling: Literal["isotropic", "path", "exact"]
    equation: str
    network: str
    path: str
    seed: int
    width: int
    n_inputs: int
    confidence: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """Value ± (z standard errors + bias): of probability `confidence`, or 95 %, z = 1.96."""
        half = self._reach + self.bias
        return self.value - half, self.value + half

    @property
    def _reach(self) -> float:
        asked = 0.95 if self.confidence is None else self.confidence
        return two_sided_quantile(asked) * self.standard_error

    @property
    def evaluations(self) -> int:
        """Layers evaluated in all, each for one draw of weights and all inputs."""
        return sum(level.evaluations for level in self.levels)

    @property
    def depth(self) -> int | None:
        """The deepest network used."""
        return self.levels[-1].depth if self.levels else None

    def __repr__(self) -> str:
        return f"InfiniteDepthExpectation({self})"

    def __str__(self) -> str:
        if not self.levels:
            return f"{self.value:.6g}, exact"
        digits = max(2, 1 - math.floor(math.log10(max(self.tolerance, 1e-300))))
        depths = f"L = {self.levels[0].depth}-{self.depth}"
        return (
            f"{self.value:.{digits}f} ± {self._reach:.2g}, bias at most "
            f"{self.bias:.1g}, {self.coupling} coupling, {depths}, "
            f"{self.evaluations:.2g} layer evaluations"
        )

    def to_dataset(self) -> "Dataset":
        """Return everything as a Dataset with named axes, ready for a netCDF file."""
        attrs: dict[str, str | int | float] = {name: getattr(self, name) for name in _TEXTS}
        attrs.update(width=self.width, n_inputs=self.n_inputs, tolerance=self.tolerance)
        if self.confidence is not None:
            attrs["confidence"] = self.confidence
        # netCDF has no integers beyond 64 bits, and a seed may be any integer.
        attrs["seed"] = str(self.seed)
        columns = ("n", "mean", "variance", "weight", "evaluations")
        variables = {
            name: ("depth", [getattr(level, name) for level in self.levels]) for name in columns
        }
        numbers = {name: getattr(self, name) for name in ("value", "standard_error", "bias")}
        coords = {"depth": [level.depth for level in self.levels]}
        from xarray import Dataset

        return Dataset({**variables, **numbers}, coords=coords, attrs=attrs)
