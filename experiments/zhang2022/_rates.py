"""What the tasks of gradient descent share with its figure: the scalings, and fitted rates."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from limits.plots import BLUE, GREEN, ORANGE


@dataclass(frozen=True)
class Case:
    """A scaling: tau = L^-beta, or no skip connection."""

    beta: float | None
    label: str
    colour: str
    marker: str

    def network(self, depth: int) -> dict[str, float]:
        """Return tau and the factor of the skip connection."""
        if self.beta is None:
            return {"tau": math.sqrt(2), "skip": 0.0}
        return {"tau": depth**-self.beta, "skip": 1.0}


CASES = {
    "half": Case(0.5, r"$\tau=L^{-1/2}$", BLUE, "o"),
    "one": Case(1.0, r"$\tau=1/L$", GREEN, "^"),
    "quarter": Case(0.25, r"$\tau=L^{-1/4}$", ORANGE, "s"),
    "feed-forward": Case(None, "feed-forward", "0.5", "D"),
}


def draws(dataset: xr.Dataset, name: str, case: str) -> xr.DataArray:
    """Return the draws of all parts side by side."""
    return dataset[name].sel(case=case).stack(draw=("part", "path"))


def predicted(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return the mean of 2 eta times the smallest eigenvalue at every depth."""
    eta = float(dataset["eta"].sel(case=case).max())
    smallest = draws(dataset, "smallest", case).transpose("depth", "draw")
    return 2 * eta * smallest.mean("draw").to_numpy()


def mean_rates(dataset: xr.Dataset, case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and half of the 95 % interval over draws at every depth; NaN if one diverged."""
    values = draws(dataset, "rate", case).transpose("depth", "draw").to_numpy()
    return values.mean(axis=1), 1.96 * values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
