"""Residual networks and what they are made of."""

from limits.networks.averaged import AveragedInner as AveragedInner
from limits.networks.blocks import Block as Block
from limits.networks.blocks import Inner as Inner
from limits.networks.embedding import embed as embed
from limits.networks.mean_field import MeanFieldResNet as MeanFieldResNet
from limits.networks.mean_field_descent import MeanFieldDescent as MeanFieldDescent
from limits.networks.mean_field_weights import MeanFieldWeights as MeanFieldWeights
from limits.networks.module import ResNetModule as ResNetModule
from limits.networks.resnet import ResNet as ResNet
