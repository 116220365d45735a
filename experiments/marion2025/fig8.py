"""Figure 8: one weight as a function of the layer, before and after training, and its regularity.

res-1 networks of width 30 trained with Adam on digit images. Training keeps the regularity of
the initial weights, because what it adds is smooth across layers whatever it is added to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.plots import BLUE, ORANGE

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. Figure 8. "
    "Cohen, Cont, Rossier, Xu: Scaling properties of deep residual networks. "
    "ICML 2021, arXiv:2105.12245."
)

STAGES = ("before", "after", "change")


@dataclass(frozen=True)
class Case:
    """One column of the figure."""

    smooth: bool
    beta: float
    title: str


CASES = {
    "smooth-1": Case(True, 1.0, r"smooth, $\beta=1$"),
    "iid-1": Case(False, 1.0, r"i.i.d., $\beta=1$"),
    "iid-half": Case(False, 0.5, r"i.i.d., $\beta=\frac{1}{2}$"),
}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    width, depth : int
        Size d of the hidden state and number of layers L.
    epochs, batch, step_epochs : int
        Passes over the digits, inputs per step, epochs after which the rate falls by ten.
    learning_rate : float
        Of Adam.
    length_scale : float
        Correlation length of the smooth initial weights in layer time.
    row, column : int
        The entry of V_k that is drawn.
    """

    width: int = 30
    depth: int = 1000
    epochs: int = 40
    batch: int = 128
    step_epochs: int = 20
    learning_rate: float = 1e-3
    length_scale: float = 0.1
    row: int = 3
    column: int = 7

    def __post_init__(self) -> None:
        if not (0 <= self.row < self.width and 0 <= self.column < self.width):
            raise ValueError(
                f"row={self.row} and column={self.column} must lie below width={self.width}."
            )


SCALES = {
    "smoke": Config(width=12, depth=100, epochs=10, step_epochs=5, learning_rate=3e-3),
    "laptop": Config(),
    # As many steps as ten epochs of MNIST.
    "paper": Config(epochs=400, step_epochs=200),
}


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every pair of scaling and initialisation."""
    return {"case": tuple(CASES)}


def task(
    config: Config,
    *,
    seed: int,
    case: str,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train one network and measure its weights before, after, and their difference."""
    smooth, beta = CASES[case].smooth, CASES[case].beta
    path = (
        limits.SmoothPath(config.width, length_scale=config.length_scale)
        if smooth
        else limits.BrownianPath(config.width)
    )
    trained = limits.train_ensemble(
        [limits.Configuration(path, config.learning_rate, beta=beta, seed=seed)],
        limits.data.digits(),
        depth=config.depth,
        epochs=config.epochs,
        batch=config.batch,
        step_epochs=config.step_epochs,
        keep_weights=True,
        progress=progress,
    )
    begun = limits.ResNetModule(path, depth=config.depth, seed=seed).weights
    after = trained.as_path(0, index=1.0 if smooth else 0.5).weights
    stacks = {"before": begun, "after": after, "change": after - begun}
    return _measured(config, stacks).assign(
        accuracy=float(trained.accuracy[0]), last_loss=float(trained.losses[0, -12:].mean())
    )


def _measured(config: Config, stacks: Mapping[str, torch.Tensor]) -> xr.Dataset:
    found = [limits.weight_regularity(stacks[stage]) for stage in STAGES]
    hurst = [[each.hurst, each.hurst_low, each.hurst_high] for each in found]
    bridges = np.stack([each.detrended_cumulative_sum.max() for each in found])
    curves = [stacks[stage][:, config.row, config.column].double().numpy() for stage in STAGES]
    return xr.Dataset(
        {
            "weight": (("stage", "layer"), np.stack(curves)),
            "hurst": (("stage", "bound"), np.array(hurst)),
            "variation_ratio": ("stage", [each.variation_ratio for each in found]),
            "sqrt_quadratic_variation": (
                "stage",
                [each.sqrt_quadratic_variation for each in found],
            ),
            "detrended_cumulative_sum": ("stage", bridges),
            "regularity": ("stage", [each.verdict for each in found]),
        },
        coords={
            "stage": list(STAGES),
            "bound": ["value", "low", "high"],
            "layer": np.arange(config.depth),
        },
        attrs={"width": config.width, "depth": config.depth, "epochs": config.epochs},
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a weight and its change across layers, and the regularity of all weights."""
    with limits.plots.style():
        figure = plt.figure(figsize=(7.2, 4.6), layout="constrained")
        grid = figure.add_gridspec(2, 4, width_ratios=[1, 1, 1, 1.05], height_ratios=[1.25, 1])
        for column, case in enumerate(CASES):
            part = dataset.sel(case=case)
            upper = figure.add_subplot(grid[0, column])
            lower = figure.add_subplot(grid[1, column])
            _draw_weight(upper, part, CASES[case], first=column == 0)
            lower.plot(
                dataset["layer"], part["weight"].sel(stage="change"), color=ORANGE, linewidth=0.9
            )
            lower.set_xlabel("layer $k$")
            lower.ticklabel_format(axis="y", style="sci", scilimits=(-1, 1))
            if column == 0:
                lower.set_ylabel("change of the weight\nin training")
        _draw_regularity(figure.add_subplot(grid[:, 3]), dataset)
        settings = dataset.attrs
        figure.supxlabel(
            f"one entry of $V_k$ (left), all {settings['width'] ** 2} entries (right); res-1, "
            f"digits, $d={settings['width']}$, $L={settings['depth']}$, {settings['epochs']} "
            "epochs of Adam; 95 % intervals",
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _draw_weight(ax: Axes, part: xr.Dataset, case: Case, *, first: bool) -> None:
    layers, width = part["layer"], 0.6 if not case.smooth else 1.4
    ax.plot(layers, part["weight"].sel(stage="before"), color="0.65", linewidth=width)
    ax.plot(layers, part["weight"].sel(stage="after"), color=BLUE, linewidth=width * 0.8)
    ax.set_title(f"{case.title}\ntest accuracy {float(part['accuracy']):.2f}", fontsize=8.5)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.22 * (high - low))
    for text, colour, y in (("before training", "0.5", 0.97), ("after training", BLUE, 0.89)):
        ax.text(0.03, y, text, color=colour, fontsize=7, va="top", transform=ax.transAxes)
    if first:
        ax.set_ylabel("weight $(V_k)_{ij}$")


def _draw_regularity(ax: Axes, dataset: xr.Dataset) -> None:
    looks = {
        "before": ("0.5", "o", "before"),
        "after": (BLUE, "s", "after"),
        "change": (ORANGE, "^", "change"),
    }
    for shift, (stage, (colour, marker, label)) in zip(
        (-0.22, 0, 0.22), looks.items(), strict=True
    ):
        values = dataset["hurst"].sel(stage=stage, case=list(CASES)).transpose("bound", "case")
        middle, low, high = values.to_numpy()
        reach = np.clip([middle - low, high - middle], 0, None)
        ax.errorbar(
            np.arange(len(CASES)) + shift, middle, yerr=reach,
            color=colour, marker=marker, linestyle="none", markersize=4.5, capsize=2.5, label=label,
        )  # fmt: skip
    for level, text in ((0.5, "independent"), (1.0, "continuous"), (2.0, "differentiable")):
        ax.axhline(level, color="0.75", linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        ax.text(2.45, level + 0.02, text, fontsize=6.5, color="0.4", ha="right", va="bottom")
    ax.set_xticks(range(len(CASES)), [CASES[case].title.replace(", ", "\n") for case in CASES])
    ax.tick_params(axis="x", labelsize=7)
    ax.grid(visible=False)
    ax.set(xlim=(-0.5, 2.5), ylim=(0.3, 2.2), ylabel="estimated Hurst index $H$")
    ax.set_title("regularity of\nall weights", fontsize=8.5)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 0.39), fontsize=7, handletextpad=0.1,
        borderaxespad=0.1,
    )  # fmt: skip


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge whether training kept what the weights were, and learnt something."""
    rough = [case for case in CASES if not CASES[case].smooth]
    smooth = [case for case in CASES if CASES[case].smooth]
    kinds = dataset["regularity"].sel(stage=["before", "after"])
    kept = bool(
        (kinds.sel(case=smooth) == "smooth").all() and (kinds.sel(case=rough) == "rough").all()
    )
    after = dataset["hurst"].sel(stage="after")
    lowest = float(after.sel(case=smooth, bound="low").min())
    highest = float(after.sel(case=rough, bound="high").max())
    moved = [
        float(np.sqrt((part["weight"].sel(stage="change") ** 2).mean()))
        for part in (dataset.sel(case=case) for case in CASES)
    ]
    accuracy = dataset["accuracy"].sel(case=list(CASES)).to_numpy()
    change = float(dataset["hurst"].sel(stage="change", bound="value").min())
    return (
        limits.Verdict(
            "training keeps the regularity of the initial weights",
            "smooth stays smooth, i.i.d. stays rough",
            ", ".join(f"{case}: {kinds.sel(case=case, stage='after').item()}" for case in CASES),
            kept,
        ),
        limits.Verdict(
            "regularity after training: smooth against i.i.d.",
            "95 % intervals do not overlap",
            f"smooth from {lowest:.3f}, i.i.d. up to {highest:.3f}",
            lowest > highest,
        ),
        limits.Verdict(
            "the networks were trained",
            "test accuracy above 0.75 and weights moved by more than 0.001",
            f"accuracy from {accuracy.min():.3f}, moved by at least {min(moved):.4f}",
            bool(accuracy.min() > 0.75 and min(moved) > 1e-3),
        ),
        limits.Verdict(
            "what training adds is smoother than what it is added to",
            "estimated H of the change above 1",
            f"at least {change:.2f}",
            change > 1,
        ),
    )
