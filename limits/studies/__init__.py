"""Studies: many networks, one question, one result."""

from limits.studies.convergence.result import ConvergenceStudy as ConvergenceStudy
from limits.studies.convergence.study import convergence_study as convergence_study
from limits.studies.infinite_depth.expectation import (
    infinite_depth_expectation as infinite_depth_expectation,
)
from limits.studies.infinite_depth.result import DepthLevel as DepthLevel
from limits.studies.infinite_depth.result import (
    InfiniteDepthExpectation as InfiniteDepthExpectation,
)
