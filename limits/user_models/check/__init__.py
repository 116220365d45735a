"""The depth check: what depth does to a user's model, as a verdict with numbers behind it."""

from limits.user_models.check.judgement import Growth as Growth
from limits.user_models.check.judgement import Judgement as Judgement
from limits.user_models.check.measure import depth_check as depth_check
from limits.user_models.check.recommendation import Recommendation as Recommendation
from limits.user_models.check.result import DepthCheck as DepthCheck
