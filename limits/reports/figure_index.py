"""The list of figures: what each claims, what its numbers say, and how to make it again."""

from collections.abc import Sequence
from dataclasses import dataclass

from limits.estimates import Verdict

__all__ = ["FigureEntry", "figure_index"]

_HEADER = """# Figures

Written by `limits figures` from the numbers in `data/`; do not edit. Verdicts are computed from the
stored numbers, minutes are those that the tasks took together, on one core each, and the commit is
the one that computed them. Claims that fail or are not decided stand first.
"""

_ORDER = ("FAIL", "not decided", "pass")


@dataclass(frozen=True)
class FigureEntry:
    """One figure and the file of numbers behind it.

    Parameters
    ----------
    stem : str
        Name of both files, without suffix.
    command : str
        What makes the figure again.
    core_minutes : float
        Time of all tasks together.
    claim : str
        What the figure shows, in a sentence.
    verdicts : sequence of Verdict
        What its experiment's ``check`` says of the stored numbers.
    commit : str
        What computed the numbers; empty where that is not known.
    """

    stem: str
    command: str
    core_minutes: float
    claim: str
    verdicts: Sequence[Verdict]
    commit: str = ""

    @property
    def verdict(self) -> str:
        """The worst word of all verdicts, with the count of those that passed."""
        passed = sum(each.passed for each in self.verdicts)
        return f"{self.word}, {passed} of {len(self.verdicts)}"

    @property
    def word(self) -> str:
        """The worst word of all verdicts."""
        words = [each.word for each in self.verdicts]
        return next((each for each in _ORDER if each in words), "pass")


def figure_index(entries: Sequence[FigureEntry]) -> str:
    """Return a Markdown page: one table of all figures, then each with its verdicts.

    Examples
    --------
    >>> verdict = Verdict("slope", "-1 within 0.1", "-1.02", True)
    >>> entry = FigureEntry("made-up", "limits run made-up", 1.5, "A slope.", [verdict])
    >>> print(figure_index([entry]).splitlines()[8])
    | [made-up](#made-up) | `limits run made-up` | 1.5 | unknown | A slope. | pass, 1 of 1 |
    """
    entries = sorted(entries, key=lambda each: _ORDER.index(each.word))
    rows = [
        _row(
            f"[{each.stem}](#{_anchor(each.stem)})",
            f"`{each.command}`",
            f"{each.core_minutes:.1f}",
            each.commit[:7] or "unknown",
            _escaped(each.claim),
            each.verdict,
        )
        for each in entries
    ]
    table = _table(("figure", "command", "core minutes", "commit", "claim", "verdict"), rows)
    return "\n".join([_HEADER, table, *(_section(each) for each in entries)])


def _section(entry: FigureEntry) -> str:
    verdicts = sorted(entry.verdicts, key=lambda each: _ORDER.index(each.word))
    rows = [
        _row(*map(_escaped, (each.claim, each.asked, each.measured)), each.word)
        for each in verdicts
    ]
    table = _table(("claim", "asked", "measured", "verdict"), rows)
    before = {
        each.changed: [other.claim for other in verdicts if other.changed == each.changed]
        for each in verdicts
        if each.changed
    }
    changed = [
        f"* Asked otherwise before: {'; '.join(map(_escaped, claims))}. {text}"
        for text, claims in before.items()
    ]
    changed += [""] if changed else []
    picture = f"![{entry.claim}]({entry.stem}.png)"
    return "\n".join([f"## {entry.stem}\n\n{entry.claim}\n\n{picture}\n\n{table}", *changed])


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([_row(*columns), "|" + "---|" * len(columns), *rows, ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _anchor(stem: str) -> str:
    """Return what a Markdown reader makes of a heading: lower case, without dots."""
    return stem.lower().replace(".", "")
