"""Deep residual networks and what they become when depth goes to infinity."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING

import limits.closed_forms as closed_forms
import limits.data as data
import limits.sweeps as sweeps
from limits._typing import Progress as Progress
from limits.activations import Activation as Activation
from limits.activations import as_activation as as_activation
from limits.equations import DepthLimit as DepthLimit
from limits.equations import NoiseSample as NoiseSample
from limits.equations import depth_limit as depth_limit
from limits.equations import from_torchsde as from_torchsde
from limits.errors import fit_order as fit_order
from limits.errors import path_errors as path_errors
from limits.errors import strong_error as strong_error
from limits.errors import weak_error as weak_error
from limits.estimates import Estimate as Estimate
from limits.estimates import Order as Order
from limits.estimates import Verdict as Verdict
from limits.exceptions import BranchError as BranchError
from limits.exceptions import CouplingError as CouplingError
from limits.exceptions import DepthMismatchError as DepthMismatchError
from limits.exceptions import DTypeError as DTypeError
from limits.exceptions import ExperimentError as ExperimentError
from limits.exceptions import LimitsError as LimitsError
from limits.exceptions import NoLimitError as NoLimitError
from limits.exceptions import NonFiniteStateError as NonFiniteStateError
from limits.exceptions import ShapeError as ShapeError
from limits.exceptions import SolverError as SolverError
from limits.exceptions import StoreError as StoreError
from limits.mean_field import ErrorSplit as ErrorSplit
from limits.mean_field import LargeWidthLimit as LargeWidthLimit
from limits.mean_field import LazyLimit as LazyLimit
from limits.mean_field import LimitDescent as LimitDescent
from limits.mean_field import MeanFieldDescent as MeanFieldDescent
from limits.mean_field import MeanFieldResNet as MeanFieldResNet
from limits.mean_field import MeanFieldWeights as MeanFieldWeights
from limits.mean_field import MeanODE as MeanODE
from limits.mean_field import MeanODESolution as MeanODESolution
from limits.mean_field import ParticleTransport as ParticleTransport
from limits.mean_field import ShapeFit as ShapeFit
from limits.mean_field import TrainingPhase as TrainingPhase
from limits.mean_field import fit_shape as fit_shape
from limits.mean_field import phase_of as phase_of
from limits.mean_field import split_error as split_error
from limits.mean_field import training_phase as training_phase
from limits.networks import AveragedInner as AveragedInner
from limits.networks import Block as Block
from limits.networks import Inner as Inner
from limits.networks import ResNet as ResNet
from limits.networks import embed as embed
from limits.networks import readout as readout
from limits.paths import BrownianPath as BrownianPath
from limits.paths import FractionalPath as FractionalPath
from limits.paths import IIDPath as IIDPath
from limits.paths import SmoothPath as SmoothPath
from limits.paths import TrainedPath as TrainedPath
from limits.paths import WeightPath as WeightPath
from limits.paths import WeightSample as WeightSample
from limits.randomness import Stream as Stream
from limits.solvers import ClosedForm as ClosedForm
from limits.solvers import EulerMaruyama as EulerMaruyama
from limits.solvers import TorchDiffEq as TorchDiffEq
from limits.solvers import TorchSDE as TorchSDE
from limits.studies import ConvergenceStudy as ConvergenceStudy
from limits.studies import InfiniteDepthExpectation as InfiniteDepthExpectation
from limits.studies import convergence_study as convergence_study
from limits.studies import infinite_depth_expectation as infinite_depth_expectation
from limits.training import AnalysedEnsemble as AnalysedEnsemble
from limits.training import Configuration as Configuration
from limits.training import ConvResNet as ConvResNet
from limits.training import Recipe as Recipe
from limits.training import ResNetModule as ResNetModule
from limits.training import TrainedClassifier as TrainedClassifier
from limits.training import TrainedEnsemble as TrainedEnsemble
from limits.training import descend_squares as descend_squares
from limits.training import train_analysed as train_analysed
from limits.training import train_classifier as train_classifier
from limits.training import train_ensemble as train_ensemble
from limits.trajectory import Trajectory as Trajectory
from limits.user_models import DepthCheck as DepthCheck
from limits.user_models import DepthRegularity as DepthRegularity
from limits.user_models import ScaledResiduals as ScaledResiduals
from limits.user_models import WeightRegularity as WeightRegularity
from limits.user_models import depth_check as depth_check
from limits.user_models import read_layers as read_layers
from limits.user_models import scale_residuals as scale_residuals
from limits.user_models import weight_regularity as weight_regularity

if TYPE_CHECKING:
    import limits.plots as plots

try:
    __version__ = version("resnet-limits")
except PackageNotFoundError:
    __version__ = "0+uninstalled"


def __getattr__(name: str) -> ModuleType:
    # matplotlib takes a second to import, which only those who draw should wait for.
    if name == "plots":
        return import_module("limits.plots")
    raise AttributeError(f"module 'limits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "plots"})
