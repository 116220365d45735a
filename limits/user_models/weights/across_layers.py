"""The regularity of a model's weights across its layers, found by their names."""

import re
from collections import defaultdict
from typing import Protocol, TypeVar

import torch
from torch import nn

from limits.user_models.weights.hurst_index import weight_regularity

__all__ = ["equal_layers", "groups_across_layers", "weights_across_layers"]

_FEWEST_LAYERS = 16
_MOST_ENTRIES = 4096
_MOST_GROUPS = 4


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Shaped = TypeVar("Shaped", bound=_Shaped)


def groups_across_layers(tensors: dict[str, Shaped]) -> dict[str, list[Shaped]]:
    """Group tensors whose names differ in one number, in the order of that number.

    Examples
    --------
    >>> names = {f"blocks.{k}.weight": torch.zeros(2, 2) for k in (10, 9)}
    >>> list(groups_across_layers(names))
    ['blocks.{}.weight']
    """
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[int, Shaped]]] = defaultdict(list)
    for name, tensor in tensors.items():
        for match in re.finditer(r"(?<![^.])\d+(?![^.])", name):
            pattern = f"{name[: match.start()]}{{}}{name[match.end() :]}"
            groups[pattern, tuple(tensor.shape)].append((int(match.group()), tensor))
    return {
        pattern: [tensor for _, tensor in sorted(members, key=lambda each: each[0])]
        for (pattern, _), members in groups.items()
        if len(members) > 1
    }


def equal_layers(model: nn.Module) -> bool:
    """Say whether all layers have the same weight matrices, as copies of one layer do."""
    tensors = {
        name: p.detach() for name, p in model.named_parameters() if p.ndim > 1 and not p.is_meta
    }
    groups = groups_across_layers(tensors)
    # Matrices that begin at a constant say nothing about copies.
    drawn = [group for group in groups.values() if not bool((group[0] == group[0].mean()).all())]
    equal = [all(torch.equal(group[0], each) for each in group[1:]) for group in drawn]
    return bool(equal) and all(equal)


def weights_across_layers(model: nn.Module, *, seed: int) -> dict[str, dict[str, float | str]]:
    """Return Hurst index, interval and verdict of the largest groups of at least 16 layers."""
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.ndim > 1}
    groups = groups_across_layers(tensors)
    deep = {name: group for name, group in groups.items() if len(group) >= _FEWEST_LAYERS}
    largest = sorted(deep, key=lambda name: -len(deep[name]) * deep[name][0].numel())
    found = {}
    for name in largest[:_MOST_GROUPS]:
        stride = -(-deep[name][0].numel() // _MOST_ENTRIES)
        stack = torch.stack([each.flatten()[::stride] for each in deep[name]])
        if not bool(torch.isfinite(stack).all()):
            continue
        measured = weight_regularity(stack, seed=seed)
        found[name] = {
            "hurst": measured.hurst,
            "low": measured.hurst_low,
            "high": measured.hurst_high,
            "verdict": measured.verdict,
            "layers": measured.depth,
        }
    return found
