"""Expectations at infinite depth by multilevel Monte Carlo over depth."""
