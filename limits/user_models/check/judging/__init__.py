"""Read numbers: exponents, verdicts, what to change."""
