"""Quasi-Monte Carlo sets of particles, mirrored in v."""

import numpy as np
import torch
from torch import Tensor

from limits.randomness import Stream

__all__ = ["scrambled_particles"]

_BITS = 30


def scrambled_particles(
    stream: Stream, number: int, *, width: int, particles: int, spreads: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return u and v ``(width, particle)``: a scrambled Sobol set as normals, twice, v and -v.

    Sets of different numbers are scrambled independently, and each is Gaussian in every point,
    so that means over sets are unbiased and their spread tells the error.

    Parameters
    ----------
    stream : Stream
        Of the scrambles.
    number : int
        Which set.
    width : int
        D.
    particles : int
        Twice a power of two.
    spreads : tuple of float
        Standard deviations of the entries of u and v.

    References
    ----------
    Owen, "Scrambling Sobol' and Niederreiter-Xing points", J. Complexity 14 (1998).

    Examples
    --------
    >>> u, v = scrambled_particles(Stream(0, "x"), 0, width=3, particles=64, spreads=(1.0, 2.0))
    >>> bool((u[:, :32] == u[:, 32:]).all() and (v[:, :32] == -v[:, 32:]).all())
    True
    """
    import scipy

    words = torch.randint(0, 2**31, (8,), generator=stream.generator(number), device="cpu")
    rng = np.random.default_rng(words.tolist())
    # scipy before 1.15 knows the generator by this name only.
    sobol = scipy.stats.qmc.Sobol(2 * width, bits=_BITS, seed=rng)  # pyright: ignore[reportCallIssue]
    # Centres of cells: a normal of a corner would be infinite.
    points = sobol.random(particles // 2) + 0.5 ** (_BITS + 1)
    normals = torch.special.ndtri(torch.from_numpy(points)).mT
    u, v = normals[:width] * spreads[0], normals[width:] * spreads[1]
    return torch.cat([u, u], dim=1), torch.cat([v, -v], dim=1)
