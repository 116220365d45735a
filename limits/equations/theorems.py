"""The theorem table: which limit a network has, in which sense, and at what rate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from limits.paths.base import Family

__all__ = [
    "Coupling",
    "DrivenBy",
    "Form",
    "Kind",
    "Structure",
    "Theorem",
    "away_from_critical",
    "find",
]

Kind = Literal["sde", "ode", "young", "identity", "explosion", "contraction"]
Coupling = Literal["strong", "law"]
Form = Literal["path", "law"]
DrivenBy = Literal["weights", "noise", "nothing"]
Structure = Literal["outer", "inner", "reflected"]
"""Blocks without inner weights (res-1), with them (res-2, res-3), and with a relu after the
addition (post-relu)."""


@dataclass(frozen=True)
class Theorem:
    """One row: what a family of weights and a block converge to at the critical exponent.

    Parameters
    ----------
    kind, coupling, form
        As in `DepthLimit`.
    driver : {"weights", "noise", "nothing"}
        What the limit is driven by; a drift that correlations leave behind needs nothing.
    order : callable
        Rate of the strong error where the coupling is strong, of the weak error otherwise, as a
        function of the index of the path; None where no rate is known.
    equation : str
        The limit, in plain text.
    source : str
        Where it is proved or derived.
    """

    kind: Kind
    coupling: Coupling
    form: Form
    driver: DrivenBy
    order: Callable[[float], float | None]
    equation: str
    source: str


# Named functions, because a limit that travels to another process takes its theorem along.
def _first(_: float) -> float:
    return 1.0


def _half(_: float) -> float:
    return 0.5


def _unknown(_: float) -> None:
    return None


def _of_young(index: float) -> float:
    return 2 * index - 1


def _of_averaging(index: float) -> float:
    return min(index - 0.5, 1 - index)


def _of_drift(index: float) -> float:
    return 0.5 - index


def _pathwise(
    kind: Kind,
    equation: str,
    *,
    order: Callable[[float], float | None],
    source: str,
    driver: DrivenBy = "weights",
) -> Theorem:
    """Return a limit that holds path by path on the weights of the network."""
    return Theorem(kind, "strong", "path", driver, order, equation, source)


def _in_law(equation: str, *, order: Callable[[float], float | None], source: str) -> Theorem:
    """Return an SDE that holds in law, driven by noise of its own."""
    return Theorem("sde", "law", "law", "noise", order, equation, source)


_MARION = "Marion et al., JMLR 26 (2025)"
_LAW = _in_law(
    "dH = c Sigma(H)^(1/2) dB, Sigma_ab(h) = E<g(h^a), g(h^b)> I / width",
    order=_first,
    source=f"moments of independent increments; {_MARION}, Section 4.1",
)

# h_{k+1} = relu(h_k + dY_k) is Lindley's recursion: coordinate by coordinate its solution is
# h_k = Y_k + max(0, max_{j <= k} -Y_j), the Skorokhod map of the sums Y. That map is Lipschitz in
# the supremum norm, so that Gronwall's argument for the equation without reflection goes through,
# driven by the same weights. What is new is the distance between the maximum over layers and the
# maximum over layer time: L^(-1/2) for Brownian weights, where it has a mean and so is the weak
# error as well, L^-1 for smooth ones.
_REFLECTION = "Skorokhod map, Lipschitz on the orthant"
_REFLECTED_LAW = _in_law(
    "dH = c Sigma(H)^(1/2) dB + dK reflected at 0, Sigma_ab(h) = <h^a, h^b> I / width",
    order=_half,
    source=f"moments of independent increments; {_REFLECTION}",
)

_TABLE: dict[tuple[Family, Structure, Form], Theorem] = {
    ("brownian", "outer", "path"): _pathwise(
        "sde",
        "dH = c dX g(H) (Ito)",
        order=_half,
        source=f"{_MARION}, Theorem 4",
    ),
    ("brownian", "outer", "law"): _LAW,
    ("brownian", "inner", "law"): _LAW,
    ("iid", "outer", "law"): _LAW,
    ("iid", "inner", "law"): _LAW,
    ("smooth", "outer", "path"): _pathwise(
        "ode",
        "dH = c V_t g(H) dt",
        order=_first,
        source=f"{_MARION}, Theorem 9",
    ),
    ("smooth", "inner", "path"): _pathwise(
        "ode",
        "dH = c V_t g(H, W_t) dt",
        order=_first,
        source=f"{_MARION}, Theorem 9",
    ),
    ("persistent", "outer", "path"): _pathwise(
        "young",
        "dH = c dX g(H) (Young)",
        order=_of_young,
        source="Hu, Liu, Nualart, Ann. Appl. Probab. 26 (2016), Theorem 1.1, for the rate",
    ),
    ("persistent", "inner", "path"): _pathwise(
        "young",
        "dH = c dX gbar(H) (Young), gbar(h) = E g(h, W)",
        order=_of_averaging,
        source="averaging of the inner weights along the path",
    ),
    ("antipersistent", "outer", "path"): _pathwise(
        "ode",
        "dH/dt = -(c^2 / (2 width)) Dg(H)^T g(H)",
        order=_of_drift,
        source="second-order expansion; sum of r(j) over j >= 1 is -1/2 for H < 1/2",
        driver="nothing",
    ),
    ("antipersistent", "inner", "law"): _in_law(
        "dH = c (c_H / width)^(1/2) |H| dB - c^2 H / (4 pi width) dt, one input, relu",
        order=_unknown,
        source="second-order expansion with the correlation of consecutive inner weights",
    ),
    ("brownian", "reflected", "path"): _pathwise(
        "sde",
        "dH = c dX H + dK (Ito, reflected at 0)",
        order=_half,
        source=f"{_REFLECTION}; Slominski, Stochastic Process. Appl. 94 (2001), for the rate",
    ),
    ("brownian", "reflected", "law"): _REFLECTED_LAW,
    ("iid", "reflected", "law"): _REFLECTED_LAW,
    ("smooth", "reflected", "path"): _pathwise(
        "ode",
        "dH = c V_t H dt + dK (reflected at 0)",
        order=_first,
        source=_REFLECTION,
    ),
}

_TRIVIAL: dict[Kind, str] = {
    "identity": "H_t = h_0",
    "explosion": "none: hidden states grow without bound",
    "contraction": "none: hidden states shrink to the zeros of g",
}


def find(family: Family, structure: Structure, form: Form) -> Theorem | None:
    """Return the row for a form, or for the other one where only that has a limit."""
    rows = [_TABLE.get((family, structure, each)) for each in (form, "law", "path")]
    return next((row for row in rows if row is not None), None)


def away_from_critical(kind: Kind, structure: Structure = "outer") -> Theorem:
    """Return the row of a regime without an equation."""
    equation, source = _TRIVIAL[kind], f"{_MARION}, Sections 3 to 5"
    if structure == "reflected":
        equation = "H_t = relu(h_0)" if kind == "identity" else equation
        source = "Zhang et al., Mach. Learn. 111 (2022), Sections 3 and 4"
    return _pathwise(kind, equation, order=_unknown, source=source)
