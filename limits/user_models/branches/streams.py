"""The residual streams of a model: what was found, what was left out, and why."""

from dataclasses import dataclass, field

from limits.user_models.branches.graph.nodes import Graph
from limits.user_models.branches.residual_sums import ResidualAddition
from limits.user_models.branches.scaling.hooking import Hook
from limits.user_models.branches.towers import Dropped

__all__ = ["ResidualStream", "Streams"]


@dataclass(frozen=True)
class ResidualStream:
    """One residual stream of a forward pass: its sums h + f(h), one after the other.

    Parameters
    ----------
    name : str
        What the names of its branches have in common, such as ``"encoder.layers"``.
    sums : tuple of ResidualAddition
        In order. ``sums[k].segment`` counts the stretches between which weights act on the stream
        itself or its size changes (the stages of a convolutional network); where the stream is
        only reshaped, as when tokens are flattened, the stretch goes on.
    hooks : tuple of (tuple of Hook) or None
        By sum: the modules whose outputs f(h) consists of; None where no module returns it.
    begins : int
        Node of the first state.
    inside : str
        Module of the branch of another stream that this one is inside of; empty for most.
    """

    name: str
    sums: tuple[ResidualAddition, ...]
    hooks: tuple[tuple[Hook, ...] | None, ...]
    begins: int
    inside: str = ""

    @property
    def depth(self) -> int:
        """Number of residual branches L along the stream."""
        return len(self.sums)

    @property
    def branches(self) -> tuple[str | None, ...]:
        """The module of every branch, several joined by `` + ``, None where there is none."""
        return tuple(
            None if hooks is None else " + ".join(hook.name for hook in hooks)
            for hooks in self.hooks
        )

    @property
    def segments(self) -> tuple[int, ...]:
        """The stretch that every sum belongs to."""
        return tuple(each.segment for each in self.sums)

    def __str__(self) -> str:
        where = f", inside of {self.inside}" if self.inside else ""
        return f"{self.name or 'stream'}: {self.depth} branches{where}"


@dataclass(frozen=True)
class Streams:
    """All residual streams of a forward pass, and the sums that were left out.

    Parameters
    ----------
    streams : tuple of ResidualStream
        In the order of their first sums. Each has its own L, and its factor is tau(L).
    dropped : tuple of Dropped
        Residual sums that are not counted, with the reason.
    graph : Graph
        Of the forward pass.
    origin : str
        What the model was run on.
    reasons : mapping of str to str
        Why modules that return branches cannot be multiplied, by their names.
    """

    streams: tuple[ResidualStream, ...]
    dropped: tuple[Dropped, ...]
    graph: Graph = field(repr=False)
    origin: str = "the inputs given"
    reasons: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def depth(self) -> int:
        """Number of residual branches of all streams together."""
        return sum(stream.depth for stream in self.streams)

    @property
    def additions(self) -> list[ResidualAddition]:
        """The sums of all streams, in the order of the forward pass."""
        return sorted((s for each in self.streams for s in each.sums), key=lambda s: s.total)

    @property
    def modules(self) -> list[str | None]:
        """The modules of the branches, in the order of `additions`."""
        named = {
            s.total: name
            for each in self.streams
            for s, name in zip(each.sums, each.branches, strict=True)
        }
        return [named[s.total] for s in self.additions]

    @property
    def n_unclear(self) -> int:
        """Sums that were left out since either operand may be the branch."""
        return sum(each.count for each in self.dropped if each.kind == "unclear")

    @property
    def hidden(self) -> str:
        """A sentence about modules that cannot be looked into; empty if there are none."""
        sealed = self.graph.sealed
        if not sealed:
            return ""
        which, why = next(iter(sealed.items()))
        before = "torch.jit.script" if why == "scripted" else "that module is put in"
        return (
            f"{len(sealed)} of its modules cannot be looked into, the first is {which!r} ({why}): "
            f"if residual sums are in there, use the model as it was before {before}."
        )

    def __str__(self) -> str:
        lines = [
            *map(str, self.streams),
            *(f"left out: {each.count}, {each.reason}" for each in self.dropped),
        ]
        return "\n".join(lines)
