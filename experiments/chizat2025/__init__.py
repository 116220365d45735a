"""Figures of Chizat (2025): the hidden width of deep ResNets."""
