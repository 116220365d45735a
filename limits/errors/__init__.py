"""Errors and convergence orders."""

from limits.errors.metrics import path_errors as path_errors
from limits.errors.metrics import strong_error as strong_error
from limits.errors.metrics import weak_error as weak_error
from limits.errors.orders import fit_order as fit_order
