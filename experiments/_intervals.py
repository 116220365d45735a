"""Intervals of independent values that every folder of experiments asks for."""

import numpy as np
from scipy.stats import t


def student_interval(values: np.ndarray, level: float = 0.99) -> tuple[float, float, float]:
    """Return mean and the two ends of Student's interval of independent values.

    So many claims at once hold with 95 % if each has a level of 1 - 0.05 / claims.
    """
    middle, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf((1 + level) / 2, len(values) - 1)) * error
    return middle, middle - reach, middle + reach
