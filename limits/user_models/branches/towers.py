"""Put the residual sums of a forward pass in order: streams, towers inside of branches, skips."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from limits.user_models.branches.chains import chains_of
from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.residual_sums import ResidualAddition

__all__ = ["Chain", "Dropped", "dropped_for", "towers_of"]

# A tower inside of a branch that has no more sums than this is the inside of a block: it does not
# get deeper with the network.
_INSIDE = 3


@dataclass(frozen=True)
class Dropped:
    """Residual sums that were not counted.

    Parameters
    ----------
    count : int
        How many.
    kind : {"long skip", "inside", "two ways", "even", "unclear", "weights", "not named"}
        A skip around a whole tower; a sum inside of a branch; two ways of one branch that meet
        again; two ways outside of any branch, such as two heads; a sum of two operands that both
        may be the branch; a sum of weights; one whose branch the user did not name.
    reason : str
        A sentence about them.
    additions : tuple of int
        Positions among all additions of the forward pass.
    """

    count: int
    kind: str
    reason: str
    additions: tuple[int, ...]


@dataclass(frozen=True)
class Chain:
    """Sums that follow each other on one stream, and the sum whose branch they are inside of."""

    sums: tuple[ResidualAddition, ...]
    inside: ResidualAddition | None = None


_REASONS = {
    "long skip": "a long skip around other sums, of which there is one however deep the network",
    "inside": "inside of another branch, and scaled with it",
    "two ways": "two ways of one branch that meet again, and are scaled with it",
    "even": "two ways with equally many weights, such as two heads, and no shortcut",
    "unclear": "both operands pass through weights and neither is clearly a shortcut",
    "weights": "sums of weights that no input reaches",
    "not named": "their branches are not among those named",
}


def towers_of(graph: Graph, found: list[ResidualAddition]) -> tuple[list[Chain], list[Dropped]]:
    """Return the streams of a forward pass, towers inside of branches included, and the rest.

    A sum around a whole tower (one long skip) does not multiply with depth: the sums of the tower
    do, and count in its place. Inside of the branches of a stream of many blocks, a tower is a
    stream of its own if it is longer than a block has sums.
    """
    dropped: dict[str, list[ResidualAddition]] = defaultdict(list)
    alive = _read(graph)
    found = [each for each in found if each.total in alive]
    sure = [each for each in found if each.certain]
    above = _containers(graph, sure)
    kept = []
    for each in sure:
        loose = not each.straight and above[each.total] is not None
        whole = not loose or _continued(graph, each, sure, above)
        (kept if whole else dropped["two ways"]).append(each)
    skips = _long_skips(graph, kept, above)
    dropped["long skip"] = [each for each in kept if each.total in skips]
    holders = {each.total: each for each in kept if each.total not in skips}
    towers: dict[int, list[ResidualAddition]] = defaultdict(list)
    for each in holders.values():
        holder = above[each.total]
        while holder is not None and holder not in holders:
            holder = above[holder]
        towers[-1 if holder is None else holder].append(each)
    chains, aside = [], _Aside(graph, list(holders.values()))
    for holder, sums in towers.items():
        inside = holders.get(holder)
        nodes = range(len(graph.nodes)) if inside is None else sorted(inside.between)
        for chain in chains_of(graph, sums, nodes):
            reason = _why_not(graph, chain, inside, aside)
            if reason is None:
                chains.append(Chain(tuple(chain), inside))
            else:
                dropped[reason].extend(chain)
    for each in found:
        if not each.certain:
            hidden = any(each.total in other.between for other in kept)
            reason = "two ways" if hidden else "even" if each.even and chains else "unclear"
            dropped[reason].append(each)
    chains.sort(key=lambda chain: chain.sums[0].total)
    return chains, [dropped_for(kind, sums) for kind, sums in dropped.items() if sums]


def _why_not(
    graph: Graph,
    chain: list[ResidualAddition],
    inside: ResidualAddition | None,
    aside: "_Aside",
) -> str | None:
    """Return the reason for which sums that follow each other are no stream, if there is one."""
    if not any(graph.nodes[each.total].from_input for each in chain):
        return "weights"
    hidden = aside.holds(chain) if inside is None else True
    return "inside" if hidden and len(chain) <= _INSIDE else None


class _Aside:
    """What branches leave aside, such as the last state of a recurrence, and no sum reads."""

    def __init__(self, graph: Graph, sums: list[ResidualAddition]) -> None:
        self._nodes = graph.nodes
        self._within = frozenset[int]().union(*(each.between for each in sums))
        # Modules at work in a branch, but not at its sum.
        self._scopes = {
            scope
            for each in sums
            for scope in {graph.nodes[n].scope for n in each.between}
            if scope and not graph.nodes[each.total].scope.startswith(scope)
        }

    def holds(self, chain: list[ResidualAddition]) -> bool:
        """Say whether sums are made by a module of a branch and are no part of the branch."""
        return all(
            self._nodes[each.total].scope in self._scopes
            and (each.total not in self._within or not each.straight)
            for each in chain
        )


def _read(graph: Graph) -> set[int]:
    """Return the nodes that some module's output was computed from."""
    alive = {output for call in graph.calls for output in call.outputs.values()}
    for number in range(len(graph.nodes) - 1, -1, -1):
        if number in alive:
            alive.update(graph.nodes[number].parents)
    return alive


def dropped_for(kind: str, sums: Iterable[ResidualAddition]) -> Dropped:
    """Return the record of sums that are left out for one reason."""
    places = tuple(sorted(each.addition for each in sums))
    return Dropped(len(places), kind, _REASONS[kind], places)


def _containers(graph: Graph, sums: list[ResidualAddition]) -> dict[int, int | None]:
    """Return, by the totals of sums, the total of the innermost sum whose branch they are in.

    A sum is inside of a branch if its stream begins there, or as a constant (what a recurrence
    inside of a branch adds up): of two streams that read each other, such as a reversible pair,
    neither is inside of the other.
    """
    above: dict[int, int | None] = {each.total: None for each in sums}
    by_total = {each.total: each for each in sums}
    followers: dict[int, list[ResidualAddition]] = defaultdict(list)
    for each in sums:
        followers[each.skip].append(each)
    for outer in sums:
        # Sums are in order, so the first that holds another one is the innermost.
        if len(outer.between) < len(by_total):
            held = [total for total in outer.between if total in by_total]
        else:
            held = [total for total in by_total if total in outer.between]
        for total in held:
            each = by_total[total]
            begins_here = (
                each.skip in outer.between
                or each.fork in (outer.fork, outer.skip)
                or not graph.nodes[each.skip].from_input
            )
            goes_on = any(
                next_one.total not in outer.between and next_one.total != outer.total
                for next_one in followers[total]
            )
            if above[total] is None and begins_here and not goes_on:
                above[total] = outer.total
    return above


def _continued(
    graph: Graph,
    each: ResidualAddition,
    sums: list[ResidualAddition],
    above: dict[int, int | None],
) -> bool:
    """Say whether a sum with weights on its shortcut is a step of a stream inside of a branch."""
    holder = above[each.total]
    others = {other.total for other in sums if other.straight and above[other.total] == holder}
    if _carried(graph, each.fork) in others:
        return True
    return any(
        _carried(graph, other.skip) == each.total
        for other in sums
        if other.straight and above[other.total] == holder
    )


def _carried(graph: Graph, node: int) -> int:
    """Go back along steps that have one parent, to the last sum."""
    while graph.nodes[node].addition is None:
        parents = [p for p in graph.nodes[node].parents if graph.nodes[p].function is not None]
        if len(parents) != 1:
            break
        node = parents[0]
    return node


def _inner(kept: list[ResidualAddition], above: dict[int, int | None]) -> Counter[int]:
    """Count the sums inside of every sum, at any level."""
    inner: Counter[int] = Counter()
    for each in kept:
        holder = above[each.total]
        while holder is not None:
            inner[holder] += 1
            holder = above[holder]
    return inner


def _long_skips(
    graph: Graph,
    kept: list[ResidualAddition],
    above: dict[int, int | None],
) -> set[int]:
    """Return the totals of sums around a tower that have no like beside them."""
    inner = _inner(kept, above)
    beside: dict[int | None, list[ResidualAddition]] = defaultdict(list)
    for each in kept:
        beside[above[each.total]].append(each)
    skips = set()
    for sums in beside.values():
        holding = [each for each in sums if inner[each.total]]
        if len(holding) != 1:
            continue
        (only,) = holding
        scope = graph.nodes[only.total].scope
        kin = graph.kinds.get(scope)
        alike = [
            each
            for each in sums
            if each is not only and graph.kinds.get(graph.nodes[each.total].scope) == kin
        ]
        # One block among many may have sums inside; a skip around a tower has more inside than
        # beside it, or is the work of another module than the blocks.
        if inner[only.total] > max(len(alike), 1):
            skips.add(only.total)
    return skips
