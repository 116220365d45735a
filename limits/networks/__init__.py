"""Residual networks and what they are made of."""

from limits.networks.averaged import AveragedInner as AveragedInner
from limits.networks.blocks import Block as Block
from limits.networks.blocks import Inner as Inner
from limits.networks.embedding import embed as embed
from limits.networks.embedding import readout as readout
from limits.networks.resnet import ResNet as ResNet
