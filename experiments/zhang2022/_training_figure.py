"""The picture of training at best rates, and what it reads of the numbers."""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.plots import BLUE, GREEN, ORANGE

CHANCE = math.log(10)
"""Loss in nats of ten equal shares."""


@dataclass(frozen=True)
class Case:
    """tau = L^-beta, or a feed-forward network with weights of variance `gain` / width."""

    title: str
    colour: str
    marker: str
    beta: float = 0.0
    gain: float = 0.0

    def network(self, depth: int) -> dict[str, float]:
        """Return tau and the factor of the skip connection."""
        if self.gain:
            return {"tau": math.sqrt(self.gain), "skip": 0.0}
        return {"tau": depth**-self.beta, "skip": 1.0}


CASES = {
    "half": Case(r"$\tau=L^{-1/2}$", BLUE, "o", beta=0.5),
    "one": Case(r"$\tau=1/L$", GREEN, "^", beta=1.0),
    "quarter": Case(r"$\tau=L^{-1/4}$", ORANGE, "s", beta=0.25),
    "feed-forward": Case("no skip", "0.5", "D", gain=2.0),
}


def draw(dataset: xr.Dataset) -> Figure:
    """Draw validation loss against the rate at the deepest, and test loss and rate by depth."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.8), layout="constrained")
        depths = dataset["depth"].to_numpy()
        for case, look in CASES.items():
            part = dataset.sel(case=case)
            style = {"color": look.colour, "marker": look.marker, "markersize": 3.5}
            _draw_shares(left, part.sel(depth=depths[-1]), style)
            losses = np.stack([at_best(dataset, case, int(depth)) for depth in depths])
            middle.plot(depths, np.exp(np.log(losses).mean(axis=1)), label=look.title, **style)
            middle.fill_between(
                depths, losses.min(axis=1), losses.max(axis=1), color=look.colour, alpha=0.15
            )
            right.plot(depths, best_rates(dataset, case), **style)
        left.set(xscale="log", yscale="log", xlabel=r"rate $\times\ \lambda_{\max}$",
                 ylabel="validation loss (nats)", title=f"choice at $L={depths[-1]}$")  # fmt: skip
        middle.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="test loss (nats)",
                   title="each at its best rate")  # fmt: skip
        middle.axhline(CHANCE, linestyle="--", color="0.35", linewidth=0.9)
        right.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="best rate",
                  title="what the best rate is")  # fmt: skip
        for ax in (middle, right):
            ax.set_xticks(depths, [str(depth) for depth in depths])
            ax.minorticks_off()
        settings = dataset.attrs
        figure.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.suptitle(
            f"digits, $m={settings['width']}$, {settings['epochs']} passes, bands: all "
            f"{dataset.sizes['path']} draws; dashed: chance", fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _draw_shares(ax: Axes, part: xr.Dataset, style: dict) -> None:
    losses = part["loss"].sel(kind="validation").transpose("share", "path").to_numpy()
    known = np.isfinite(losses).all(axis=1)
    ax.plot(part["share"].to_numpy()[known], np.exp(np.log(losses[known]).mean(axis=1)), **style)


def at_best(dataset: xr.Dataset, case: str, depth: int) -> np.ndarray:
    """Return the test losses at the best rate, ``(path,)``; infinite where no rate trains."""
    part = dataset.sel(case=case, depth=depth)
    share = float(part["best_share"])
    if np.isnan(share):
        return np.full(dataset.sizes["path"], np.inf)
    return part["loss"].sel(kind="test").sel(share=share, method="nearest").to_numpy()


def best_rates(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return the best rates, ``(depth,)``."""
    part = dataset.sel(case=case)
    return (part["best_share"] / part["eigenvalue"]).transpose("depth").to_numpy()
