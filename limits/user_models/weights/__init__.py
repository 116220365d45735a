"""Weights of checkpoints, and how regular they are across layers."""
