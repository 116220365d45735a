"""What `weight_regularity` returns."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["NORMS", "DepthRegularity", "RegularityVerdict", "WeightRegularity"]

RegularityVerdict = Literal["smooth", "rough", "between", "unclear"]
NORMS = (
    "max_norm",
    "root_sum_squares",
    "sqrt_quadratic_variation",
    "cumulative_sum_norm",
    "variation_ratio",
)
"""The numbers whose slopes in depth tell smooth from rough."""


@dataclass(frozen=True, eq=False, repr=False)
class WeightRegularity:
    """The regularity of the weights of one network across its layers.

    All norms are Euclidean over the entries, |V_k|.

    Parameters
    ----------
    depth, entries : int
        Layers L and weights per layer.
    max_norm : float
        Largest |V_k|.
    root_sum_squares : float
        (sum_k |V_k|^2)^(1/2).
    sqrt_quadratic_variation : float
        (sum_k |V_(k+1) - V_k|^2)^(1/2).
    variation_ratio : float
        Square root of the quadratic variation over root sum of squares: sqrt(2) for independent
        layers, ~ 1 / L for smooth ones.
    cumulative_sum_norm : float
        |sum_k V_k|.
    detrended_cumulative_sum : array
        |X_k - (k / L) X_L| with X_k = V_0 + ... + V_(k-1), shape ``(layer + 1,)``: largest about
        (L / 4)^(1/2) |V_k| for independent layers.
    hurst, hurst_low, hurst_high : float
        Estimated Hurst index of X and its 95 % interval; above 1 the weights themselves are
        continuous in layer time, 2 where they are differentiable.
    verdict : {"smooth", "rough", "between", "unclear"}
        What kind of limit such weights lead to: ODE, SDE, or the Young equation between; unclear
        if the interval leaves all open.
    """

    depth: int
    entries: int
    max_norm: float
    root_sum_squares: float
    sqrt_quadratic_variation: float
    variation_ratio: float
    cumulative_sum_norm: float
    detrended_cumulative_sum: NDArray[np.float64]
    hurst: float
    hurst_low: float
    hurst_high: float
    verdict: RegularityVerdict

    def __repr__(self) -> str:
        return (
            f"WeightRegularity({self.verdict}: H = {self.hurst:.3f} [{self.hurst_low:.3f}, "
            f"{self.hurst_high:.3f}], sqrt QV / RSS = {self.variation_ratio:.3g}, "
            f"{self.depth} layers)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class DepthRegularity:
    """The regularity of weights by how their norms change with depth.

    Smooth weights of size L^-b have slopes -b (max norm), 1/2 - b (root sum of squares),
    -1/2 - b (square root of the quadratic variation), 1 - b (cumulative sum); independent ones
    -b, 1/2 - b, 1/2 - b, 1/2 - b. So the ratio of the third and the second has slope -1 or 0
    whatever b is, while the quadratic variation alone misleads: for independent weights with
    b = 1 it vanishes too.

    Parameters
    ----------
    networks : tuple of WeightRegularity
        One per network, in order of depth.
    """

    networks: tuple[WeightRegularity, ...]

    @property
    def slopes(self) -> dict[str, float]:
        """Slope of the logarithm of every norm in log L, by least squares."""
        depths = np.log([each.depth for each in self.networks])
        tiny = np.finfo(float).tiny
        return {
            name: float(
                np.polyfit(
                    depths, np.log([max(getattr(each, name), tiny) for each in self.networks]), 1
                )[0]
            )
            for name in NORMS
        }

    @property
    def verdict(self) -> RegularityVerdict:
        """``"smooth"`` if the ratio falls faster than L^-3/4, ``"rough"`` slower than L^-1/4."""
        slope = self.slopes["variation_ratio"]
        if slope < -0.75:
            return "smooth"
        return "rough" if slope > -0.25 else "between"

    def __repr__(self) -> str:
        depths = ", ".join(str(each.depth) for each in self.networks)
        slopes = ", ".join(f"{name} {value:+.2f}" for name, value in self.slopes.items())
        return f"DepthRegularity({self.verdict}: slopes {slopes}; depths {depths})"
