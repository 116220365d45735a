"""Ask the depth check about networks of which the truth is known, and judge what it says.

    python -m tests.zoo                         all rows whose packages are installed
    python -m tests.zoo --rows NAME ...         some of them; --list names all
    python -m tests.zoo --rotate COMMIT         ten, chosen by the name of a commit
    python -m tests.zoo --torch-only            without the libraries of the extra [zoo]

Exits with 1 if a row is wrong and confident, crashes, or is refused badly, unless `NOT_YET` names
it, and if a row that it names is not bad any more. What is true and how it is judged stands in
`tests/zoo/truth.py`.
"""

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from time import monotonic

import torch

from tests.zoo.by_hand import BY_HAND
from tests.zoo.installed import INSTALLED, available
from tests.zoo.not_yet import NOT_YET
from tests.zoo.trial import tried
from tests.zoo.truth import BADLY, CRASH, RIGHT, WRONG, Row

ROWS = (*BY_HAND, *INSTALLED)
ROTATED = 10
_LONGEST = 400


def rotated(commit: str, rows: Sequence[Row], count: int = ROTATED) -> tuple[Row, ...]:
    """Return rows chosen by a text: every commit tries others, and trying again the same."""

    def draw(row: Row) -> str:
        return hashlib.sha256(f"{commit}:{row.name}".encode()).hexdigest()

    return tuple(sorted(rows, key=draw)[:count])


def unexpected(row: Row, word: str) -> bool:
    """Say whether a row comes to what nobody knows of: bad, or good against what is written."""
    return (word in (WRONG, CRASH, BADLY)) != (row.name in NOT_YET)


def run(rows: Iterable[Row], *, seeds: int, brief: bool = False) -> int:
    """Try rows one after the other, print what each comes to, and count what is unexpected."""
    words: Counter[str] = Counter()
    judged = right = news = 0
    for row in rows:
        begun = monotonic()
        outcome = tried(row, seeds=seeds)
        words[outcome.word] += 1
        new = unexpected(row, outcome.word)
        news += new
        if not row.truth.refused:
            judged += 1
            right += outcome.word == RIGHT
        found = outcome.found.replace("\n", " ")
        if brief and len(found) > _LONGEST:
            found = f"{found[:_LONGEST]} ..."
        sys.stdout.write(
            f"{outcome.word:20} {row.name} ({monotonic() - begun:.0f} s)"
            f"{' UNEXPECTED' if new else ''}\n"
            f"    truth: {row.truth}\n    found: {found}\n"
        )
        sys.stdout.flush()
    listed = ", ".join(f"{count} {word}" for word, count in words.most_common())
    sys.stdout.write(f"{sum(words.values())} rows: {listed}\n")
    if judged:
        share = 100 * right / judged
        sys.stdout.write(f"{right} of {judged} that should be judged are right ({share:.0f} %)\n")
    return news


def main() -> int:
    parser = argparse.ArgumentParser(description="Judge the depth check by architectures.")
    parser.add_argument("--rows", nargs="+", metavar="NAME", default=[], help="rows to try")
    parser.add_argument("--list", action="store_true", help="name the rows, and try nothing")
    parser.add_argument("--rotate", metavar="COMMIT", help=f"try {ROTATED}, chosen by this text")
    parser.add_argument("--torch-only", action="store_true", help="without other libraries")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the weights")
    parser.add_argument("--full", action="store_true", help="do not cut what was found")
    options = parser.parse_args()
    unknown = sorted(set(options.rows) - {row.name for row in ROWS})
    if unknown:
        parser.error(f"there is no row called {', '.join(unknown)}; --list names all")
    rows = [row for row in ROWS if available(row.needs)]
    if options.torch_only:
        rows = [row for row in rows if not row.needs]
    if options.rows:
        rows = [row for row in rows if row.name in options.rows]
    if options.rotate:
        rows = list(rotated(options.rotate, rows))
    if options.list:
        sys.stdout.write("".join(f"{row.name}: {row.truth}\n" for row in rows))
        return 0
    missing = sorted({row.needs for row in ROWS if not available(row.needs)})
    if missing and not options.torch_only:
        sys.stdout.write(f"not installed, left out: {', '.join(missing)}\n")
    torch.set_num_threads(1)
    return 1 if run(rows, seeds=options.seeds, brief=not options.full) else 0


if __name__ == "__main__":
    sys.exit(main())
