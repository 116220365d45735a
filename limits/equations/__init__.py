"""Limits of deep networks as equations."""

from limits.equations.depth_limit import DepthLimit as DepthLimit
from limits.equations.depth_limit import Driver as Driver
from limits.equations.depth_limit import depth_limit as depth_limit
from limits.equations.noise import NoiseSample as NoiseSample
