"""Residual networks and what they are made of."""

from limits.networks.embedding import embed as embed
from limits.networks.resnet import ResNet as ResNet
