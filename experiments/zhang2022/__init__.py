"""Figures of Zhang, Yu, Yi, Chen and Liu (2022): the sharp scaling factor tau."""
