"""The factor of a branch as a rule in the number L of branches."""

import re
from collections.abc import Callable
from typing import TypeAlias

from limits.exceptions import LimitsError
from limits.scalars import plain

__all__ = ["Tau", "factor_at", "rule_of"]

Tau: TypeAlias = float | str | Callable[[int], float]

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_RULE = re.compile(
    rf"(?:{_NUMBER}\*)?L(?:(?:\^|\*\*)\(?(-?){_NUMBER}\)?)?"
    rf"|{_NUMBER}/(?:(sqrt)\(L\)|L(?:(?:\^|\*\*){_NUMBER})?)"
)


def factor_at(tau: Tau, depth: int) -> float:
    """Return the number that a rule gives at a depth.

    Parameters
    ----------
    tau : str, float or callable
        ``"1/sqrt(L)"``, ``"1/L"``, ``"0.5*L^-0.5"`` and the like, a number, or a function of L.
    depth : int
        Number of branches L.

    Raises
    ------
    LimitsError
        If the rule is not understood, or its number not positive.

    Examples
    --------
    >>> factor_at("2/sqrt(L)", 16)
    0.5
    """
    asked = _of_rule(tau, depth) if isinstance(tau, str) else tau(depth) if callable(tau) else tau
    value = plain(asked)
    if isinstance(value, bool) or not isinstance(value, float | int) or not 0 < value < 1e30:
        raise LimitsError(
            f"tau must be a positive number at L = {depth}, found {value!r}. Use for example "
            '"1/sqrt(L)" or 0.1.'
        )
    return float(value)


def rule_of(tau: Tau) -> str:
    """Return how a factor was asked for, for messages."""
    return tau if isinstance(tau, str) else f"{tau:g}" if isinstance(tau, float | int) else "given"


def _of_rule(rule: str, depth: int) -> float:
    match = _RULE.fullmatch(rule.replace(" ", ""))
    if match is None:
        raise LimitsError(
            f'tau={rule!r} is not understood. Write "1/sqrt(L)", "1/L", "2/sqrt(L)", "1/L^0.4", '
            '"L^-0.4" or "0.5*L^-0.5", or pass a number or a function of L.'
        )
    factor, sign, exponent, numerator, root, power = match.groups()
    if numerator is None:
        return float(factor or 1) * depth ** float(f"{sign or ''}{exponent or 1}")
    return float(numerator) * depth ** -(0.5 if root else float(power or 1))
