"""Names of what is there in every layer: numbers that multiply with depth written as {}."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

__all__ = ["layer_patterns"]

_NUMBER = re.compile(r"\d+")


def layer_patterns(names: Sequence[Iterable[str]]) -> Callable[[str], str]:
    """Return a function of a name that writes {} for each number that counts layers.

    A number counts layers if it takes more values in a deeper model; others tell parts of a layer
    apart, as in ``layers.3.dropout1``. With one model every number does.

    Parameters
    ----------
    names : sequence of iterable of str
        Of the models, by ascending depth.

    Examples
    --------
    >>> names = [[f"layers.{k}.dropout{i}" for k in range(n) for i in (1, 2)] for n in (2, 4)]
    >>> layer_patterns(names)("layers.3.dropout1")
    'layers.{}.dropout1'
    """
    first, last = _values(names[0]), _values(names[-1])

    def of(name: str) -> str:
        whole = _NUMBER.sub("{}", name)
        places = iter(range(len(name)))

        def written(match: re.Match[str]) -> str:
            place = whole, next(places)
            counts = len(names) == 1 or len(first[place]) != len(last[place])
            return "{}" if counts else match.group()

        return _NUMBER.sub(written, name)

    return of


def _values(names: Iterable[str]) -> defaultdict[tuple[str, int], set[str]]:
    """Return the values that every number takes among names that differ in numbers only."""
    found: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for name in names:
        whole = _NUMBER.sub("{}", name)
        for place, value in enumerate(_NUMBER.findall(name)):
            found[whole, place].add(value)
    return found
