"""Which residual sums multiply with depth, and which are there once at any depth."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from limits.exceptions import LimitsError
from limits.user_models.branches.streams import ResidualStream
from limits.user_models.check.choosing.layer_names import layer_patterns
from limits.user_models.check.watching.observer import Role

__all__ = ["Chosen", "Sum", "choose", "roles_of", "sums_of"]

_Place = tuple[str, int, str]


@dataclass(frozen=True)
class Sum:
    """A residual sum of a forward pass.

    Parameters
    ----------
    addition : int
        Position among all additions.
    skip_first : bool
        Whether h is the first operand.
    stream : str
        Name of its stream.
    stage : int
        Number of its stage in the stream: a stretch whose states have the same entries.
    name : str or None
        The module that returns its branch.
    moved : bool
        Whether the state is another tensor than the sum before returned, as after a transposition.
    group : str
        What its name shares with those of the same branch in other layers.
    """

    addition: int
    skip_first: bool
    stream: str
    stage: int
    name: str | None
    moved: bool = False
    group: str = ""

    @property
    def place(self) -> _Place:
        """What it shares with the sums that do the same in other layers."""
        return self.stream, self.stage, self.group


def sums_of(stream: ResidualStream, name: str) -> list[Sum]:
    """Return the sums of a stream with their stages, in order.

    Parameters
    ----------
    stream : ResidualStream
        Of one forward pass.
    name : str
        What the stream is called at every depth.
    """
    before: int | None = None
    found = []
    for each, module in zip(stream.sums, stream.branches, strict=True):
        moved = before is not None and each.skip != before
        before = each.total
        found.append(Sum(each.addition, each.skip_first, name, each.segment, module, moved))
    return found


@dataclass(frozen=True)
class Chosen:
    """The sums that are measured.

    Parameters
    ----------
    streams : tuple of str
        Names of the streams that grow with depth.
    groups : tuple of str
        What the names of their branches share across layers.
    sums : mapping
        Their sums that multiply, by depth.
    totals : mapping
        The number of all sums of each of these streams, by depth.
    single : tuple of int
        Depths at which no layer follows another one, so that nothing adds up.
    notes : tuple of str
        What was left out, in sentences.
    """

    streams: tuple[str, ...]
    groups: tuple[str, ...]
    sums: Mapping[int, list[Sum]]
    totals: Mapping[int, tuple[int, ...]]
    single: tuple[int, ...]
    notes: tuple[str, ...]


def choose(found: Mapping[int, list[Sum]]) -> Chosen:
    """Choose the sums that multiply with depth.

    What is there once at any depth, such as a backbone before the layers, is kept out: a mean over
    all sums would be a mean of two networks. Everything is kept where there is one depth only.

    Parameters
    ----------
    found : mapping
        All residual sums by depth, ascending.

    Raises
    ------
    LimitsError
        If no stream has more sums at larger depth.

    Examples
    --------
    >>> def sums(depth):
    ...     names = ["backbone.0", *(f"layers.{k}" for k in range(depth))]
    ...     return [Sum(k, True, "stream", 0, name) for k, name in enumerate(names)]
    >>> chosen = choose({1: sums(1), 4: sums(4), 8: sums(8)})
    >>> {depth: len(each) for depth, each in chosen.sums.items()}, chosen.single
    ({1: 1, 4: 4, 8: 8}, (1,))
    """
    pattern = layer_patterns([[s.name or "" for s in sums] for sums in found.values()])
    found = {
        depth: [replace(each, group=pattern(each.name or "")) for each in sums]
        for depth, sums in found.items()
    }
    constant = _constant(list(found.values()))
    kept = {
        depth: [each for each in sums if each.place not in constant]
        for depth, sums in found.items()
    }
    streams = list(dict.fromkeys(each.stream for sums in found.values() for each in sums))
    growing = [name for name in streams if _grows(name, kept)]
    if not growing:
        listed = ", ".join(f"{len(sums)} at depth {depth}" for depth, sums in found.items())
        raise LimitsError(
            f"the models do not get deeper: residual branches found are {listed}. Let "
            "make_model(depth) build as many blocks as it is told to; or name the branches that "
            'multiply with depth, for example branch="blocks.*.branch".'
        )
    kept = {depth: [s for s in sums if s.stream in growing] for depth, sums in kept.items()}
    single = tuple(
        depth
        for depth, sums in kept.items()
        if max(Counter(each.place for each in sums).values()) == 1
    )
    single = single if len(single) < len(found) else ()
    return Chosen(
        streams=tuple(growing),
        groups=tuple(sorted({each.group for sums in kept.values() for each in sums})),
        sums=kept,
        totals={
            depth: tuple(sum(each.stream == name for each in sums) for name in growing)
            for depth, sums in found.items()
        },
        single=single,
        notes=(*_left_out(found, kept), *_left_single(single), *_stages(kept)),
    )


def _constant(found: list[list[Sum]]) -> frozenset[_Place]:
    """Return the places that have the same number of sums at every depth."""
    if len(found) < 2:
        return frozenset()
    stages = {frozenset((each.stream, each.stage) for each in sums) for sums in found}
    # Where stages come and go, what is one at one depth has no name at another.
    if len(stages) > 1:
        named = [Counter((each.stream, each.group) for each in sums) for sums in found]
        alike = {key for key in set().union(*named) if len({counts[key] for counts in named}) == 1}
        return frozenset(s.place for sums in found for s in sums if (s.stream, s.group) in alike)
    counted = [Counter(each.place for each in sums) for sums in found]
    return frozenset(
        place for place in set().union(*counted) if len({c[place] for c in counted}) == 1
    )


def _grows(stream: str, kept: Mapping[int, list[Sum]]) -> bool:
    counts = [sum(each.stream == stream for each in sums) for sums in kept.values()]
    return all(a < b for a, b in itertools.pairwise(counts)) and counts[0] > 0


def _left_out(found: Mapping[int, list[Sum]], kept: Mapping[int, list[Sum]]) -> Iterator[str]:
    """Say what is there at the largest depth and was not measured."""
    deepest = max(found)
    measured = {each.addition for each in kept[deepest]}
    names = [each.name or each.stream for each in found[deepest] if each.addition not in measured]
    if names:
        listed = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        yield (
            f"{len(names)} of {len(found[deepest])} residual sums do not multiply with depth and "
            f"are no part of exponents: {listed}."
        )


def _left_single(single: tuple[int, ...]) -> Iterator[str]:
    if single:
        listed = ", ".join(map(str, single))
        yield f"Depth {listed} is left out of all fits: one layer is no depth."


def _stages(kept: Mapping[int, list[Sum]]) -> Iterator[str]:
    places = {(each.stream, each.stage) for each in kept[max(kept)]}
    if len(places) > len({stream for stream, _ in places}):
        yield "A stream has stages of several shapes; what they add up to is combined."


def roles_of(
    sums: list[Sum], *, streams: Sequence[str] | None = None, groups: Sequence[str] | None = None
) -> dict[int, Role]:
    """Return the place of every residual sum in its stream.

    Parameters
    ----------
    sums : list of Sum
        Of one depth.
    streams, groups : sequence of str, optional
        Names of streams and patterns of names, whose positions are the numbers of streams and
        groups; those found here when left out.
    """
    streams = streams or list(dict.fromkeys(each.stream for each in sums))
    stages = list(dict.fromkeys((each.stream, each.stage) for each in sums))
    groups = groups or list(dict.fromkeys(each.group for each in sums))
    last = {(each.stream, each.stage): each.addition for each in sums}
    blocks: Counter[str] = Counter()
    roles = {}
    for each in sums:
        stage = each.stream, each.stage
        roles[each.addition] = Role(
            stream=streams.index(each.stream),
            block=blocks[each.stream],
            stage=stages.index(stage),
            group=groups.index(each.group),
            skip_first=each.skip_first,
            ends=last[stage] == each.addition,
        )
        blocks[each.stream] += 1
    return roles
