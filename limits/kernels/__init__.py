"""Numbers that are a function of their address, and the loops that use them.

One interface, `fill`; loops of numba for CPUs, kernels of Triton for CUDA, plain torch for every
other device and for comparison. All draw the same bits. A kernel takes tensors and knows no
networks.
"""

from limits.kernels.filling import fill as fill
from limits.kernels.philox import STREAM_VERSION as STREAM_VERSION
from limits.kernels.philox import Key as Key
from limits.kernels.philox import NumberKind as NumberKind
from limits.kernels.philox import stream_key as stream_key
