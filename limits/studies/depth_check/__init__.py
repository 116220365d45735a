"""The depth check: what depth does to a user's model, as a verdict with numbers behind it."""

from limits.studies.depth_check.measure import depth_check as depth_check
from limits.studies.depth_check.recommend import Recommendation as Recommendation
from limits.studies.depth_check.result import DepthCheck as DepthCheck
from limits.studies.depth_check.verdict import Growth as Growth
from limits.studies.depth_check.verdict import Judgement as Judgement
