"""The list of figures: what each claims, what its numbers say, and how to make it again."""

from collections.abc import Sequence
from dataclasses import dataclass

from limits.estimates import Verdict

__all__ = ["FigureEntry", "figure_index"]

_HEADER = """# Figures

Written by `limits figures` from the numbers in `data/`; do not edit. Verdicts are computed from the
stored numbers, minutes are those that the tasks took together, on one core each.
"""


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
    """

    stem: str
    command: str
    core_minutes: float
    claim: str
    verdicts: Sequence[Verdict]

    @property
    def verdict(self) -> str:
        """The worst word of all verdicts, with the count of those that passed."""
        words = [each.word for each in self.verdicts]
        passed = words.count("pass")
        word = next((each for each in ("FAIL", "not decided") if each in words), "pass")
        return f"{word}, {passed} of {len(self.verdicts)}"


def figure_index(entries: Sequence[FigureEntry]) -> str:
    """Return a Markdown page: one table of all figures, then each with its verdicts.

    Examples
    --------
    >>> verdict = Verdict("slope", "-1 within 0.1", "-1.02", True)
    >>> entry = FigureEntry("made-up", "limits run made-up", 1.5, "A slope.", [verdict])
    >>> print(figure_index([entry]).splitlines()[7])
    | [made-up](#made-up) | `limits run made-up` | 1.5 | A slope. | pass, 1 of 1 |
    """
    rows = [
        _row(
            f"[{each.stem}](#{_anchor(each.stem)})",
            f"`{each.command}`",
            f"{each.core_minutes:.1f}",
            _escaped(each.claim),
            each.verdict,
        )
        for each in entries
    ]
    table = _table(("figure", "command", "core minutes", "claim", "verdict"), rows)
    return "\n".join([_HEADER, table, *(_section(each) for each in entries)])


def _section(entry: FigureEntry) -> str:
    rows = [
        _row(*map(_escaped, (each.claim, each.asked, each.measured)), each.word)
        for each in entry.verdicts
    ]
    table = _table(("claim", "asked", "measured", "verdict"), rows)
    return f"## {entry.stem}\n\n{entry.claim}\n\n![{entry.claim}]({entry.stem}.png)\n\n{table}"


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([_row(*columns), "|" + "---|" * len(columns), *rows, ""])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _anchor(stem: str) -> str:
    """Return what a Markdown reader makes of a heading: lower case, without dots."""
    return stem.lower().replace(".", "")
