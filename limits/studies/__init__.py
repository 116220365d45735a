"""Studies: many networks, one question, one result."""

from limits.studies.convergence import convergence_study as convergence_study
from limits.studies.expectation import DepthLevel as DepthLevel
from limits.studies.expectation import InfiniteDepthExpectation as InfiniteDepthExpectation
from limits.studies.infinite_depth import (
    infinite_depth_expectation as infinite_depth_expectation,
)
from limits.studies.regular import DepthRegularity as DepthRegularity
from limits.studies.regular import WeightRegularity as WeightRegularity
from limits.studies.regularity import weight_regularity as weight_regularity
from limits.studies.study import ConvergenceStudy as ConvergenceStudy
from limits.studies.trained import Configuration as Configuration
from limits.studies.trained import TrainedEnsemble as TrainedEnsemble
from limits.studies.training import train_ensemble as train_ensemble
from limits.studies.training_phase import TrainingPhase as TrainingPhase
from limits.studies.training_phase import phase_of as phase_of
from limits.studies.training_phase import training_phase as training_phase
