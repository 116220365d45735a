"""What to change: the factor of the branches and the learning rate, as rules in depth."""

import math
from dataclasses import dataclass

from limits._typing import Regime
from limits.user_models.check.judging.growth import MARGIN, Growth
from limits.user_models.check.judging.learning_rates import adam_exponent, sgd_exponent

__all__ = [
    "Evidence",
    "Recommendation",
    "familiar",
    "familiar_number",
    "power_of_depth",
    "recommend",
]

# The factors of published recipes: none, 1/sqrt(L), 1/L.
_USUAL = (0.0, 0.5, 1.0)
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SNAP = 0.08


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
    power : float
        Exponent of L in tau, 0 where nothing is to be changed.
    step : str or None
        What the training step that was made says of its own learning rate; None without one.
    """

    tau: str | None
    call: str
    adam: str
    sgd: str
    reason: str
    power: float = 0.0
    step: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What a recommendation rests on.

    Parameters
    ----------
    regime : str
        Verdict.
    critical : Growth
        Exponent at which the updates of this network add up, at least 1/2.
    own : Growth
        Exponent beta of the branches as they are.
    growth : Growth
        Exponent of what the branches add up to, which a factor has to take away.
    weights : float
        Largest exponent of a weight that falls with L, see `factor_in_weights`.
    branch : str or None
        Pattern of the modules that were chosen by the user.
    refusal : str
        Why `limits.scale_residuals` would refuse this model, empty if it would not.
    factor : float or None
        What is left of the stream without branches, where something else multiplies it.
    features : Growth or None
        Exponent of the change of features by the training step that was made.
    """

    regime: Regime
    critical: Growth
    own: Growth
    growth: Growth
    weights: float = 0.0
    branch: str | None = None
    refusal: str = ""
    factor: float | None = None
    features: Growth | None = None


def recommend(evidence: Evidence) -> Recommendation:
    """Return the rules that bring a network to its critical scaling.

    References
    ----------
    Yang, Yu, Zhu, Hayou, "Tensor Programs VI: Feature learning in infinite-depth neural
    networks" (arXiv:2310.02244), Table 1; Marion et al. (2025), Section 5.

    Examples
    --------
    >>> half, zero = Growth(0.51, 0.48, 0.53), Growth(0.0, -0.01, 0.01)
    >>> print(recommend(Evidence("explosion", half, zero, half)).call)
    limits.scale_residuals(model, tau="1/sqrt(L)")
    """
    own, critical = evidence.own, evidence.critical
    reason = (
        f"the branches of this network have size L^{-own.value:+.2f} and their sum is of order one "
        f"at L^{-critical.value:+.2f} (critical exponent)"
    )
    step = _of_step(evidence)
    if evidence.factor is not None:
        # Smaller branches would leave the stream to that factor alone.
        unknown = "not known for such a stream"
        reason = (
            f"without branches the stream is multiplied by {evidence.factor:.2g} at the deepest"
        )
        return Recommendation(
            None, _other_factor(evidence.regime), unknown, unknown, reason, step=step
        )
    missing = 0.0 if evidence.regime == "limit" else _missing(evidence)
    tau = power_of_depth(-missing) if missing else None
    call = _call(tau, evidence) if tau else _no_factor(evidence.regime)
    alpha = familiar(_shifted(own, missing))
    where = ""
    if evidence.weights:
        where = f"; weights fall like L^-{evidence.weights:.2g}, which is where the factor sits"
    return Recommendation(
        tau,
        call,
        _rate(adam_exponent(alpha, familiar_number(evidence.weights))),
        _rate(sgd_exponent(alpha, familiar_number(evidence.weights))),
        reason + where,
        -missing,
        step,
    )


def _missing(evidence: Evidence) -> float:
    """Return the exponent of the factor that is missing, of the sign that the verdict asks for."""
    growing = evidence.regime == "explosion"
    if abs(evidence.growth.value) <= MARGIN or (evidence.growth.value > 0) != growing:
        return 0.0
    known = _USUAL[1:] if growing else tuple(-each for each in _USUAL[1:])
    return familiar(evidence.growth, known)


def familiar(exponent: Growth, known: tuple[float, ...] = _USUAL) -> float:
    """Return 0, 1/2 or 1 unless the interval excludes all of them, then what was measured.

    An exponent within 0.125 counts as met, as growth within 0.125 counts as a limit. Of several
    that are open the nearest is taken.

    Examples
    --------
    >>> familiar(Growth(0.4, 0.1, 0.7)), familiar(Growth(0.26, 0.25, 0.27))
    (0.5, 0.25)
    >>> familiar(Growth(0.64, 0.63, 0.65))
    0.64
    """
    value = exponent.value
    low, high = exponent.low - MARGIN, exponent.high + MARGIN
    met = [each for each in known if low <= each <= high]
    if met:
        return min(met, key=lambda each: abs(each - value))
    return familiar_number(value)


def familiar_number(exponent: float) -> float:
    """Return a multiple of 1/4 where one is near, else two digits."""
    nearest = math.copysign(min(_QUARTERS, key=lambda each: abs(each - abs(exponent))), exponent)
    return nearest if abs(nearest - exponent) <= _SNAP else round(exponent, 2)


def _shifted(exponent: Growth, by: float) -> Growth:
    return Growth(exponent.value + by, exponent.low + by, exponent.high + by)


def _of_step(evidence: Evidence) -> str | None:
    """Say what the measured change of features asks of the learning rate of the user's step."""
    found = evidence.features
    if found is None or not math.isfinite(found.low):
        return None
    measured = f"your training step changes features by L^{found}"
    if found.low <= 0 <= found.high or abs(found.value) <= MARGIN:
        return f"{measured}: its learning rate follows depth already"
    power = power_of_depth(familiar(found, (-1.0, -0.5, 0.5, 1.0)))
    return f"{measured}: divide its learning rate by {power}"


def _call(tau: str, evidence: Evidence) -> str:
    if evidence.refusal:
        return (
            f"multiply every branch by tau = {tau} in the code of the model, h + tau * f(h): "
            f"limits.scale_residuals cannot, since {evidence.refusal}"
        )
    named = f', branch="{evidence.branch}"' if evidence.branch else ""
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
    return f"proportional to {power_of_depth(familiar_number(exponent))}"
