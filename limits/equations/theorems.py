"""The theorem table: which limit a network has, in which sense, and at what rate."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["THEOREMS", "Coupling", "Form", "Kind", "Theorem"]

Kind = Literal["sde", "ode", "young", "identity", "explosion", "contraction"]
Coupling = Literal["strong", "law"]
Form = Literal["path", "law"]


@dataclass(frozen=True)
class Theorem:
    """One row: what a family of weights and a block converge to at the critical exponent.

    Parameters
    ----------
    kind, coupling, form
        As in `DepthLimit`.
    order : float or None
        Rate of the strong error where the coupling is strong, of the weak error otherwise.
    equation : str
        The limit, in plain text.
    source : str
        Where it is proved or derived.
    """

    kind: Kind
    coupling: Coupling
    form: Form
    order: float | None
    equation: str
    source: str


_ISOTROPIC = "dH = c Sigma(H)^(1/2) dB, Sigma_ab(h) = E<g(h^a), g(h^b)> I / width"
_LAW = "moments of independent increments; Marion et al. (2025), Section 4.1"

THEOREMS: dict[tuple[str, str, Form], Theorem] = {
    ("brownian", "res-1", "path"): Theorem(
        "sde", "strong", "path", 0.5, "dH = c dX s(H) (Ito)", "Marion et al. (2025), Theorem 4"
    ),
    ("brownian", "res-1", "law"): Theorem("sde", "law", "law", 1.0, _ISOTROPIC, _LAW),
    ("brownian", "res-3", "law"): Theorem("sde", "law", "law", 1.0, _ISOTROPIC, _LAW),
    ("iid", "res-1", "law"): Theorem("sde", "law", "law", 1.0, _ISOTROPIC, _LAW),
    ("iid", "res-3", "law"): Theorem("sde", "law", "law", 1.0, _ISOTROPIC, _LAW),
    ("smooth", "res-1", "path"): Theorem(
        "ode", "strong", "path", 1.0, "dH = c V_t s(H) dt", "Marion et al. (2025), Theorem 9"
    ),
    ("smooth", "res-3", "path"): Theorem(
        "ode", "strong", "path", 1.0, "dH = c V_t relu(W_t H) dt", "Marion et al. (2025), Theorem 9"
    ),
}
"""Rows by (family of the path, block, form)."""

TRIVIAL: dict[str, Theorem] = {
    "identity": Theorem(
        "identity", "strong", "path", None, "H_t = h_0", "Marion et al. (2025), Sections 3 and 4"
    ),
    "explosion": Theorem(
        "explosion", "strong", "path", None, "none", "Marion et al. (2025), Sections 3 and 4"
    ),
}
"""Rows away from the critical exponent."""
