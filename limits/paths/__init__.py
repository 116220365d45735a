"""Laws of the weights across layers, and their draws."""

from limits.paths.base import WeightPath as WeightPath
from limits.paths.brownian import BrownianPath as BrownianPath
from limits.paths.fractional import FractionalPath as FractionalPath
from limits.paths.iid import IIDPath as IIDPath
from limits.paths.increments import DenseIncrement as DenseIncrement
from limits.paths.increments import Increment as Increment
from limits.paths.increments import Layer as Layer
from limits.paths.lazy.ladder import ladder_answers as ladder_answers
from limits.paths.lazy.passes import LazyPasses as LazyPasses
from limits.paths.sample import WeightSample as WeightSample
from limits.paths.smooth import SmoothPath as SmoothPath
from limits.paths.sources import IndependentSource as IndependentSource
from limits.paths.trained import TrainedPath as TrainedPath
