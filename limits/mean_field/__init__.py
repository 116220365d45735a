"""Training of ResNets with wide blocks, and what it becomes: no weight path in sight."""

from limits.mean_field.descent import MeanFieldDescent as MeanFieldDescent
from limits.mean_field.errors import ErrorSplit as ErrorSplit
from limits.mean_field.errors import ShapeFit as ShapeFit
from limits.mean_field.errors import fit_shape as fit_shape
from limits.mean_field.errors import split_error as split_error
from limits.mean_field.mean_ode.equation import MeanODE as MeanODE
from limits.mean_field.mean_ode.solution import MeanODESolution as MeanODESolution
from limits.mean_field.mean_ode.solver import ParticleTransport as ParticleTransport
from limits.mean_field.phase import TrainingPhase as TrainingPhase
from limits.mean_field.phase import phase_of as phase_of
from limits.mean_field.phase import training_phase as training_phase
from limits.mean_field.resnet import MeanFieldResNet as MeanFieldResNet
from limits.mean_field.weights import MeanFieldWeights as MeanFieldWeights
from limits.mean_field.wide.large_width import LargeWidthLimit as LargeWidthLimit
from limits.mean_field.wide.lazy import LazyLimit as LazyLimit
from limits.mean_field.wide.span import LimitDescent as LimitDescent
