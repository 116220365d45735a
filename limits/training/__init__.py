"""Networks that are trained on data."""

from limits.training.conv_resnet import ConvResNet as ConvResNet
from limits.training.ensemble.chunks import train_ensemble as train_ensemble
from limits.training.ensemble.result import Configuration as Configuration
from limits.training.ensemble.result import TrainedEnsemble as TrainedEnsemble
from limits.training.image_classifier import Recipe as Recipe
from limits.training.image_classifier import TrainedClassifier as TrainedClassifier
from limits.training.image_classifier import train_classifier as train_classifier
from limits.training.post_relu.descent import descend_squares as descend_squares
from limits.training.post_relu.descent import train_analysed as train_analysed
from limits.training.post_relu.networks import AnalysedEnsemble as AnalysedEnsemble
from limits.training.resnet_module import ResNetModule as ResNetModule
