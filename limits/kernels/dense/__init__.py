"""Passes of residual networks through dense matrices that are drawn, multiplied and forgotten.

Loops of numba for CPUs, kernels of Triton for CUDA. The weights are those of `limits.kernels.fill`,
in every bit; states are rounded by the order of the sums, which no company of a path changes.
"""

from limits.kernels.dense.passes import DensePasses as DensePasses
from limits.kernels.dense.passes import advance_some as advance_some
from limits.kernels.dense.passes import pull_some as pull_some
from limits.kernels.dense.passes import push_some as push_some
from limits.kernels.dense.passes import work_of as work_of
from limits.kernels.dense.readings import DrawnMatrices as DrawnMatrices
from limits.kernels.dense.readings import LayerRule as LayerRule
from limits.kernels.dense.readings import Rung as Rung
