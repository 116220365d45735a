"""Deep residual networks and what they become when depth goes to infinity."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limits.torch_range import warn_outside_range

if TYPE_CHECKING:
    import limits.closed_forms as closed_forms
    import limits.data as data
    import limits.mean_field as mean_field
    import limits.plots as plots
    import limits.sweeps as sweeps
    import limits.training as training
    import limits.user_models as user_models
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
    from limits.mean_field import MeanFieldResNet as MeanFieldResNet
    from limits.mean_field import MeanODE as MeanODE
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
    from limits.solvers import MidpointExtrapolation as MidpointExtrapolation
    from limits.solvers import TorchDiffEq as TorchDiffEq
    from limits.solvers import TorchSDE as TorchSDE
    from limits.studies import ConvergenceStudy as ConvergenceStudy
    from limits.studies import InfiniteDepthExpectation as InfiniteDepthExpectation
    from limits.studies import convergence_study as convergence_study
    from limits.studies import infinite_depth_expectation as infinite_depth_expectation
    from limits.trajectory import Trajectory as Trajectory
    from limits.user_models import depth_check as depth_check
    from limits.user_models import scale_residuals as scale_residuals
    from limits.user_models import scaled_residuals as scaled_residuals
    from limits.user_models import weight_regularity as weight_regularity

    __version__: str

# Where a name is defined, so that it is imported when it is asked for: the command line must
# answer `limits --help` without torch, and nobody waits for a wing that is not used.
_MODULES = (
    "closed_forms", "data", "mean_field", "plots", "sweeps", "training", "user_models",
)  # fmt: skip
_FACE = {
    "_typing": "Progress",
    "activations": "Activation as_activation",
    "equations": "DepthLimit NoiseSample depth_limit from_torchsde",
    "errors": "fit_order path_errors strong_error weak_error",
    "estimates": "Estimate Order Verdict",
    "exceptions": "BranchError CouplingError DepthMismatchError DTypeError ExperimentError "
    "LimitsError NoLimitError NonFiniteStateError ShapeError SolverError StoreError",
    "mean_field": "MeanFieldResNet MeanODE",
    "networks": "Block Inner ResNet embed readout",
    "paths": "BrownianPath FractionalPath IIDPath SmoothPath TrainedPath WeightPath WeightSample",
    "randomness": "Stream",
    "solvers": "ClosedForm EulerMaruyama MidpointExtrapolation TorchDiffEq TorchSDE",
    "studies": "ConvergenceStudy InfiniteDepthExpectation convergence_study "
    "infinite_depth_expectation",
    "trajectory": "Trajectory",
    "user_models": "depth_check scale_residuals scaled_residuals weight_regularity",
}
# Names that moved behind a door of their own; they answer at the old address as well.
_MOVED = {
    "mean_field": "ErrorSplit LargeWidthLimit LazyLimit LimitDescent MeanFieldDescent "
    "MeanFieldWeights MeanODESolution ParticleTransport ShapeFit TrainingPhase fit_shape phase_of "
    "split_error training_phase",
    "networks": "AveragedInner",
    "training": "AnalysedEnsemble Configuration ConvResNet Recipe ResNetModule TrainedClassifier "
    "TrainedEnsemble descend_squares train_analysed train_classifier train_ensemble",
    "user_models": "DepthCheck DepthRegularity ScaledResiduals WeightRegularity read_layers",
}
_PUBLIC = {name: room for room, names in _FACE.items() for name in names.split()}
_HOMES = _PUBLIC | {name: room for room, names in _MOVED.items() for name in names.split()}

__all__ = [*_MODULES, *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


warn_outside_range()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"limits.{name}")
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(_hint(name))
    value = getattr(import_module(f"limits.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("resnet-limits")
    except PackageNotFoundError:
        return "0+uninstalled"


def _hint(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [*_MODULES, *_HOMES], n=3)
    found = (
        f"Did you mean {' or '.join(f'limits.{each}' for each in close)}?"
        if close
        else f"Its names are in dir(limits), those of the wings in {', '.join(_MODULES)}."
    )
    return f"module 'limits' has no attribute {name!r}. {found}"
