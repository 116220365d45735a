"""Measurements of speed: always ratios of two things timed in turns in one run."""
