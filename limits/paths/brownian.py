"""Independent Gaussian weights: the neural SDE's driver."""

from dataclasses import dataclass

from limits.paths.base import Family, WeightPath
from limits.paths.sources import IndependentSource
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["BrownianPath"]


@plain_numbers
@dataclass(frozen=True)
class BrownianPath(WeightPath):
    """I.i.d. Gaussian weights across layers, X = Brownian motion / sqrt(width).

    dX_k has independent N(0, 1 / (width L)) entries and V_k = sqrt(L) dX_k the N(0, 1 / width)
    of the usual initialisation. Read at a shallower depth by summing increments.

    Parameters
    ----------
    width : int
        Size d of the hidden state.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Section 4.1.

    Examples
    --------
    >>> path = BrownianPath(8)
    >>> path.index, path.critical_beta
    (0.5, 0.5)
    """

    independent_gaussian = True

    @property
    def family(self) -> Family:
        """Row of the theorem table."""
        return "brownian"

    @property
    def index(self) -> float:
        """Index gamma = 1/2."""
        return 0.5

    @property
    def label(self) -> str:
        """Name of the law."""
        return "brownian"

    def source(self, *, depth: int, seed: int, role: str) -> IndependentSource:
        """Return the normals behind a draw."""
        stream = self.stream(seed=seed, role=role, depth=depth)
        return IndependentSource.of_matrices(stream, self.width, depth, Stream.normals, "normal")
