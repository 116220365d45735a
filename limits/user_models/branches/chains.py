"""Follow the states of a forward pass from sum to sum."""

from collections.abc import Iterable
from dataclasses import replace

from limits.user_models.branches.graph.linearity import mixes
from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.residual_sums import ResidualAddition

__all__ = ["chains_of"]


def chains_of(
    graph: Graph, sums: list[ResidualAddition], nodes: Iterable[int]
) -> list[list[ResidualAddition]]:
    """Return sums stream by stream: each state is followed from sum to sum.

    Where a state goes on in two ways, the longer one is the stream, and the other a stream of its
    own.

    Parameters
    ----------
    graph : Graph
        Of one forward pass.
    sums : list of ResidualAddition
        Those that count.
    nodes : iterable of int
        Where to look, in order: all nodes, or those of one branch.
    """
    by_total = {each.total: each for each in sums}
    # Of every node: the first and the last sum of its stream up to there, and whether weights
    # made another state of it since.
    owner: dict[int, tuple[int, int, bool]] = {}
    before: dict[int, tuple[int, bool]] = {}
    for number in nodes:
        each = by_total.get(number)
        if each is None:
            passed = _passed_on(graph, number, owner)
            if passed is not None:
                owner[number] = passed
        elif each.skip in owner:
            first, last, moved = owner[each.skip]
            before[number] = last, moved or graph.nodes[last].size != graph.nodes[number].size
            owner[number] = first, number, False
        else:
            owner[number] = number, number, False
    return _longest_ways(by_total, before)


def _passed_on(
    graph: Graph, number: int, owner: dict[int, tuple[int, int, bool]]
) -> tuple[int, int, bool] | None:
    """Return whose state a node is, None where it is made of several streams."""
    node = graph.nodes[number]
    found = [(p, owner[p]) for p in node.parents if p in owner]
    if len({first for _, (first, _, _) in found}) > 1 and node.each and node.addition is None:
        # What stands beside in one tensor goes on as the larger part of it.
        largest = max(graph.nodes[p].size for p, _ in found)
        found = [pair for pair in found if graph.nodes[pair[0]].size == largest]
    if len({first for _, (first, _, _) in found}) != 1:
        return None
    first = found[0][1][0]
    last = max(last for _, (_, last, _) in found)
    moved = all(moved for _, (_, own, moved) in found if own == last)
    return first, last, moved or (node.weighted and mixes(node.function))


def _longest_ways(
    by_total: dict[int, ResidualAddition], before: dict[int, tuple[int, bool]]
) -> list[list[ResidualAddition]]:
    """Cut the tree of sums into ways that are as long as possible."""
    length = dict.fromkeys(by_total, 1)
    following: dict[int, int] = {}
    for total in sorted(before, reverse=True):
        last, _ = before[total]
        if length[total] + 1 > length[last]:
            length[last], following[last] = length[total] + 1, total
    chains = []
    for total in sorted(by_total):
        if total in before and following[before[total][0]] == total:
            continue
        chain, segment, each = [by_total[total]], 0, total
        while each in following:
            each = following[each]
            segment += before[each][1]
            chain.append(replace(by_total[each], segment=segment))
        chains.append(chain)
    return chains
