"""Figure 9: test accuracy over the scaling exponent and the regularity of the initial weights.

res-1 networks on fractional weights, width 30, trained on images with Adam; every cell shows the
best of five learning rates. Theory's border is that of res-1: below beta = H (H > 1/2) states
explode, below beta = 1/2 (H < 1/2) they contract, because negative correlations leave a drift.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

import limits

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. Figure 9."
)

EXPLODED = 1e6
"""Loss above which `limits.train_ensemble` gives a network up unless told otherwise."""
_TEST_DIGITS = 360
"""Test images of data sets stored before they said so themselves."""
TENTHS = (0.1, 0.19, 0.28, 0.37, 0.46, 0.54, 0.63, 0.72, 0.81, 0.9)


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    hursts, betas : tuple of float
        Regularity of the initial weights and scaling exponents.
    learning_rates : tuple of float
        Tried in every cell; the best counts.
    width, depth : int
        Size d of the hidden state and number of layers L.
    epochs, batch, step_epochs : int
        Passes over the data, inputs per step, epochs after which the rate falls by ten.
    data : {"digits", "mnist", "cifar10"}
        scikit-learn's digits, or the files of MNIST or CIFAR-10 in `folder`.
    folder : str
        Where the files are.
    """

    hursts: tuple[float, ...] = TENTHS
    betas: tuple[float, ...] = TENTHS
    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    width: int = 30
    depth: int = 200
    epochs: int = 10
    batch: int = 128
    step_epochs: int = 5
    data: Literal["digits", "mnist", "cifar10"] = "digits"
    folder: str = ""

    def __post_init__(self) -> None:
        if self.data != "digits" and not self.folder:
            raise ValueError(f"data={self.data!r} needs the folder of its files: --folder PATH.")


SCALES = {
    "smoke": Config(
        hursts=(0.1, 0.5, 0.9), betas=(0.1, 0.5, 0.9), learning_rates=(1e-2, 1e-1),
        width=16, depth=100, epochs=8,
    ),
    "laptop": Config(),
    "paper": Config(depth=1000),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    """One task for every H: all betas and learning rates share its draw and advance together."""
    return {"hurst": config.hursts}


def task(
    config: Config,
    *,
    seed: int,
    hurst: float,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train all betas and learning rates at one H."""
    path = limits.FractionalPath(config.width, hurst=hurst)
    data = _data(config)
    trained = limits.train_ensemble(
        [
            limits.Configuration(path, rate, beta=beta, seed=seed)
            for beta in config.betas
            for rate in config.learning_rates
        ],
        data,
        depth=config.depth,
        epochs=config.epochs,
        batch=config.batch,
        step_epochs=config.step_epochs,
        # However large: whether an exploding network can be trained is the question here.
        explosion=float("inf"),
        progress=progress,
    )
    shape, dims = (len(config.betas), len(config.learning_rates)), ("beta", "learning_rate")
    steps = np.array([-1 if step is None else step for step in trained.diverged_at])
    return xr.Dataset(
        {
            "accuracy": (dims, trained.accuracy.numpy().reshape(shape)),
            "diverged_at": (dims, steps.reshape(shape)),
            "first_loss": (dims, trained.losses[:, 0].double().numpy().reshape(shape)),
        },
        coords={"beta": list(config.betas), "learning_rate": list(config.learning_rates)},
        attrs={
            "data": data.name, "depth": config.depth, "width": config.width,
            "epochs": config.epochs, "n_classes": data.n_classes,
            "n_test": len(data.test_inputs),
        },
    )  # fmt: skip


def _data(config: Config) -> limits.data.LabelledData:
    if config.data == "digits":
        return limits.data.digits()
    read = limits.data.mnist if config.data == "mnist" else limits.data.cifar10
    return read(config.folder)


def best(dataset: xr.Dataset) -> np.ndarray:
    """Return the best accuracy of every cell, ``(beta, hurst)``; NaN where all runs diverged."""
    accuracy = dataset["accuracy"].transpose("beta", "hurst", "learning_rate").to_numpy()
    highest = np.where(np.isnan(accuracy), -1.0, accuracy).max(axis=-1)
    return np.where(highest < 0, np.nan, highest)


def _best_rate(dataset: xr.Dataset) -> np.ndarray:
    accuracy = dataset["accuracy"].transpose("beta", "hurst", "learning_rate").to_numpy()
    place = np.where(np.isnan(accuracy), -1.0, accuracy).argmax(axis=-1)
    return dataset["learning_rate"].to_numpy()[place]


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the accuracy on the left, the learning rate that won on the right."""
    accuracy, rates = best(dataset), _best_rate(dataset)
    with limits.plots.style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(7.2, 3.5), layout="constrained", sharey=True
        )
        shades = BoundaryNorm([0, 0.2, 0.5, 0.8, 0.9, 0.93, 0.95, 0.97, 1], 256)
        mesh = _map(left, dataset, accuracy, cmap="cividis", norm=shades)
        _print_cells(left, dataset, accuracy)
        bar = figure.colorbar(mesh, ax=left, shrink=0.95)
        bar.set_ticklabels([f"{100 * level:.0f}" for level in shades.boundaries])
        tried = dataset["learning_rate"].to_numpy()
        steps = BoundaryNorm(np.arange(len(tried) + 1) - 0.5, 256)
        ranks = np.where(np.isnan(accuracy), np.nan, np.searchsorted(tried, rates))
        mesh = _map(right, dataset, ranks, "Greys", steps)
        bar = figure.colorbar(mesh, ax=right, shrink=0.95, ticks=range(len(tried)))
        bar.minorticks_off()
        bar.set_ticklabels([f"$10^{{{np.log10(rate):.0f}}}$" for rate in tried])
        left.set_ylabel(r"scaling exponent $\beta$")
        left.set_title(f"accuracy (%), best of {len(tried)} learning rates")
        right.set_title("learning rate of the best run")
        for ax in (left, right):
            ax.set_xlabel("Hurst index $H$ of the initial weights")
        _name_regimes(right)
        settings = dataset.attrs
        figure.supxlabel(
            f"res-1, {settings['data']}, $d={settings['width']}$, $L={settings['depth']}$, "
            f"{settings['epochs']} epochs of Adam"
            + ("; hatched: every run overflowed" if np.isnan(accuracy).any() else ""),
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _map(ax: Axes, dataset: xr.Dataset, values: np.ndarray, cmap: str, norm: Normalize) -> QuadMesh:
    hursts, betas = _edges(dataset["hurst"].to_numpy()), _edges(dataset["beta"].to_numpy())
    ax.grid(visible=False)
    ax.patch.set(facecolor="white", edgecolor="0.45", hatch="/////")
    mesh = ax.pcolormesh(
        hursts, betas, np.ma.masked_invalid(values), cmap=cmap, norm=norm,
        edgecolor="white", linewidth=0.3,
    )  # fmt: skip
    outlined = [Stroke(linewidth=3.2, foreground="white"), Normal()]
    corner = min(hursts[-1], betas[-1])
    for ends, levels, dashes in (
        ((hursts[0], 0.5), (0.5, 0.5), (0, (3, 1.2))),
        ((0.5, corner), (0.5, corner), "-"),
    ):
        ax.plot(ends, levels, color="#d62728", linestyle=dashes, linewidth=1.8,
                path_effects=outlined)  # fmt: skip
    ax.set(xlim=(hursts[0], hursts[-1]), ylim=(betas[0], betas[-1]))
    return mesh


def _print_cells(ax: Axes, dataset: xr.Dataset, accuracy: np.ndarray) -> None:
    for i, beta in enumerate(dataset["beta"].to_numpy()):
        for j, hurst in enumerate(dataset["hurst"].to_numpy()):
            value = accuracy[i, j]
            if not np.isnan(value):
                dark = value <= 0.9
                outline = Stroke(
                    linewidth=1.2, foreground="#3b3b3b" if dark else "white", alpha=0.6
                )
                ax.text(
                    hurst, beta, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.5,
                    color="white" if dark else "black", path_effects=[outline, Normal()], zorder=5,
                )  # fmt: skip


def _name_regimes(ax: Axes) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    for x, y, text in (
        (0.3, 0.77, "identity above"),
        (0.27, 0.41, r"contraction below $\beta=\frac{1}{2}$"),
        (0.79, 0.45, "explosion\nbelow $\\beta=H$"),
    ):
        ax.text(x, y, text, fontsize=7, ha="center", va="center", bbox=box, color="black")


def border(hurst: np.ndarray) -> np.ndarray:
    """Return the exponent where the regime changes, max(H, 1/2)."""
    return np.maximum(hurst, 0.5)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the map: the corner fails, the border works, the best cells are good."""
    accuracy, chance = best(dataset), 1 / dataset.attrs["n_classes"]
    tested = dataset.attrs.get("n_test", _TEST_DIGITS)
    beta, hurst = np.meshgrid(dataset["beta"], dataset["hurst"], indexing="ij")
    distance = beta - border(hurst)
    # Cells where every run overflowed count as accuracy 0.
    scores = np.nan_to_num(accuracy)
    near = scores[np.abs(distance) < 0.1]
    above = scores[distance >= 0.1]
    # Below beta = H the driving path itself diverges, and no theorem says what becomes of states.
    contracting = scores[(hurst < 0.5) & (distance < -0.1) & (beta >= hurst)]
    first = dataset["first_loss"].min("learning_rate").transpose("beta", "hurst").to_numpy()
    first = np.where(np.isfinite(first), first, np.inf)
    exploded = first > EXPLODED
    corner, margin = scores[exploded], -distance[exploded].max(initial=-np.inf)
    lost, good = first[scores < 0.5], first[scores >= 0.93]
    return (
        limits.Verdict(
            f"explosion corner: cells with an untrained loss above {EXPLODED:.0g}",
            f"all well below the border; accuracy below {2.5 * chance:.2f} on average (chance "
            f"{chance:g}) and below 0.5 everywhere",
            f"{len(corner)} cells, beta < border - {margin:.2f}; {_mean(corner):.3f} on average, "
            f"at most {corner.max(initial=0):.3f}",
            bool(_mean(corner) < 2.5 * chance and corner.max() < 0.5 and margin > 0.2),
        ),
        limits.Verdict(
            "best cells",
            "at least 0.93",
            f"{scores.max():.3f}; {(scores >= 0.93).mean():.0%} of cells at least 0.93",
            bool(scores.max() >= 0.93),
        ),
        limits.Verdict(
            "near the border, |beta - max(H, 1/2)| < 0.1",
            f"no cell more than two standard errors of its {tested} test images below 0.93",
            f"at least {near.min(initial=1):.3f} in {len(near)} cells",
            bool(len(near) and near.min() >= 0.93 - 2 * (0.93 * 0.07 / tested) ** 0.5),
        ),
        limits.Verdict(
            "above the border, and for H <= beta < 1/2, where res-1 contracts",
            "mean at least 0.9 above and at least 0.8 in the contraction",
            f"above {_mean(above):.3f} ({len(above)} cells), contraction "
            f"{_mean(contracting):.3f} ({len(contracting)} cells)",
            _mean(above) >= 0.9 and _mean(contracting) >= 0.8,
        ),
        limits.Verdict(
            "what fails had exploded before training",
            "untrained loss above 100 where accuracy is below 0.5, below 100 where above 0.93",
            f"at least {lost.min(initial=np.inf):.3g} in {len(lost)} cells, "
            f"at most {good.max(initial=0):.3g} in {len(good)} cells",
            bool(len(lost) and lost.min() > 100 > good.max(initial=0)),
        ),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
