"""Networks that are trained on data."""

from limits.training.classifier_training import Recipe as Recipe
from limits.training.classifier_training import TrainedClassifier as TrainedClassifier
from limits.training.classifier_training import train_classifier as train_classifier
from limits.training.conv_resnet import ConvResNet as ConvResNet
from limits.training.ensemble_result import Configuration as Configuration
from limits.training.ensemble_result import TrainedEnsemble as TrainedEnsemble
from limits.training.ensemble_training import train_ensemble as train_ensemble
from limits.training.post_relu_ensemble import AnalysedEnsemble as AnalysedEnsemble
from limits.training.post_relu_training import descend_squares as descend_squares
from limits.training.post_relu_training import train_analysed as train_analysed
from limits.training.resnet_module import ResNetModule as ResNetModule
