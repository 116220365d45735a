"""Solvers of depth limits: ours, torchsde's and torchdiffeq's."""

from limits.solvers.closed_form import ClosedForm as ClosedForm
from limits.solvers.euler_maruyama import EulerMaruyama as EulerMaruyama
from limits.solvers.large_width import LargeWidthLimit as LargeWidthLimit
from limits.solvers.lazy import LazyLimit as LazyLimit
from limits.solvers.mean_ode_solution import MeanODESolution as MeanODESolution
from limits.solvers.particle_transport import ParticleTransport as ParticleTransport
from limits.solvers.span import LimitDescent as LimitDescent
from limits.solvers.via_torchdiffeq import TorchDiffEq as TorchDiffEq
from limits.solvers.via_torchsde import TorchSDE as TorchSDE
