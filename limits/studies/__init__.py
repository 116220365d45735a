"""Studies: many networks, one question, one result."""

from limits.studies.analysed import descend_squares as descend_squares
from limits.studies.analysed import train_analysed as train_analysed
from limits.studies.checkpoints import read_layers as read_layers
from limits.studies.classifier import Recipe as Recipe
from limits.studies.classifier import TrainedClassifier as TrainedClassifier
from limits.studies.classifier import train_classifier as train_classifier
from limits.studies.convergence import convergence_study as convergence_study
from limits.studies.depth_check import DepthCheck as DepthCheck
from limits.studies.depth_check import Growth as Growth
from limits.studies.depth_check import Judgement as Judgement
from limits.studies.depth_check import Recommendation as Recommendation
from limits.studies.depth_check import depth_check as depth_check
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
