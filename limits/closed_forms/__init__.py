"""Exact answers: what simulations are tested against and what plots draw dashed.

Everything here is dimensionless: hidden states are measured in units of the input's norm.
`depth` is the number of layers L, `scale` the residual scale alpha = c L^-beta in front of
order-one weights of variance 1 / width.
"""

from limits.closed_forms.fractional import (
    fractional_autocovariance as fractional_autocovariance,
)
from limits.closed_forms.fractional import fractional_relu_border as fractional_relu_border
from limits.closed_forms.fractional import rough_drift as rough_drift
from limits.closed_forms.fractional import rough_relu_law as rough_relu_law
from limits.closed_forms.fractional import rough_relu_rates as rough_relu_rates
from limits.closed_forms.fractional import young_linear_error as young_linear_error
from limits.closed_forms.independent import LogNormal as LogNormal
from limits.closed_forms.independent import (
    linear_nested_strong_error as linear_nested_strong_error,
)
from limits.closed_forms.independent import linear_second_moment as linear_second_moment
from limits.closed_forms.independent import linear_strong_error as linear_strong_error
from limits.closed_forms.independent import linear_weak_error as linear_weak_error
from limits.closed_forms.independent import log_norm_law as log_norm_law
from limits.closed_forms.independent import (
    relu_log_mean_depth_bias as relu_log_mean_depth_bias,
)
from limits.closed_forms.independent import relu_second_moment as relu_second_moment
from limits.closed_forms.independent import relu_weak_error as relu_weak_error
from limits.closed_forms.norm_chain import relu_log_mean as relu_log_mean
from limits.closed_forms.reflected import post_relu_ratio as post_relu_ratio
from limits.closed_forms.reflected import (
    post_relu_second_moment_bounds as post_relu_second_moment_bounds,
)
from limits.closed_forms.spectrum import linear_product_edge as linear_product_edge
from limits.closed_forms.spectrum import (
    linear_product_edge_limit as linear_product_edge_limit,
)
from limits.closed_forms.wide import relu_correlation as relu_correlation
