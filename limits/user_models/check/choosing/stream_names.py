"""The same stream at different depths: matched by the names of its branches."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from limits.user_models.branches.streams import ResidualStream, Streams
from limits.user_models.check.choosing.multiplying import Sum, sums_of

__all__ = ["levels_of", "named_sums"]

_Signature = Counter[str]


def named_sums(found: Mapping[int, Streams]) -> dict[int, list[Sum]]:
    """Return the sums of all streams in the order of the forward pass, by depth.

    Parameters
    ----------
    found : mapping
        The streams of one model per depth.
    """
    sums = {}
    for depth, names in _common_names(found).items():
        pairs = zip(found[depth].streams, names, strict=True)
        of_all = (each for stream, name in pairs for each in sums_of(stream, name))
        sums[depth] = sorted(of_all, key=lambda each: each.addition)
    return sums


def levels_of(found: Mapping[int, Streams], streams: Sequence[str]) -> tuple[frozenset[int], ...]:
    """Return the streams that are frozen together: those within a branch of others apart.

    Parameters
    ----------
    found : mapping
        The streams of one model per depth.
    streams : sequence of str
        Names of those that are measured.
    """
    deepest = max(found)
    names = _common_names(found)[deepest]
    within = {n for each, n in zip(found[deepest].streams, names, strict=True) if each.inside}
    inner = frozenset(number for number, name in enumerate(streams) if name in within)
    outer = frozenset(range(len(streams))) - inner
    return tuple(level for level in (outer, inner) if level)


def _common_names(found: Mapping[int, Streams]) -> dict[int, tuple[str, ...]]:
    """Return the names of the streams of every depth, as the deepest model calls them.

    A stream is named after what its branches have in common, which changes with their number. So
    those of a shallower model are told by the names of the branches, without numbers, and in the
    order of the forward pass where names do not tell.
    """
    streams = {depth: each.streams for depth, each in found.items()}
    deepest = max(streams)
    known = [(stream.name or "stream", _signature(stream)) for stream in streams[deepest]]
    names: dict[int, tuple[str, ...]] = {}
    for depth, present in streams.items():
        left, taken = list(known), []
        for number, stream in enumerate(present):
            own = _signature(stream)
            order = sorted(left, key=lambda each: -_overlap(each[1], own))
            if order and (_overlap(order[0][1], own) or len(present) == len(known)):
                left.remove(order[0])
                taken.append(order[0][0])
            else:
                taken.append(f"{stream.name or 'stream'} (only at depth {depth}, {number + 1})")
        names[depth] = tuple(taken)
    return names


def _signature(stream: ResidualStream) -> _Signature:
    return Counter(re.sub(r"\d+", "{}", name or "") for name in stream.branches)


def _overlap(a: _Signature, b: _Signature) -> int:
    """Return how many kinds of branches two streams share."""
    return len(a.keys() & b.keys())
