"""Convolutional ResNets with and without batch normalisation: plain, and scaled by L^-1/2.

On digit images by default, without pooling and with eight channels; with the files of CIFAR-10
the published ResNet-20 to ResNet-1202.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import limits
from limits.experiments.zhang2022._errors import (
    digit_verdicts,
    errors,
    named,
    published,
    published_verdicts,
    span,
)
from limits.plots import BLUE, ORANGE

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120. Deep networks in practice. "
    "He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016."
)

LOOKS = {"plain": (ORANGE, "s", r"$\tau=1$"), "tau": (BLUE, "o", r"$\tau=L^{-1/2}$")}
TITLES = {"batch": "batch normalisation", "none": "no normalisation, $\\tau$ trained"}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    normalised, unnormalised : tuple of int
        Depths with batch normalisation and without: blocks on digits, layers 6 n + 2 of the
        published networks on CIFAR-10.
    n_draws : int
        Networks of every kind.
    channels : int
        Of the networks for digits.
    epochs, unnormalised_epochs : int
        Passes over the data.
    learning_rate, unnormalised_rate : float
        At the start, with momentum 0.9.
    batch : int
        Inputs per step.
    milestones : tuple of int
        Epochs from which on the learning rate is ten times smaller.
    weight_decay : float
        On all parameters.
    folder : str
        Folder ``cifar-10-batches-bin``; the digits when empty.
    device : str
        Where networks are trained.
    """

    normalised: tuple[int, ...] = (4, 30, 100)
    unnormalised: tuple[int, ...] = (30,)
    n_draws: int = 3
    channels: int = 8
    epochs: int = 8
    unnormalised_epochs: int = 25
    learning_rate: float = 0.1
    unnormalised_rate: float = 0.02
    batch: int = 64
    milestones: tuple[int, ...] = ()
    weight_decay: float = 0.0
    folder: str = ""
    device: str = "cpu"


SCALES = {
    "smoke": Config(
        normalised=(4, 30), unnormalised=(30,), n_draws=1, channels=4, epochs=4,
        unnormalised_epochs=2,
    ),
    "laptop": Config(),
    # Needs --folder: without the files of CIFAR-10 the networks would be blocks on digits.
    "paper": Config(
        normalised=(20, 32, 44, 56, 110, 1202), unnormalised=(20, 56, 110), n_draws=5, epochs=200,
        unnormalised_epochs=200, learning_rate=0.1, unnormalised_rate=0.1, batch=128,
        milestones=(100, 150), weight_decay=1e-4, folder="cifar-10-batches-bin",
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for every network and draw."""
    names = [f"batch/{scaling}/{depth}" for depth in config.normalised for scaling in LOOKS]
    names += [f"none/{scaling}/{depth}" for depth in config.unnormalised for scaling in LOOKS]
    return {"network": names, "draw": range(config.n_draws)}


def cost(config: Config, *, network: str, draw: int) -> float:
    """Relative time: blocks times epochs."""
    normalisation, _, depth = network.split("/")
    epochs = config.epochs if normalisation == "batch" else config.unnormalised_epochs
    return int(depth) * epochs


def model(config: Config, network: str, *, seed: int) -> limits.ConvResNet:
    """Return a network by its name."""
    normalisation, scaling, size = network.split("/")
    depth = int(size) if not config.folder else (int(size) - 2) // 2
    shared = {
        "tau": depth**-0.5 if scaling == "tau" else 1.0, "normalisation": normalisation,
        "seed": seed,
    }  # fmt: skip
    if config.folder:
        return limits.ConvResNet.published(int(size), **shared)
    return limits.ConvResNet(
        (depth,), channels=(config.channels,), image=(1, 8, 8), n_classes=10, pooled=False,
        **shared,
    )  # fmt: skip


def recipe(config: Config, normalisation: str) -> limits.Recipe:
    """Return how networks with or without batch normalisation are trained."""
    normalised = normalisation == "batch"
    return limits.Recipe(
        epochs=config.epochs if normalised else config.unnormalised_epochs,
        learning_rate=config.learning_rate if normalised else config.unnormalised_rate,
        batch=config.batch, milestones=config.milestones, weight_decay=config.weight_decay,
        crop=4 if config.folder else 0, flip=bool(config.folder),
    )  # fmt: skip


def task(
    config: Config,
    *,
    seed: int,
    network: str,
    draw: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train one network and record its test error after every epoch."""
    read = limits.data.cifar10(config.folder) if config.folder else limits.data.digits()
    net = model(config, network, seed=seed).to(config.device)
    trained = limits.train_classifier(
        net, limits.data.standardised(read, channels=net.image[0]),
        recipe(config, network.partition("/")[0]), seed=seed, image=net.image, progress=progress,
    )  # fmt: skip
    longest = max(config.epochs, config.unnormalised_epochs)
    missing = (0, longest - len(trained.errors))
    padded = [np.pad(each.numpy(), missing, constant_values=np.nan)
              for each in (trained.losses, trained.errors)]  # fmt: skip
    last = trained.errors[-1].item()
    return xr.Dataset(
        {
            "loss": ("epoch", padded[0]),
            "error": ("epoch", padded[1]),
            "last_error": last,
            "diverged_at": -1 if trained.diverged_at is None else trained.diverged_at,
            "tau": net.tau.item(),
            "blocks": net.depth,
        },
        coords={"epoch": 1 + np.arange(longest)},
        attrs={"data": read.name, "chance": 1 - 1 / read.n_classes},
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the error against depth with batch normalisation, and the curves without."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 2.7), layout="constrained", width_ratios=[1.1, 1, 1]
        )
        _draw_depths(left, dataset)
        deepest = dataset["network"].to_numpy()
        for ax, normalisation in ((middle, "batch"), (right, "none")):
            depth = max(int(n.split("/")[2]) for n in deepest if n.startswith(normalisation))
            _draw_epochs(ax, dataset, normalisation, depth)
        figure.supxlabel(
            f"{dataset.attrs['data']}, lines: median of {dataset.sizes['draw']} networks, "
            "markers and bands: all of them",
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _draw_depths(ax: Axes, dataset: xr.Dataset) -> None:
    for scaling, (colour, marker, label) in LOOKS.items():
        depths, values = errors(dataset, "batch", scaling)
        ax.plot(depths, np.median(values, axis=1), color=colour)
        ax.plot(np.repeat(depths, values.shape[1]), values.ravel(), marker, color=colour, alpha=0.7)
        ax.text(
            depths[-1],
            np.median(values[-1]) * (0.55 if scaling == "plain" else 2.2),
            label,
            color=colour,
            ha="right",
            va="center",
        )
    ax.axhline(100 * dataset.attrs["chance"], linestyle="--", color="0.5", linewidth=0.8)
    ax.set(
        xscale="log", yscale="log", xlabel=_size(dataset), ylabel="test error (%)", ylim=(0.7, 150)
    )
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.set_yticks([1, 10, 90], ["1", "10", "90"])
    ax.minorticks_off()
    ax.set_title(TITLES["batch"])
    ax.text(depths[0], 95, "chance", fontsize=6.5, color="0.35")


def _size(dataset: xr.Dataset) -> str:
    """Return what the number in a network's name counts."""
    return "layers $6n+2$" if published(dataset) else "blocks $L$"


def _draw_epochs(ax: Axes, dataset: xr.Dataset, normalisation: str, depth: int) -> None:
    for scaling, (colour, _, label) in LOOKS.items():
        part = dataset.sel(network=f"{normalisation}/{scaling}/{depth}")
        values = 100 * part["error"].transpose("draw", "epoch").to_numpy()
        left = ~np.isnan(values).all(axis=0)
        epochs = part["epoch"].to_numpy()
        if left.any():
            ax.plot(epochs[left], np.nanmedian(values[:, left], axis=0), color=colour)
            ax.fill_between(
                epochs[left], np.nanmin(values[:, left], axis=0),
                np.nanmax(values[:, left], axis=0), color=colour, alpha=0.2, linewidth=0,
            )  # fmt: skip
        lost = part["diverged_at"].to_numpy() >= 0
        if lost.any():
            last = 1 + int((~np.isnan(values[lost])).sum(axis=1).max())
            ax.plot(last, 60, "x", color=colour, markersize=7)
            ax.text(
                last + 0.04 * epochs[-1], 60,
                f"{label}: {lost.sum()} of {lost.size}\ndiverged by epoch {last}",
                color=colour, fontsize=7.5, va="center",
            )  # fmt: skip
    ax.axhline(100 * dataset.attrs["chance"], linestyle="--", color="0.5", linewidth=0.8)
    ax.set(yscale="log", xlabel="epoch", ylim=(0.7, 150))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_yticks([1, 10, 90], ["1", "10", "90"])
    ax.minorticks_off()
    size = f"{depth} layers" if published(dataset) else f"$L={depth}$"
    ax.set_title(f"{TITLES[normalisation]}, {size}", fontsize=8)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge tau against plain networks: by what was published on CIFAR-10, more on digits."""
    free, scaled = errors(dataset, "none", "tau")
    trains = limits.Verdict(
        f"no normalisation, tau begins at L^-1/2, {named(dataset, free)}",
        "median test error below 40 %",
        f"{span(np.median(scaled, axis=1))} % (all: {span(scaled)})",
        bool(np.median(scaled, axis=1).max() < 40),
    )
    if published(dataset):
        return (*published_verdicts(dataset), trains)
    names = [f"none/plain/{depth}" for depth in free]
    lost = dataset["diverged_at"].sel(network=names).to_numpy() >= 0
    return (
        *digit_verdicts(dataset),
        trains,
        limits.Verdict(
            f"no normalisation, tau begins at 1, {named(dataset, free)}",
            "every network diverges",
            f"{int(lost.sum())} of {lost.size}",
            bool(lost.all()),
        ),
    )
