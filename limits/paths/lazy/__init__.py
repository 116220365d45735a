"""Gaussian matrices that are never formed and answer products with the exact law."""
