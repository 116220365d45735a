"""Hidden states against depth, i.i.d. weights: three regimes on exact curves."""

import xarray as xr

import limits
from limits.experiments.marion2025 import _against_depth as depthwise
from limits.experiments.marion2025 import _independent
from limits.experiments.marion2025._ratios import CITATION as CITATION

Config = depthwise.Config
SCALES = _independent.SCALES
axes, cost = depthwise.axes, depthwise.cost
draw, check = _independent.draw, _independent.check


def task(
    config: Config, *, seed: int, law: str, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Measure one law at one depth."""
    return depthwise.scan(
        config, seed=seed, law=law, depth=depth, quantity="output", progress=progress
    )
