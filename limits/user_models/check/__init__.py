"""The depth check: what depth does to a user's model, as a verdict with numbers behind it."""

from limits.user_models.check.judging.growth import Growth as Growth
from limits.user_models.check.judging.judgement import Judgement as Judgement
from limits.user_models.check.judging.recommendation import Recommendation as Recommendation
from limits.user_models.check.measure import depth_check as depth_check
from limits.user_models.check.result import DepthCheck as DepthCheck
from limits.user_models.check.stream_check import StreamCheck as StreamCheck
