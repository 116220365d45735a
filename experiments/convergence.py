"""Error of deep ResNets against their SDE and ODE limits, on digit images.

Networks and limits read the same weight path. I.i.d. Gaussian weights with residual scale
L^(-1/2) approach an SDE at order 1/2, smooth weights with scale 1/L an ODE at order 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import limits

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. Theorems 4 and 9."
)

PANELS = {
    "iid": "i.i.d. weights, scale $L^{-1/2}$: neural SDE",
    "smooth": "smooth weights, scale $L^{-1}$: neural ODE",
}
NAMES = {"tanh": "tanh", "identity": "linear"}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    width : int
        Size d of the hidden state.
    depths : tuple of int
        Ladder of depths L.
    n_paths : int
        Independent weight draws.
    n_inputs : int
        Digit images, the first of each class.
    length_scale : float
        Correlation length of the smooth weights in layer time.
    """

    width: int = 40
    depths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    n_paths: int = 256
    n_inputs: int = 10
    length_scale: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.n_inputs <= 10:
            raise ValueError(f"n_inputs must lie in 1 ... 10, found {self.n_inputs}.")


SCALES = {
    "smoke": Config(width=8, depths=(8, 16, 32, 64), n_paths=512, n_inputs=2),
    "laptop": Config(),
    "paper": Config(depths=(8, 16, 32, 64, 128, 256, 512, 1024), n_paths=2048),
}


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every kind of weights and every activation."""
    return {"weights": tuple(PANELS), "activation": tuple(NAMES)}


def task(
    config: Config,
    *,
    seed: int,
    weights: str,
    activation: str,
    progress: Callable[[int, int, str], None] | None = None,
) -> xr.Dataset:
    """Measure one line of the figure."""
    paths = {
        "iid": limits.BrownianPath(config.width),
        "smooth": limits.SmoothPath(config.width, length_scale=config.length_scale),
    }
    study = limits.convergence_study(
        limits.ResNet(activation),
        paths[weights],
        depths=config.depths,
        n_paths=config.n_paths,
        seed=seed,
        h0=limits.embed(digits(config.n_inputs), width=config.width, seed=seed),
        progress=progress,
    )
    dataset = study.to_dataset()
    dataset["reference"] = study.reference
    if "closed_form" not in dataset:
        dataset["closed_form"] = xr.full_like(dataset["error"], np.nan)
    return dataset


def digits(n_inputs: int) -> torch.Tensor:
    """Return the first image of each of the first classes, 64 pixels in [0, 1]."""
    images, classes = load_digits(return_X_y=True)
    rows = [int(np.argmax(classes == each)) for each in range(n_inputs)]
    return torch.as_tensor(images[rows] / 16.0, dtype=torch.float64)


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a panel for each kind of weights."""
    with limits.plots.style():
        figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
        for ax, (weights, title) in zip(panels, PANELS.items(), strict=True):
            for activation, name in NAMES.items():
                line = dataset.sel(weights=weights, activation=activation)
                limits.plots.convergence(line, ax=ax, name=name)
            ax.set_title(title)
        sizes = dataset.sizes
        figure.supxlabel(
            f"width {dataset.attrs['width']}, {sizes['path']} weight draws, "
            f"{dataset.attrs['n_inputs']} digit images; bands: 95 % intervals",
            fontsize=7.5,
            color="0.35",
        )
    return figure


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge every order against its theorem, and errors against the closed form."""
    lines = [
        (weights, activation, dataset.sel(weights=weights, activation=activation))
        for weights in PANELS
        for activation in NAMES
    ]
    orders = [_order_verdict(*line) for line in lines]
    exact = [
        _exact_verdict(*line) for line in lines if bool(line[2]["closed_form"].notnull().all())
    ]
    return (*orders, *exact)


def _order_verdict(weights: str, activation: str, line: xr.Dataset) -> limits.Verdict:
    depths = tuple(int(depth) for depth in line["depth"])
    low, high = float(line["order_low"]), float(line["order_high"])
    order = limits.Order(float(line["order"]), low, high, float(line["order_constant"]), depths)
    expected = float(line["expected_order"])
    return limits.Verdict(
        claim=f"{weights} weights, {NAMES[activation]}: strong order",
        asked=f"{expected:g} within 0.03 of an interval narrower than 0.05",
        measured=str(order),
        passed=order.agrees_with(expected),
    )


def _exact_verdict(weights: str, activation: str, line: xr.Dataset) -> limits.Verdict:
    distance = abs(line["error"] - line["closed_form"]) / line["standard_error"]
    worst = float(distance.max())
    return limits.Verdict(
        claim=f"{weights} weights, {NAMES[activation]}: closed form at every depth",
        asked="within 4 standard errors",
        measured=f"at most {worst:.1f} standard errors away",
        passed=worst <= 4,
    )
