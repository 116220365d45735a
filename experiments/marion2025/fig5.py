"""Gradients against depth, smooth weights: three regimes."""

import xarray as xr

import limits
from limits.experiments.marion2025 import _against_depth as depthwise
from limits.experiments.marion2025 import _smooth
from limits.experiments.marion2025._ratios import CITATION as CITATION

Config = depthwise.Config
SCALES = _smooth.SCALES
axes, cost = depthwise.axes, depthwise.cost
draw, check = _smooth.draw, _smooth.check


def task(
    config: Config, *, seed: int, law: str, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Measure one law at one depth."""
    return depthwise.scan(
        config, seed=seed, law=law, depth=depth, quantity="gradient", progress=progress
    )
