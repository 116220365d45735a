"""Torch models from outside: their residual branches, what depth does to them, their weights."""

from limits.user_models.branches.scaling import ScaledResiduals as ScaledResiduals
from limits.user_models.branches.scaling import scale_residuals as scale_residuals
from limits.user_models.check.judgement import Growth as Growth
from limits.user_models.check.judgement import Judgement as Judgement
from limits.user_models.check.measure import depth_check as depth_check
from limits.user_models.check.recommendation import Recommendation as Recommendation
from limits.user_models.check.result import DepthCheck as DepthCheck
from limits.user_models.weights.checkpoints import read_layers as read_layers
from limits.user_models.weights.hurst_index import weight_regularity as weight_regularity
from limits.user_models.weights.result import DepthRegularity as DepthRegularity
from limits.user_models.weights.result import WeightRegularity as WeightRegularity
