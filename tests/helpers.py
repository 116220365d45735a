"""What several tests share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def standard_errors_from(samples: ArrayLike | Tensor, exact: float) -> float:
    """Return how many standard errors the mean of independent samples is from `exact`."""
    values = np.asarray(samples, dtype=float)
    error = values.std(ddof=1) / math.sqrt(values.size)
    return float((values.mean() - exact) / error)


def within_standard_errors(
    samples: ArrayLike | Tensor, exact: float, *, precision: float, most: float = 4.0
) -> bool:
    """Say whether a mean of independent samples agrees with `exact`.

    Fails outright where the standard error exceeds `precision`, in the units of `exact`: a test
    that cannot tell right from wrong must not pass.
    """
    values = np.asarray(samples, dtype=float)
    error = values.std(ddof=1) / math.sqrt(values.size)
    assert error <= precision, f"standard error {error:.2g} exceeds {precision:.2g}: draw more"
    return bool(abs(values.mean() - exact) <= most * error)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference in units of the largest expected entry."""
    return float((found - expected).abs().max() / expected.abs().max())


def normal_inputs(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return reproducible inputs without structure; the same ones in every precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


@contextmanager
def unit_normals(stream: type) -> Iterator[None]:
    """Replace the normals of a Gaussian path by unit vectors, path p getting the p-th one.

    What is linear in its normals then has A^T A for its covariance, with a row of A a path: no
    sampling error. Every address is a coordinate of its own, numbered in the order of asking.
    """
    places: dict[tuple[str, int, int], int] = {}

    def normals(
        self: Any,
        first_path: int,
        n_paths: int,
        size: int,
        layer: int = 0,
        *,
        n_layers: int | None = None,
        first_entry: int = 0,
        device: Any = None,
    ) -> Tensor:
        rows = [
            [
                places.setdefault((self.name, layer + k, first_entry + e), len(places))
                for e in range(size)
            ]
            for k in range(n_layers or 1)
        ]
        paths = torch.arange(first_path, first_path + n_paths)[:, None]
        drawn = (paths == torch.tensor(rows)[:, None]).to(torch.float32)
        return drawn[0] if n_layers is None else drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "normals", normals)
        yield
