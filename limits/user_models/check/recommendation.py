"""What to change: the factor of the branches and the learning rate, as rules in depth."""

import math
from dataclasses import dataclass

from limits._typing import Regime
from limits.user_models.check.judgement import Growth

__all__ = ["Recommendation", "power_of_depth", "recommend"]

_SNAP = 0.08
_KNOWN = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Recommendation:
    """How to make the behaviour independent of depth.

    Parameters
    ----------
    tau : str or None
        Factor for `limits.scale_residuals`, None where nothing is to be changed.
    call : str
        The line of Python that applies it, or a sentence that says that nothing is needed.
    adam, sgd : str
        Learning rates as a function of L at which one step moves features equally at all depths.
    reason : str
        Where it comes from, with the exponents.
    """

    tau: str | None
    call: str
    adam: str
    sgd: str
    reason: str


def recommend(
    regime: Regime,
    critical: Growth,
    own: Growth,
    branch: str | None,
    *,
    hooked: bool = True,
    factor: float | None = None,
) -> Recommendation:
    """Return the rules that bring a network to its critical scaling.

    A branch of size L^-alpha changes features by L^(1 - alpha - gamma) in one step of Adam (a
    sign update) with rate L^-gamma, and by L^(1 - 2 alpha - gamma) in one step of SGD.

    Parameters
    ----------
    regime : str
        Verdict.
    critical : Growth
        Exponent at which the updates of this network add up, at least 1/2.
    own : Growth
        Exponent beta of the branches as they are.
    branch : str or None
        Pattern of the modules that were chosen by the user.
    hooked : bool
        Whether every branch is the output of a module, as `limits.scale_residuals` needs it.
    factor : float or None
        What is left of the stream without branches, where something else multiplies it.

    References
    ----------
    Yang, Yu, Zhu, Hayou, "Tensor Programs VI: Feature learning in infinite-depth neural
    networks" (arXiv:2310.02244), Table 1; Marion et al. (2025), Section 5.

    Examples
    --------
    >>> half, zero = Growth(0.51, 0.48, 0.53), Growth(0.0, -0.01, 0.01)
    >>> print(recommend("explosion", half, zero, None).call)
    limits.scale_residuals(model, tau="1/sqrt(L)")
    """
    target = _snapped(critical.value)
    missing = _snapped(target - _snapped(own.value))
    reason = (
        f"the branches of this network have size L^{-own.value:+.2f} and their sum is of order one "
        f"at L^{-critical.value:+.2f} (critical exponent)"
    )
    if factor is not None:
        # Smaller branches would leave the stream to that factor alone.
        unknown = "not known for such a stream"
        reason = f"without branches the stream is multiplied by {factor:.2g} at the deepest"
        return Recommendation(None, _other_factor(regime), unknown, unknown, reason)
    tau = None if regime == "limit" or missing == 0 else power_of_depth(-missing)
    call = _call(tau, branch, hooked=hooked) if tau else _no_factor(regime)
    return Recommendation(tau, call, _rate(-(1 - target)), _rate(2 * target - 1), reason)


def _call(tau: str, branch: str | None, *, hooked: bool) -> str:
    if not hooked:
        return (
            f"multiply every branch by tau = {tau} in the code of the model, h + tau * f(h): the "
            "branches are not outputs of modules, which limits.scale_residuals would need"
        )
    named = f', branch="{branch}"' if branch else ""
    return f'limits.scale_residuals(model, tau="{tau}"{named})'


def _no_factor(regime: Regime) -> str:
    if regime == "limit":
        return "nothing to change: the branches are at their critical scale"
    return (
        f"no power of L cures this {regime}: the branches have their critical exponent already. "
        "Look at the constant in front of them, at what follows the sums (normalisation, "
        "activation), and at what the branches do to gradients"
    )


def _other_factor(regime: Regime) -> str:
    if regime == "limit":
        return "nothing to change: the stream keeps its size; do not scale the branches alone"
    return (
        f"change what multiplies the stream besides its branches: this {regime} is not cured by a "
        "factor of the branches alone"
    )


def power_of_depth(exponent: float) -> str:
    """Write a power of L as `limits.scale_residuals` reads it.

    Examples
    --------
    >>> [power_of_depth(x) for x in (-0.5, -1, -0.25, 0.5)]
    ['1/sqrt(L)', '1/L', 'L^-0.25', 'L^0.5']
    """
    if exponent == -0.5:
        return "1/sqrt(L)"
    if abs(exponent) == 1:
        return "1/L" if exponent < 0 else "L"
    return f"L^{exponent:g}"


def _rate(exponent: float) -> str:
    if abs(exponent) < _SNAP:
        return "constant in L"
    return f"proportional to {power_of_depth(_round(exponent))}"


def _snapped(exponent: float) -> float:
    """Return a familiar exponent where one is near, else two digits."""
    nearest = min(_KNOWN, key=lambda known: abs(known - abs(exponent)))
    close = abs(nearest - abs(exponent)) <= _SNAP
    return math.copysign(nearest, exponent) if close else _round(exponent)


def _round(exponent: float) -> float:
    return round(exponent, 2)
