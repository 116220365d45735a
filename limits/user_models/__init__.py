"""Torch models from outside: their residual branches, what depth does to them, their weights."""

from limits.user_models.branches.finding import find_streams as find_streams
from limits.user_models.branches.scaling.handle import ScaledResiduals as ScaledResiduals
from limits.user_models.branches.scaling.handle import ScaledStream as ScaledStream
from limits.user_models.branches.scaling.handle import scaled_residuals as scaled_residuals
from limits.user_models.branches.scaling.scale import scale_residuals as scale_residuals
from limits.user_models.branches.streams import ResidualStream as ResidualStream
from limits.user_models.branches.streams import Streams as Streams
from limits.user_models.check.judging.growth import Growth as Growth
from limits.user_models.check.judging.judgement import Judgement as Judgement
from limits.user_models.check.judging.recommendation import Recommendation as Recommendation
from limits.user_models.check.measure import depth_check as depth_check
from limits.user_models.check.result import DepthCheck as DepthCheck
from limits.user_models.check.stream_check import StreamCheck as StreamCheck
from limits.user_models.weights.checkpoints import read_layers as read_layers
from limits.user_models.weights.hurst_index import weight_regularity as weight_regularity
from limits.user_models.weights.result import DepthRegularity as DepthRegularity
from limits.user_models.weights.result import WeightRegularity as WeightRegularity
