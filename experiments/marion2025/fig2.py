"""Norms and gradients of deep networks at the critical scale: lognormal, with known constants.

Uniform weights, as published, and Gaussian ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kstest, kstwo, norm

import limits
from limits.experiments.marion2025._ratios import CITATION as CITATION
from limits.experiments.marion2025._ratios import measured

BETA = 0.5


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    depth : int
        Depth L.
    gaussian_draws, uniform_draws : int
        Networks with Gaussian and with uniform weights.
    batches : int
        Tasks that the draws of a law are spread over.
    """

    width: int = 100
    depth: int = 1000
    gaussian_draws: int = 10000
    uniform_draws: int = 10000
    batches: int = 10

    def __post_init__(self) -> None:
        if self.gaussian_draws % self.batches or self.uniform_draws % self.batches:
            raise ValueError(
                f"batches={self.batches} must divide gaussian_draws={self.gaussian_draws} and "
                f"uniform_draws={self.uniform_draws}"
            )


SCALES = {
    "smoke": Config(width=16, depth=100, gaussian_draws=400, uniform_draws=200, batches=2),
    "laptop": Config(width=40, depth=400, gaussian_draws=10000, uniform_draws=10000),
    "paper": Config(),
}
_LAWS = ("uniform", "gaussian")
_QUANTITIES = {"output": r"$|h_L|\,/\,|h_0|$", "gradient": r"$|p_0|\,/\,|p_L|$"}
_COVERED = 0.99
"""Probability that samples of the very law would pass all verdicts."""


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    return {"law": _LAWS, "batch": range(config.batches)}


def cost(config: Config, *, law: str, batch: int) -> float:
    return 20 * config.uniform_draws if law == "uniform" else config.gaussian_draws


def task(
    config: Config, *, seed: int, law: str, batch: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Return log(|h_L| / |h_0|) and log(|p_0| / |p_L|) of a batch of networks."""
    uniform = law == "uniform"
    hidden, gradients = measured(
        (limits.IIDPath if uniform else limits.BrownianPath)(config.width),
        depth=config.depth,
        betas=(BETA,),
        n_draws=(config.uniform_draws if uniform else config.gaussian_draws) // config.batches,
        seed=seed,
        gradient=True,
        part=16 if uniform else 128,
        progress=progress,
    )
    logs = torch.stack([hidden.growth[:, 0], gradients.growth[:, 0]]).float().numpy()
    return xr.Dataset(
        {"log_ratio": (("quantity", "draw"), logs)},
        coords={"quantity": list(_QUANTITIES), "draw": np.arange(logs.shape[1])},
        attrs={"width": config.width, "depth": config.depth},
    )


def lognormal(width: int) -> tuple[float, float]:
    """Return mean and standard deviation of the log ratio in the limit."""
    law = limits.closed_forms.log_norm_law("res-3", width)
    return law.mean / 2, law.variance**0.5 / 2


def lognormal_at_depth(width: int, depth: int) -> tuple[float, float]:
    """Return mean and standard deviation of the log ratio at a depth, to order 1/L.

    A layer adds log|1 + e g + ...| with e^2 = S / (d^2 L), S = sum_i relu(z_i)^2 and d independent
    normals; the terms up to e^4 of mean and variance are kept. To order e^2 uniform weights and
    gradients have the same law by symmetry.
    """
    square = 1 / (2 * width * depth)
    fourth = (width**2 / 4 + 5 * width / 4) / (width**4 * depth**2)
    mean = square * (width - 2) + fourth * (4 * (width + 2) - width * (width + 2) / 2 - 12)
    variance = square + fourth * (4 - 1.5 * width) + width**2 / 4 * (fourth - square**2)
    return depth * mean / 2, (depth * variance) ** 0.5


def logs(dataset: xr.Dataset, law: str, quantity: str) -> np.ndarray:
    """Return all log ratios of one law."""
    values = dataset["log_ratio"].sel(law=law, quantity=quantity).to_numpy().ravel()
    return values[np.isfinite(values)].astype(float)


def distance(dataset: xr.Dataset, law: str, quantity: str) -> float:
    """Return the Kolmogorov-Smirnov distance to the lognormal law at the depth that was run."""
    settings = dataset.attrs
    mean, deviation = lognormal_at_depth(int(settings["width"]), int(settings["depth"]))
    return float(kstest(logs(dataset, law, quantity), norm(mean, deviation).cdf).statistic)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the histograms with the density of the limit over them."""
    with limits.plots.style():
        figure, panels = plt.subplots(
            2, 2, figsize=(7.2, 4.2), layout="constrained", sharex=True, sharey=True
        )
        for row, law in zip(panels, _LAWS, strict=True):
            for ax, quantity in zip(row, _QUANTITIES, strict=True):
                _histogram(ax, dataset, law, quantity)
        for ax, quantity in zip(panels[1], _QUANTITIES.values(), strict=True):
            ax.set_xlabel(quantity)
        for ax in panels[:, 0]:
            ax.set_ylabel("density")
        panels[0, 0].legend(loc="upper right")
    return figure


def _histogram(ax: Axes, dataset: xr.Dataset, law: str, quantity: str) -> None:
    width = int(dataset.attrs["width"])
    mean, deviation = lognormal(width)
    values = logs(dataset, law, quantity)
    colour = "#9db7d5" if law == "gaussian" else "#f3c19c"
    bins = np.exp(mean + deviation * np.linspace(-4, 4, 61 if len(values) > 3000 else 31))
    ax.hist(np.exp(values), bins=bins, density=True, color=colour, edgecolor="white", linewidth=0.3)
    ratio = np.exp(mean + deviation * np.linspace(-4.2, 4.2, 300))
    density = norm(mean, deviation).pdf(np.log(ratio)) / ratio
    label = r"limit: $\log\sim\mathcal{N}(\frac{1}{4}-\frac{1}{2d},\,\frac{1}{2d})$"
    ax.plot(ratio, density, color="black", linestyle=(0, (4, 2)), linewidth=1.2, label=label)
    ax.set_title(
        f"{law.capitalize()} weights, $d={width}$, $L={int(dataset.attrs['depth'])}$, "
        f"{len(values)} draws", fontsize=8.5,
    )  # fmt: skip
    found = f"KS distance\n{distance(dataset, law, quantity):.4f}"
    ax.text(0.03, 0.93, found, transform=ax.transAxes, va="top", fontsize=8)


def largest_distance(n_draws: int) -> float:
    """Return what the distance of so many draws of the very law does not exceed.

    With probability `_COVERED` for all four distances at once.
    """
    tests = len(_LAWS) * len(_QUANTITIES)
    return float(kstwo.ppf(1 - (1 - _COVERED) / tests, n_draws))


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the distance of every histogram to the lognormal law."""
    verdicts = []
    for law in _LAWS:
        for quantity in _QUANTITIES:
            n_draws = len(logs(dataset, law, quantity))
            found, most = distance(dataset, law, quantity), largest_distance(n_draws)
            verdicts.append(
                limits.Verdict(
                    f"{law.capitalize()} weights, {quantity}: KS distance to the lognormal law of "
                    f"width {dataset.attrs['width']} and depth {dataset.attrs['depth']}",
                    f"below {most:.4f}, the {_COVERED:.0%} point of {n_draws} draws of that law, "
                    "for all four",
                    f"{found:.4f}",
                    found < most,
                )
            )
    return tuple(verdicts)
