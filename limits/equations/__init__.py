"""Limits of deep networks as equations."""

from limits.equations.foreign import ForeignSDE as ForeignSDE
from limits.equations.foreign import from_torchsde as from_torchsde
from limits.equations.limit import DepthLimit as DepthLimit
from limits.equations.limit import Driver as Driver
from limits.equations.lookup import depth_limit as depth_limit
from limits.equations.noise import NoiseSample as NoiseSample
