"""What the tasks of gradient descent share with its figure: the scalings, kernels and rates."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.stats import beta

import limits
from limits.plots import BLUE, GREEN, ORANGE

SHARE = 0.8
"""Learning rate times the largest eigenvalue; steps overshoot from 1 and diverge from 2 on."""
REACHED = 0.1
"""Share of its first loss that a draw must fall below; one constant for all signs leaves half."""


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


def descend(
    nets: limits.AnalysedEnsemble, inputs: torch.Tensor, targets: torch.Tensor, *,
    rates: torch.Tensor, steps: int,
) -> np.ndarray:  # fmt: skip
    """Descend |y - y*|^2 / 2, every draw at a rate of its own; return losses ``(draw, step)``.

    A draw that overflows is infinite or NaN from there on, and leaves the others alone.
    """
    losses = np.full((len(nets), steps + 1), np.nan)
    for step in range(steps + 1):
        errors = nets.outputs(inputs) - targets
        losses[:, step] = errors.double().square().sum(dim=(1, 2)).numpy() / 2
        if step < steps:
            nets.descend(errors * rates[:, None, None].to(errors), rate=1.0)
    return losses


def draws(dataset: xr.Dataset, name: str, case: str) -> xr.DataArray:
    """Return the draws of all parts side by side, without those that were not computed."""
    stacked = dataset[name].sel(case=case).stack(draw=("part", "path"))
    return stacked.dropna("draw", how="all")


def log_conditions(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return the logs of the kernels' condition numbers before training, ``(depth, draw)``."""
    values = draws(dataset, "log_condition", case).transpose("depth", "draw").to_numpy()
    return values.astype(float)


def excess_growth(dataset: xr.Dataset, case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return how much more log kappa grows to the last depth than towards a limit, and the limit's.

    An approach of order L^-1/2, that of the norm's own law, log kappa = a - c L^-1/2, is known
    from the first depth and the last but one; what it predicts at the last is returned second.
    """
    logs, ends = log_conditions(dataset, case), dataset["depth"].to_numpy() ** -0.5
    share = (ends[-2] - ends[-1]) / (ends[0] - ends[-2])
    expected = logs[-2] + share * (logs[-2] - logs[0])
    return logs[-1] - expected, expected


def rates_of(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return minus d log loss / d step of every draw, ``(depth, draw)``; a lost draw has 0."""
    logs = draws(dataset, "log_loss", case).transpose("depth", "step", "draw").astype(float)
    fallen = (logs.isel(step=0) - logs.isel(step=-1)) / (dataset.sizes["step"] - 1)
    return fallen.fillna(0).to_numpy()


def expected_rates(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return the rate along the smallest eigenvalue of the first kernel, ``(depth, draw)``."""
    trained = draws(dataset, "log_loss", case)["draw"]
    logs = draws(dataset, "log_condition", case).sel(draw=trained).transpose("depth", "draw")
    return -2 * np.log1p(-SHARE * np.exp(-logs.to_numpy().astype(float)))


def reached(dataset: xr.Dataset) -> dict[int, tuple[int, int]]:
    """Return for every further width how many draws fell below `REACHED`, and of how many."""
    found = {}
    for case in dataset["case"].to_numpy():
        if case.startswith("half-"):
            logs = draws(dataset, "log_loss", case).sel(depth=dataset.attrs["narrow_depth"])
            fell = (logs.isel(step=-1) - logs.isel(step=0)).to_numpy()
            hits = int((np.where(np.isnan(fell), 0, fell) < np.log(REACHED)).sum())
            found[int(case.removeprefix("half-"))] = (hits, len(fell))
    return found


def share_interval(hits: int, total: int, level: float = 0.99) -> tuple[float, float]:
    """Return the exact interval of a probability of which `hits` of `total` draws were seen."""
    tail = (1 - level) / 2
    low = beta.ppf(tail, hits, total - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, total - hits) if hits < total else 1.0
    return float(low), float(high)
