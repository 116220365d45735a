"""The words of a depth check, and what each regime means to whoever reads a verdict."""

from dataclasses import dataclass
from typing import Literal

from limits._typing import Regime

__all__ = ["MEANINGS", "Direction", "Likeness", "Meaning", "Phase"]

Direction = Literal["forward", "backward"]
Phase = Literal["initial", "trained"]
Likeness = Literal["SDE-like", "ODE-like", "between"]


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
        "what the branches add grows with depth without end", "deeper networks diverge"
    ),
    "contraction": Meaning("hidden states shrink with depth without end", "the signal is lost"),
}
