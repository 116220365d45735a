"""The words of a depth check, and what each regime means to whoever reads a verdict."""

from dataclasses import dataclass
from typing import Literal

from limits._typing import Regime

__all__ = [
    "DIRECTIONS", "MEANINGS", "Direction", "Likeness", "Meaning", "Phase", "verdict_colour",
    "verdict_words", "word_colour",
]  # fmt: skip

Direction = Literal["forward", "backward"]
Phase = Literal["initial", "trained"]
Likeness = Literal["SDE-like", "ODE-like", "between"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")


@dataclass(frozen=True)
class Meaning:
    """A regime in plain words.

    Parameters
    ----------
    observed : str
        What happens as depth grows.
    consequence : str
        What follows for the network.

    Examples
    --------
    >>> print(MEANINGS["contraction"])
    Hidden states shrink with depth without end: the signal is lost.
    """

    observed: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.observed[0].upper()}{self.observed[1:]}: {self.consequence}."


MEANINGS: dict[Regime, Meaning] = {
    "identity": Meaning(
        "branches do less and less as depth grows", "a deeper network is no better one"
    ),
    "limit": Meaning(
        "the network approaches a limit as depth grows", "it behaves alike at any depth"
    ),
    "explosion": Meaning(
        "what the branches add grows with depth without end",
        "a deeper network is dominated by them, and no limit describes it",
    ),
    "contraction": Meaning("hidden states shrink with depth without end", "the signal is lost"),
}

_BOUNDED = Meaning(
    "what the branches add grows with depth without end, while normalisation keeps the stream "
    "bounded",
    "the last layers dominate it and the first are forgotten; nothing diverges",
)
# Readable on white, and told apart without red and green: by lightness and by the word itself.
_COLOURS = {
    "limit": "#1a7f37", "identity": "#9a6700", "contraction": "#a40e26", "explosion": "#a40e26",
}  # fmt: skip
_NO_VERDICT = "#6639ba"


def verdict_words(regime: Regime | None, *, bounded: bool) -> str:
    """Return a verdict and what it means, in one sentence.

    Examples
    --------
    >>> verdict_words("contraction", bounded=False)
    'contraction: hidden states shrink with depth without end: the signal is lost.'
    """
    if regime is None:
        return "no verdict: the evidence is too thin."
    meaning = _BOUNDED if bounded else MEANINGS[regime]
    return f"{regime}: {meaning.observed}: {meaning.consequence}."


def verdict_colour(regime: Regime | None, *, bounded: bool) -> str:
    """Return the colour of a verdict: green, amber where nothing breaks, red, violet for none.

    Examples
    --------
    >>> verdict_colour("limit", bounded=False)
    '#1a7f37'
    """
    if regime is None:
        return _NO_VERDICT
    return _COLOURS["identity" if bounded else regime]


def word_colour(word: str) -> str:
    """Return the colour of a verdict as it stands in a table.

    Examples
    --------
    >>> word_colour("explosion (bounded)") == word_colour("identity")
    True
    """
    regime: Regime | None = next((each for each in MEANINGS if word.startswith(each)), None)
    return verdict_colour(regime, bounded=word.endswith("(bounded)"))
