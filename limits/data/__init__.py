"""Classification data sets: inputs as rows, classes as integers, no transformation but a scale."""

from limits.data.bundled_digits import digits as digits
from limits.data.cifar import cifar10 as cifar10
from limits.data.idx_files import mnist as mnist
from limits.data.idx_files import read_idx as read_idx
from limits.data.labelled import LabelledData as LabelledData
from limits.data.preparation import standardised as standardised
from limits.data.preparation import unit_rows as unit_rows
from limits.data.preparation import validation_split as validation_split
from limits.data.vision import from_torchvision as from_torchvision
