"""Tell residual sums h + f(h) from all other additions of a forward pass, one at a time."""

import heapq
from dataclasses import dataclass, replace

from limits.user_models.branches.graph.linearity import mixes
from limits.user_models.branches.graph.nodes import Graph, Node

__all__ = ["ResidualAddition", "judged", "residual_additions"]

_CLEARLY_LONGER = 2
# Sums that a shortcut may pass before the search for where it left the branch is given up.
_FARTHEST = 128
_A, _B, _FREE_A, _FREE_B = 1, 2, 4, 8


@dataclass(frozen=True)
class ResidualAddition:
    """One sum h + f(h) of a forward pass, by its nodes.

    Parameters
    ----------
    addition : int
        Position among all additions of the forward pass.
    skip, branch, total : int
        Nodes of h, f(h) and their sum.
    skip_first : bool
        Whether h is the first operand.
    certain : bool
        False where both operands pass through weights and neither is clearly the shortcut.
    even : bool
        Whether both operands pass through equally many weights.
    fork : int
        Node where the branch leaves the stream: that of h, or what h is a shortcut from.
    straight : bool
        Whether h reaches the sum without weights, unlike a convolution on a shortcut.
    between : frozenset of int
        Nodes computed from the fork that the branch is computed from, without the fork.
    segment : int
        Which stretch of its stream the sum belongs to: a new one begins where the number of
        entries changes or weights act on the stream itself, not where it is only reshaped.
    """

    addition: int
    skip: int
    branch: int
    total: int
    skip_first: bool
    certain: bool = True
    even: bool = False
    fork: int = -1
    straight: bool = True
    between: frozenset[int] = frozenset()
    segment: int = 0


def residual_additions(graph: Graph) -> list[ResidualAddition]:
    """Return all sums h + f(h) of a forward pass, in order; some may be uncertain."""
    found: dict[int, ResidualAddition] = {}
    for total, node in enumerate(graph.nodes):
        if node.addition is None or len(node.operands) != 2:
            continue
        a, b = node.operands
        alike = all(graph.nodes[p].shape == node.shape for p in (a, b))
        each = judged(graph.nodes, a, b) if a != b and alike else None
        if each is not None and not _other_stream(graph.nodes, each, found):
            first = each.skip == a
            found[total] = replace(each, addition=node.addition, total=total, skip_first=first)
    return list(found.values())


def _other_stream(
    nodes: list[Node], each: ResidualAddition, found: dict[int, ResidualAddition]
) -> bool:
    """Say whether what is taken for a branch is the state of a stream that begins elsewhere.

    Positions p are read by every layer, h_1 = h_0 + f(h_0 + p), and added to states later, p +
    h_1: no branch of p, though f lies between.
    """
    node = each.branch
    while node in each.between:
        step = nodes[node]
        if node in found:
            node = found[node].skip
            continue
        parents = [p for p in step.parents if nodes[p].function is not None or nodes[p].from_input]
        if len(parents) != 1 or (step.weighted and mixes(step.function)):
            return False
        (node,) = parents
    return node not in (each.fork, each.skip)


def judged(nodes: list[Node], a: int, b: int) -> ResidualAddition | None:
    """Tell which of two operands is h, by what lies between it and the other one.

    Returns
    -------
    ResidualAddition or None
        Without its own place; None where no weights lie between, or both are made of one state
        without weights, or nothing is common to them.
    """
    low, high = min(a, b), max(a, b)
    between = _between(nodes, low, high)
    if between is not None:
        weighted = _weights(nodes, between, low)
        return _sum(low, high, low, between) if weighted else None
    meeting = _Meeting(nodes, a, b)
    free = [
        _straight(nodes, skip, branch, fork)
        for skip, branch, fork in ((a, b, meeting.free_a), (b, a, meeting.free_b))
        if fork is not None
    ]
    if len(free) == 2:
        # Both reach a common state without weights: one of them must have weights besides.
        in_a, in_b = _exclusive(nodes, a, b)
        return free[0] if in_b and not in_a else free[1] if in_a and not in_b else None
    if free:
        return free[0]
    if meeting.any is None:
        return None
    fork = meeting.any
    ways = [_between(nodes, fork, each) or frozenset() for each in (a, b)]
    in_a, in_b = (_weights(nodes, way, fork) for way in ways)
    skip, branch, way = (a, b, ways[1]) if in_a < in_b else (b, a, ways[0])
    certain = max(in_a, in_b) >= _CLEARLY_LONGER * min(in_a, in_b)
    return replace(
        _sum(skip, branch, fork, way), straight=False, certain=certain, even=in_a == in_b
    )


def _straight(nodes: list[Node], skip: int, branch: int, fork: int) -> ResidualAddition | None:
    """Return the sum of a shortcut without weights and a branch with weights, if it is one."""
    between = _between(nodes, fork, branch)
    if between is None or not _weights(nodes, between, fork):
        return None
    return _sum(skip, branch, fork, between)


def _sum(skip: int, branch: int, fork: int, between: frozenset[int]) -> ResidualAddition:
    return ResidualAddition(-1, skip, branch, -1, True, fork=fork, between=between)


def _between(nodes: list[Node], start: int, end: int) -> frozenset[int] | None:
    """Return the nodes on all ways from one node to another, None if there is no way."""
    if start >= end:
        return None
    seen, todo = {end}, [end]
    while todo:
        for parent in nodes[todo.pop()].parents:
            if parent > start and parent not in seen:
                seen.add(parent)
                todo.append(parent)
    found: set[int] = set()
    for number in sorted(seen):
        if any(parent == start or parent in found for parent in nodes[number].parents):
            found.add(number)
    return frozenset(found) if end in found else None


def _weights(nodes: list[Node], between: frozenset[int], start: int) -> int:
    """Count the steps between two nodes that weights enter, by themselves or from outside."""
    return sum(
        nodes[n].weighted
        or any(nodes[p].touched for p in nodes[n].parents if p != start and p not in between)
        for n in between
    )


def _exclusive(nodes: list[Node], a: int, b: int) -> tuple[int, int]:
    """Count the steps with weights that only one of two nodes was computed by."""
    flags, heap, found = {a: _A, b: _B}, [-a, -b], {_A: 0, _B: 0}
    heapq.heapify(heap)
    waiting = 2
    while waiting:
        number = -heapq.heappop(heap)
        flag = flags.pop(number)
        if flag in found:
            waiting -= 1
            found[flag] += nodes[number].weighted
        for parent in nodes[number].parents:
            before = flags.get(parent, 0)
            if not before:
                heapq.heappush(heap, -parent)
            after = flags[parent] = before | flag
            waiting += (after in found) - (before in found)
    return found[_A], found[_B]


class _Meeting:
    """Where the ways that lead to two nodes meet, going back from both at once.

    `any` is the last node that both were computed from; `free_a` the last one that the second was
    computed from and that reaches the first without weights, `free_b` the other way round.
    """

    def __init__(self, nodes: list[Node], a: int, b: int) -> None:
        self.any: int | None = None
        self.free_a: int | None = None
        self.free_b: int | None = None
        self._flags = {a: _A | _FREE_A, b: _B | _FREE_B}
        self._waiting: dict[int, int] = dict.fromkeys((_A, _B, _FREE_A, _FREE_B), 1)
        self._heap, passed = [-a, -b], 0
        heapq.heapify(self._heap)
        while passed <= _FARTHEST and not self._done():
            number = -heapq.heappop(self._heap)
            node, flag = nodes[number], self._flags[number]
            self._count(flag, -1)
            if node.floating and node.from_input and flag & _A and flag & _B:
                self._look(number, flag)
            onward = self._onward(node, flag)
            passed += node.addition is not None and bool(onward & (_FREE_A | _FREE_B))
            for parent in node.parents if onward else ():
                self._visit(parent, onward)

    def _done(self) -> bool:
        waiting = self._waiting
        if not waiting[_A] or not waiting[_B]:
            return True
        free = (self.free_a, _FREE_A), (self.free_b, _FREE_B)
        settled = all(found is not None or not waiting[flag] for found, flag in free)
        return self.any is not None and settled

    def _look(self, number: int, flag: int) -> None:
        self.any = number if self.any is None else self.any
        if flag & _FREE_A and self.free_a is None:
            self.free_a = number
        if flag & _FREE_B and self.free_b is None:
            self.free_b = number

    def _onward(self, node: Node, flag: int) -> int:
        """Return what is still to be found beyond a node."""
        if node.weighted or self.free_a is not None:
            flag &= ~_FREE_A
        if node.weighted or self.free_b is not None:
            flag &= ~_FREE_B
        common = flag & _A and flag & _B and self.any is not None
        return 0 if common and not flag & (_FREE_A | _FREE_B) else flag

    def _visit(self, number: int, flag: int) -> None:
        before = self._flags.get(number)
        if before is None:
            heapq.heappush(self._heap, -number)
        self._flags[number] = (before or 0) | flag
        self._count(flag & ~(before or 0), 1)

    def _count(self, flag: int, step: int) -> None:
        for each in self._waiting:
            self._waiting[each] += step * bool(flag & each)
