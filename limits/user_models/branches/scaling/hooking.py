"""The modules whose outputs a branch consists of: where a factor on it can be put."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from limits.user_models.branches.graph.nodes import Graph, ModuleCall
from limits.user_models.branches.residual_sums import ResidualAddition

__all__ = ["SCRIPTED", "Hook", "Hookable", "OutputPlace"]

OutputPlace: TypeAlias = int | str | None
SCRIPTED = (
    "module {!r} is scripted, and takes no hook. Scale the model as it is written, or script "
    "nothing but what is no residual branch"
)
# Steps back from a sum to the modules that its branch consists of.
_FARTHEST = 200


@dataclass(frozen=True)
class Hook:
    """A module whose output is a branch or a summand of one, or a block that holds its skip.

    Parameters
    ----------
    name : str
        The module.
    kind : {"branch", "block"}
        Whether it returns f(h), or the whole block and returns h + f(h).
    place : int, str or None
        Where in its output, if that is a tuple or a dict.
    """

    name: str
    kind: Literal["branch", "block"]
    place: OutputPlace


_Found: TypeAlias = list[tuple[ModuleCall, OutputPlace]]


class Hookable:
    """Looks for the modules of branches in the graph of a forward pass."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = Counter(parent for node in graph.nodes for parent in node.parents)
        self.calls = Counter(call.name for call in graph.calls)
        self.refused: dict[str, str] = {}
        self._returned: dict[int, _Found] = defaultdict(list)
        for call in graph.calls:
            for place, output in call.outputs.items():
                # Tensors in lists inside of an output cannot be reached by a place.
                if not isinstance(place, int) or place >= 0:
                    self._returned[output].append((call, place))

    def hooks_of(self, sums: list[ResidualAddition]) -> list[tuple[Hook, ...] | None]:
        """Return what to multiply for every sum, None where no module returns the branch.

        A module is taken only if every call of it returns a branch: the outermost one that does
        is the one a reader knows, and inner ones follow. A module that is left aside is in
        `refused`, with the reason.
        """
        found: list[tuple[Hook, ...] | None] = []
        self.refused = {
            name: SCRIPTED.format(name)
            for name, kind in self.graph.sealed.items()
            if kind == "scripted"
        }
        for _ in range(len(self.calls) + 1):
            found = [self._hooks(each) for each in sums]
            taken = Counter(hook for hooks in found for hook in hooks or ())
            bad = {
                hook.name: f"module {hook.name!r} is called {self.calls[hook.name]} times and only "
                f"{uses} of its outputs are residual ({hook.kind}). Use a module of its own for "
                "every branch"
                for hook, uses in taken.items()
                if uses != self.calls[hook.name]
            }
            if not bad:
                break
            self.refused |= bad
        return found

    def named(self, each: ResidualAddition, names: frozenset[str]) -> tuple[Hook, ...]:
        """Return the modules among those named whose outputs a branch consists of."""
        found: dict[Hook, None] = {}
        start = self.start_of(each)
        todo, seen = [each.branch if start is None else start], set()
        while todo:
            node = todo.pop()
            if node in seen or self.uses[node] != 1:
                continue
            seen.add(node)
            here = [pair for pair in self._returned[node] if pair[0].name in names]
            if here:
                found |= {Hook(call.name, "branch", place): None for call, place in here[-1:]}
                continue
            todo.extend(reversed(self.graph.nodes[node].carriers))
        return tuple(found)

    def start_of(self, each: ResidualAddition) -> int | None:
        """Return the node of f(h), None where a factor on it is no factor of the update.

        An interpolation from h to h + f(h) adds a part of f(h). One from h to f(h) multiplies h.
        """
        if self.graph.nodes[each.total].kind != "lerp":
            return each.branch
        whole = self.graph.nodes[each.branch]
        others = [operand for operand in whole.operands if operand != each.skip]
        undone = whole.kind == "sum" and len(others) == 1 and self.uses[each.branch] == 1
        return others[0] if undone and each.skip_first else None

    def returns(self, names: Iterable[str]) -> dict[str, set[int]]:
        """Return the nodes that modules return."""
        wanted = set(names)
        found: dict[str, set[int]] = defaultdict(set)
        for call in self.graph.calls:
            if call.name in wanted:
                found[call.name] |= set(call.outputs.values())
        return found

    def _hooks(self, each: ResidualAddition) -> tuple[Hook, ...] | None:
        start = self.start_of(each)
        found = None
        if start is not None:
            found = self._leaves(start, lambda name: name not in self.refused, 0)
        if found is not None:
            pairs = dict.fromkeys((call.name, place) for call, place in found)
            return tuple(Hook(name, "branch", place) for name, place in pairs)
        for call, place in self._returned[each.total]:
            if call.first_input == each.skip and call.name not in self.refused:
                return (Hook(call.name, "block", place),)
        return None

    def _leaves(self, node: int, allowed: Callable[[str], bool], steps: int) -> _Found | None:
        """Return calls whose outputs, multiplied, multiply a node and nothing else."""
        # What else reads the branch would be multiplied as well.
        if self.uses[node] != 1 or steps > _FARTHEST:
            return None
        for call, place in reversed(self._returned[node]):
            if allowed(call.name):
                return [(call, place)]
        step = self.graph.nodes[node]
        if not step.carriers:
            return None
        ways = (self._leaves(parent, allowed, steps + 1) for parent in step.carriers)
        if not step.each:
            return next((way for way in ways if way is not None), None)
        found: _Found = []
        for way in ways:
            if way is None:
                return None
            found.extend(way)
        return found
