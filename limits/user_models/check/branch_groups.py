"""The branches of a stream by the names of their modules: attention apart from perceptrons."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from limits.user_models.check.stream_check import StreamCheck

if TYPE_CHECKING:
    from limits.user_models.check.result import DepthCheck

__all__ = ["BranchGroup", "branch_groups"]

BranchKind: TypeAlias = Literal["attention", "perceptron", "convolution", ""]
_KINDS: tuple[tuple[BranchKind, str], ...] = (
    ("attention", r"attn|attention|cross|(^|[._])mha?([._]|$)"),
    ("perceptron", r"mlp|(^|[._])ffn?\d*([._]|$)|feed_?forward|perceptron|experts?|moe"),
    ("convolution", r"conv|(^|[._])bn\d*([._]|$)"),
)


@dataclass(frozen=True)
class BranchGroup:
    """Branches that do the same in different layers.

    Parameters
    ----------
    name : str
        Of their modules, with {} for the layer; empty where no module returns them.
    kind : {"attention", "perceptron", "convolution", ""}
        What the name tells, empty where it tells nothing.
    count : int
        How many there are at the largest depth.
    size, frozen_size : float
        Mean of |f_k| / |h_k| over layers and seeds at the largest depth, and of |f_k| / |h_0| while
        the stream is frozen.
    """

    name: str
    kind: BranchKind
    count: int
    size: float
    frozen_size: float


def branch_groups(check: "DepthCheck", stream: StreamCheck) -> Iterator[BranchGroup]:
    """Yield the groups of branches of one stream, in the order of the forward pass."""
    names = json.loads(check.dataset.attrs["groups"])
    data = stream.dataset.isel(phase=0, depth=-1)
    groups = data["group"].to_numpy()[: stream.multiplying[-1]]
    for group in dict.fromkeys(groups.tolist()):
        layers = np.flatnonzero(groups == group)
        sizes = [
            float(np.mean(data[name].to_numpy()[:, layers]))
            for name in ("contribution", "frozen_contribution")
        ]
        yield BranchGroup(names[group], _kind_of(names[group]), len(layers), *sizes)


def _kind_of(name: str) -> BranchKind:
    """Return what a name tells of its module."""
    for kind, words in _KINDS:
        if re.search(words, name.lower()):
            return kind
    return ""
