"""Solvers of depth limits: ours, torchsde's and torchdiffeq's."""

from limits.solvers.closed_form import ClosedForm as ClosedForm
from limits.solvers.euler_maruyama import EulerMaruyama as EulerMaruyama
from limits.solvers.extrapolation import MidpointExtrapolation as MidpointExtrapolation
from limits.solvers.via_torchdiffeq import TorchDiffEq as TorchDiffEq
from limits.solvers.via_torchsde import TorchSDE as TorchSDE
