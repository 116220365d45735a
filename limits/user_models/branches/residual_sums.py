"""Tell residual sums h + f(h) from all other additions of a forward pass."""

from dataclasses import dataclass

from limits.user_models.branches.forward_graph import Graph

__all__ = ["Ancestry", "ResidualAddition", "outermost_of", "residual_additions"]

_CLEARLY_LONGER = 2


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
    """

    addition: int
    skip: int
    branch: int
    total: int
    skip_first: bool
    certain: bool = True


def residual_additions(graph: Graph, *, outermost: bool = True) -> list[ResidualAddition]:
    """Return the sums h + f(h) along the residual stream, in order; some may be uncertain.

    Parameters
    ----------
    graph : Graph
        Of one forward pass.
    outermost : bool
        Whether sums inside the branch of another one are left out.
    """
    ancestry = Ancestry(graph)
    found = []
    for total, node in enumerate(graph.nodes):
        operands = [p for p in node.parents if graph.nodes[p].floating]
        alike = all(graph.nodes[p].shape == node.shape for p in operands)
        if node.addition is None or len(operands) != 2 or operands[0] == operands[1] or not alike:
            continue
        judged = ancestry.judge(*operands)
        if judged is not None:
            skip, branch, certain = judged
            found.append(
                ResidualAddition(node.addition, skip, branch, total, skip == operands[0], certain)
            )
    return outermost_of(ancestry, found, [x for x in found if x.certain]) if outermost else found


def outermost_of(
    ancestry: "Ancestry", found: list[ResidualAddition], sure: list[ResidualAddition]
) -> list[ResidualAddition]:
    """Leave out the sums inside a branch of one that is sure.

    A sum of two ways inside a branch, such as attention beside an MLP or a low-rank correction
    beside a matrix, is scaled with its branch and no residual stream of its own.
    """
    return [
        each
        for each in found
        if not any(ancestry.inside(each.total, other) for other in sure if other is not each)
    ]


class Ancestry:
    """Which nodes a node was computed from, as bits of an integer each."""

    def __init__(self, graph: Graph) -> None:
        self.ancestors: list[int] = []
        # Reached without passing weights: what a shortcut may do to the stream.
        self.unweighted: list[int] = []
        self.weighted = self.floating = 0
        for number, node in enumerate(graph.nodes):
            bit = 1 << number
            above = free = bit
            for parent in node.parents:
                above |= self.ancestors[parent]
                free |= 0 if node.weighted else self.unweighted[parent]
            self.ancestors.append(above)
            self.unweighted.append(free)
            self.weighted |= bit if node.weighted and node.from_input else 0
            self.floating |= bit if node.floating and node.from_input else 0

    def judge(self, a: int, b: int) -> tuple[int, int, bool] | None:
        """Return (skip, branch, certain) of a sum of nodes `a` and `b`, None if not residual."""
        for skip, branch in ((a, b), (b, a)):
            if self.ancestors[branch] >> skip & 1:
                return (skip, branch, True) if self._weights(branch, skip) else None
        free = [
            bool(self.unweighted[one] & self.ancestors[other] & self.floating)
            for one, other in ((a, b), (b, a))
        ]
        if all(free) or not self.ancestors[a] & self.ancestors[b] & self.floating:
            return None
        if any(free):
            skip, branch = (a, b) if free[0] else (b, a)
            return (skip, branch, True) if self._weights(branch, skip) else None
        in_a, in_b = self._weights(a, b), self._weights(b, a)
        skip, branch = (a, b) if in_a < in_b else (b, a)
        return skip, branch, max(in_a, in_b) >= _CLEARLY_LONGER * min(in_a, in_b)

    def inside(self, node: int, addition: ResidualAddition) -> bool:
        """Say whether a node belongs to the branch of a residual addition."""
        between = self.ancestors[addition.branch] & ~self.ancestors[addition.skip]
        return bool(between >> node & 1)

    def _weights(self, of: int, beyond: int) -> int:
        """Count the steps with weights on the way to one node and not on that to another."""
        return (self.ancestors[of] & ~self.ancestors[beyond] & self.weighted).bit_count()
