"""Isotropic limits: loops over paths, with numbers that are drawn where they are used."""

from limits.kernels.isotropic.pairs import coupled_steps as coupled_steps
from limits.kernels.isotropic.steps import IsotropicLaw as IsotropicLaw
from limits.kernels.isotropic.steps import euler_steps as euler_steps
from limits.kernels.isotropic.steps import has_steps as has_steps
