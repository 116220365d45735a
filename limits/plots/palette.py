"""Colours, markers and lines of every figure: plain values that do not wait for matplotlib."""

from typing import Any

__all__ = ["BLUE", "COLOURS", "DASHED", "DOTTED", "GREEN", "MARKERS", "ORANGE", "PURPLE"]

BLUE, ORANGE, GREEN, PURPLE = "#08306b", "#d95f02", "#1b9e77", "#8c6bb1"

COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
"""Steps of lightness as well as of hue, so that a grey print keeps them apart."""

MARKERS = ("o", "s", "^", "D")

DASHED: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.1}
"""A line of theory."""

DOTTED: dict[str, Any] = {"color": "0.35", "linestyle": (0, (1, 1.4)), "linewidth": 1.3}
"""A second line of theory, or one that was published and does not hold here."""
