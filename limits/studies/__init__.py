"""Studies: many networks, one question, one result."""

from limits.studies.convergence import convergence_study as convergence_study
from limits.studies.study import ConvergenceStudy as ConvergenceStudy
