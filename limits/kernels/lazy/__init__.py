"""Passes of residual networks through Gaussian matrices that are only asked questions.

Loops of numba for CPUs: one call walks a range of paths through all layers, asks, remembers what
was answered, and goes on.
"""

from limits.kernels.lazy.passes import Matter as Matter
from limits.kernels.lazy.passes import Tolerance as Tolerance
from limits.kernels.lazy.passes import ask_back as ask_back
from limits.kernels.lazy.passes import ask_forth as ask_forth
from limits.kernels.lazy.passes import ask_with_tangents as ask_with_tangents
