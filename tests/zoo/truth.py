"""What is known of an architecture by its definition, and how what a tool says is judged by it.

The truth of a row is written down from the definition of the architecture, never from what a check
said. Four facts: the streams with their number of residual sums L, the regime, the factor that
makes the branches' sum independent of depth, and whether the network should be refused.

*Regimes.* Blocks h + f(h) whose branches keep their size add up to something that grows like
sqrt(L) for independent layers and like L for tied or smooth ones: ``explosion``, cured by
1/sqrt(L) or by 1/L. Branches that have the factor in their code or in the draw of their weights
are in the ``limit``. A stream that is normalised after every sum is *bounded*: it has a limit, or
its branches explode and it says so of itself (``bounded``).

*Judgement.* Only the public interface is asked: `limits.depth_check`, `limits.scale_residuals`,
and attributes of what they return. What a row comes to, worst first:

crash             an exception that is not one of the library's own
WRONG AND CONFIDENT
                  a count of branches, a verdict, a kind of limit or a factor that is not so, said
                  without a doubt; a recommended call that the library refuses; other branches
                  scaled than there are; a verdict on what has none
refused badly     an error or no verdict, and the reason does not name what stands in the way
refused rightly   the reason names it: for networks that should be judged too, but it is not right
right             everything that was said is true
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import nn

__all__ = [
    "ANY_FACTOR", "BADLY", "CRASH", "RIGHT", "RIGHTLY", "WRONG", "Outcome", "Row", "Truth",
    "bounded", "explosion", "in_limit", "refuse",
]  # fmt: skip

Count: TypeAlias = Callable[[int], int]
Word: TypeAlias = Literal[
    "right", "refused rightly", "refused badly", "WRONG AND CONFIDENT", "crash"
]

RIGHT: Word = "right"
RIGHTLY: Word = "refused rightly"
BADLY: Word = "refused badly"
WRONG: Word = "WRONG AND CONFIDENT"
CRASH: Word = "crash"
ANY_FACTOR = frozenset(("none", "1/sqrt(L)", "1/L"))

# Evidence that leaves two regimes open says so with its intervals: a good reason everywhere.
_OPEN = r"regime open|regimes? (is|are) open|too few|no useful interval"


@dataclass(frozen=True)
class Truth:
    """What is so by definition.

    Parameters
    ----------
    streams : mapping
        Number of residual sums of every stream that gets deeper, as a function of depth.
    regimes : frozenset of str
        Verdicts that are true; empty where none is.
    factors : frozenset of str
        Among ``none``, ``1/sqrt(L)`` and ``1/L``.
    law : {"iid", "tied"} or None
        How updates add up: not coherent, or coherent; None where it is not clear.
    bounded : bool
        Whether an explosion is true too if it is said to be bounded, or not to matter.
    nested : callable
        Sums that may be counted or not: those of constant number, such as a backbone's or one
        long skip, and those inside a branch.
    joint : callable, optional
        Another true count, where two branches are joined before they meet the stream.
    by_hand : bool
        Whether branches are no outputs of modules, so that `limits.scale_residuals` may refuse.
    separate : bool
        Whether streams have nothing to do with each other and must not be merged.
    causes : str
        Regular expression for the words that a reason for refusing may use.
    refused : bool
        Whether there is nothing to judge.
    """

    streams: Mapping[str, Count]
    regimes: frozenset[str]
    factors: frozenset[str]
    law: Literal["iid", "tied"] | None = "iid"
    bounded: bool = False
    nested: Count = lambda depth: 0
    joint: Count | None = None
    by_hand: bool = False
    separate: bool = False
    causes: str = r"$^"
    refused: bool = False

    def counts(self, depth: int) -> set[int]:
        """Return the numbers of branches that are true at a depth."""
        total, more = self.total(depth), self.nested(depth)
        found = set(range(total, total + more + 1))
        if self.joint is not None:
            found |= set(range(self.joint(depth), self.joint(depth) + more + 1))
        return found

    def total(self, depth: int) -> int:
        """Return the branches of all streams."""
        return sum(count(depth) for count in self.streams.values())

    def __str__(self) -> str:
        if self.refused:
            return "refuse"
        streams = " + ".join(f"{name} {count(8)}" for name, count in self.streams.items())
        regimes = "/".join(sorted(self.regimes)) + (" (bounded)" if self.bounded else "")
        return f"{streams} at 8; {regimes}; {' or '.join(sorted(self.factors))}"


def explosion(per_layer: int = 1, *, law: Literal["iid", "tied"] = "iid", **more: Any) -> Truth:
    """Return the truth of branches that keep their size."""
    streams = more.pop("streams", {"stream": lambda depth: per_layer * depth})
    factor = "1/sqrt(L)" if law == "iid" else "1/L"
    return Truth(streams, frozenset(("explosion",)), frozenset((factor,)), law, **more)


def in_limit(per_layer: int = 1, *, law: Literal["iid", "tied"] | None = "iid", **more: Any):
    """Return the truth of branches that have their factor already."""
    streams = more.pop("streams", {"stream": lambda depth: per_layer * depth})
    return Truth(streams, frozenset(("limit",)), frozenset(("none",)), law, **more)


def bounded(per_layer: int = 1, *, law: Literal["iid", "tied"] | None = None, **more: Any) -> Truth:
    """Return the truth of a stream that stays bounded by what follows its sums."""
    streams = more.pop("streams", {"stream": lambda depth: per_layer * depth})
    regimes = more.pop("regimes", frozenset(("limit",)))
    return Truth(streams, regimes, ANY_FACTOR, law, bounded=True, **more)


def refuse(causes: str, per_layer: int = 0, *, constant: int = 0) -> Truth:
    """Return the truth of what has no verdict, with the words of which one must be said.

    It may have branches all the same, which can be scaled: `per_layer` times the depth, and a
    `constant` number.
    """
    streams = {"stream": lambda depth: per_layer * depth + constant}
    return Truth(
        streams if per_layer or constant else {},
        frozenset(), frozenset(), causes=causes, refused=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One architecture.

    Parameters
    ----------
    name : str
        Of the architecture.
    make : callable
        ``make(depth)`` builds it with random weights.
    inputs : callable
        Returns what it runs on.
    truth : Truth
        By definition.
    depths : tuple of int
        Given to the check.
    needs : str
        Package beside torch.
    options : mapping
        Further arguments of `limits.depth_check`, such as `branch`; they are what a user would
        have to say.
    """

    name: str
    make: Callable[[int], nn.Module]
    inputs: Callable[[], Any]
    truth: Truth
    depths: tuple[int, ...] = (4, 8, 16, 32)
    needs: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a row came to: one of the five words, and what was found."""

    word: Word
    found: str


_BADNESS: tuple[Word, ...] = (RIGHT, RIGHTLY, BADLY, WRONG, CRASH)


def worst(outcomes: list[Outcome]) -> Outcome:
    """Return the worst of several."""
    return max(outcomes, key=lambda each: _BADNESS.index(each.word))


def of_refusal(truth: Truth, reason: str) -> Outcome:
    """Judge an error of the library, or the reason of a verdict that is withheld."""
    named = re.search(f"{truth.causes}|{_OPEN}" if not truth.refused else truth.causes, reason)
    return Outcome(RIGHTLY if named else BADLY, f"refused: {reason}")


def of_check(row: Row, check: Any) -> Outcome:
    """Judge what a depth check says."""
    truth = row.truth
    if check.verdict is None:
        return of_refusal(truth, check.reason)
    tau = check.recommendation.tau or "none"
    said = (
        f"{check.verdict}{' (bounded)' if check.bounded else ''}, {check.kind}, "
        f"L {check.branches}, {tau}"
    )
    wrong = [text for text in _mistakes(row, check, tau) if text]
    return Outcome(WRONG if wrong else RIGHT, "; ".join([said, *wrong]))


def _mistakes(row: Row, check: Any, tau: str) -> list[str]:
    truth = row.truth
    if truth.refused:
        return ["there is nothing to judge"]
    found = counts_of(check, len(row.depths))
    # A depth of one layer may be left out.
    depths = row.depths[-len(found) :]
    right = all(count in truth.counts(d) for count, d in zip(found, depths, strict=True))
    regime = check.verdict in truth.regimes or (truth.bounded and _harmless(check))
    other = {"iid": "ODE-like", "tied": "SDE-like"}.get(truth.law or "")
    return [
        "" if right else f"counts {found} are not {[truth.total(d) for d in depths]}",
        "" if regime else f"the regime is {' or '.join(sorted(truth.regimes))}",
        "" if tau in truth.factors else f"the factor is {' or '.join(sorted(truth.factors))}",
        f"layers are {truth.law}" if other and check.kind == other else "",
        *_of_streams(row, check),
    ]


def _harmless(check: Any) -> bool:
    return bool(check.bounded) or check.verdict == "limit"


def counts_of(check: Any, n_depths: int) -> list[int]:
    """Return how many branches were found in all streams together, at every depth."""
    streams = getattr(check, "streams", None)
    if not streams:
        return list(check.branches)
    listed = list(streams.values()) if isinstance(streams, Mapping) else list(streams)
    return [sum(each) for each in zip(*(stream.branches for stream in listed), strict=True)]


def _of_streams(row: Row, check: Any) -> list[str]:
    """Compare the streams one by one, where a check tells them apart."""
    streams = getattr(check, "streams", None)
    if not streams or not row.truth.separate:
        return []
    listed = list(streams.values()) if isinstance(streams, Mapping) else list(streams)
    found = sorted(stream.branches[-1] for stream in listed)
    true = sorted(count(row.depths[-1]) for count in row.truth.streams.values())
    missing = [each for each in true if each not in found]
    return [f"streams of {found} branches are not those of {true}"] if missing else []


def of_scaling(row: Row, scaled: Any, depth: int) -> Outcome:
    """Judge what was scaled, by the number of branches."""
    if not row.truth.streams:
        return Outcome(WRONG, f"scaled {len(scaled.branches)} branches where there are none")
    if len(scaled.branches) in row.truth.counts(depth):
        return Outcome(RIGHT, f"scaled {len(scaled.branches)}")
    return Outcome(WRONG, f"scaled {len(scaled.branches)} of {row.truth.total(depth)} branches")


def of_scaling_refused(row: Row, reason: str, *, recommended: bool) -> Outcome:
    """Judge a refusal to scale: wrong if the check has just recommended it."""
    if recommended:
        return Outcome(WRONG, f"recommends what it refuses: {reason}")
    if row.truth.by_hand:
        return Outcome(RIGHT, "to be scaled by hand")
    return of_refusal(row.truth, reason)
