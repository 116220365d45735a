"""A tutorial in four steps: check a network, fix it, check it again, train it.

A pre-norm transformer encoder and a convolutional ResNet without normalisation, both on
scikit-learn's digits. The check finds that what the branches add up to grows with depth, and that
their updates are independent; `scale_residuals` with the recommended factor makes it the same at
all depths.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import limits
from limits.experiments.beyond._networks import NETWORKS
from limits.plots import BLUE, ORANGE

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. "
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120."
)
STATES = ("as it is", "fixed")


@dataclass(frozen=True)
class Config:
    """What is checked and trained.

    Parameters
    ----------
    depths : tuple of int
        Depths of the check.
    n_seeds : int
        Draws of the weights.
    width : int
        Of the encoder; the convolutional network has half of it as channels.
    trained_depth : int
        Depth of the networks that are trained.
    steps : int
        Training steps of Adam, batches of 128.
    learning_rate : float
        Of Adam, the same before and after the fix.
    """

    depths: tuple[int, ...] = (4, 8, 16, 32)
    n_seeds: int = 12
    width: int = 32
    trained_depth: int = 24
    steps: int = 60
    learning_rate: float = 5e-3


SCALES = {
    "smoke": Config(n_seeds=12, depths=(4, 8, 16, 32), trained_depth=12, steps=40),
    "laptop": Config(),
    "paper": Config(
        depths=(4, 8, 16, 32, 64), n_seeds=20, width=64, trained_depth=64, steps=400
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every network."""
    return {"network": tuple(NETWORKS)}


def task(
    config: Config,
    *,
    seed: int,
    network: str,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Check, fix, check again, train both."""
    build, data = NETWORKS[network], limits.data.digits()
    inputs = (data.train_inputs - data.train_inputs.mean(dim=0)) / data.train_inputs.std()
    batch = inputs[:32]

    # Step 1: the check needs a function of the depth, and a batch.
    def make_model(depth: int) -> nn.Module:
        return build(depth, config.width)

    before = limits.depth_check(
        make_model, depths=config.depths, inputs=batch, n_seeds=config.n_seeds, seed=seed,
        progress=progress,
    )  # fmt: skip
    advice = before.recommendation
    tau = "1/sqrt(L)" if advice is None or advice.tau is None else advice.tau

    # Step 2: the fix is one line.
    def make_fixed(depth: int) -> nn.Module:
        model = make_model(depth)
        limits.scale_residuals(model, tau=tau, inputs=batch)
        return model

    # Step 3: the same check again.
    after = limits.depth_check(
        make_fixed, depths=config.depths, inputs=batch, n_seeds=config.n_seeds, seed=seed,
        progress=progress,
    )  # fmt: skip
    # Step 4: training.
    losses = [
        _trained(make, config, inputs, data.train_classes, seed)
        for make in (make_model, make_fixed)
    ]
    return _dataset((before, after), losses, tau)


def _trained(
    make_model: Callable[[int], nn.Module],
    config: Config,
    inputs: torch.Tensor,
    classes: torch.Tensor,
    seed: int,
) -> list[float]:
    """Return the loss before every step; NaN or infinity are kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(config.trained_depth)
        optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        losses = []
        for _ in range(config.steps):
            rows = torch.randint(len(inputs), (128,))
            loss = nn.functional.cross_entropy(model(inputs[rows]), classes[rows])
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return losses


def _dataset(
    checks: tuple[limits.DepthCheck, ...], losses: list[list[float]], tau: str
) -> xr.Dataset:
    def of(read: Callable[[limits.DepthCheck], object]) -> np.ndarray:
        return np.array([read(each) for each in checks])

    numbers = [each.to_dataset().sel(phase="initial") for each in checks]
    return xr.Dataset(
        {
            "change": (
                ("state", "depth", "draw"),
                np.stack([each["change"].to_numpy() for each in numbers]).astype(np.float32),
            ),
            "gradient_change": (
                ("state", "depth", "draw"),
                np.stack([each["gradient_change"].to_numpy() for each in numbers]).astype("f4"),
            ),
            "branches": ("depth", numbers[0]["branches"].to_numpy()),
            "forward": ("state", of(lambda each: each.forward.word)),
            "backward": ("state", of(lambda each: each.backward.word)),
            "growth": ("state", of(lambda each: each.forward.growth.value)),
            "gradient_growth": ("state", of(lambda each: each.backward.growth.value)),
            "critical": ("state", of(lambda each: each.critical.value)),
            "tau": tau,
            "loss": (("state", "step"), np.array(losses, dtype=np.float32)),
        },
        coords={"state": list(STATES), "depth": list(checks[0].depths)},
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a row a network: states, gradients, training; before and after the fix."""
    with limits.plots.style():
        figure, panels = plt.subplots(2, 3, figsize=(7.2, 4.6), layout="constrained")
        for row, network in zip(panels, NETWORKS, strict=True):
            at = dataset.sel(network=network)
            _growth(row[0], at, "change", "growth", "forward")
            _growth(row[1], at, "gradient_change", "gradient_growth", "backward")
            _training(row[2], at)
            row[0].set_ylabel(f"{network}\n\nchange of states")
            row[1].set_ylabel("change of gradients")
        for ax, title in zip(panels[0], ("forward", "backward", "training"), strict=True):
            ax.set_title(title)
    return figure


_LOOKS = {"as it is": (ORANGE, "s"), "fixed": (BLUE, "o")}


def _growth(ax: Axes, at: xr.Dataset, name: str, growth: str, direction: str) -> None:
    for state, (colour, marker) in _LOOKS.items():
        one = at.sel(state=state)
        values, counts = one[name].transpose("depth", "draw").to_numpy(), one["branches"]
        middle = np.exp(np.log(values).mean(axis=1))
        law = grown(counts.to_numpy(), middle, float(one[growth]))
        label = f"{state}: {law}, {one[direction].item()}"
        ax.fill_between(counts, values.min(1), values.max(1), color=colour, alpha=0.15)
        ax.plot(counts, middle, color=colour, marker=marker, label=label)
    ax.axhline(1, color="0.25", linestyle=(0, (4, 2)), linewidth=1.1)
    ax.set(xscale="log", yscale="log", xlabel="residual branches $L$")
    ax.set_xticks(at["branches"], [str(int(count)) for count in at["branches"]])
    ax.minorticks_off()
    ax.legend(fontsize=7, loc="upper left")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.4)


def grown(counts: np.ndarray, values: np.ndarray, power: float) -> str:
    """Return how values grow with the number of branches: by the straighter of two lines.

    Logs against L are straight where growth is exponential, logs against log L where it is a
    power; what hardly grows is given as a power.
    """
    logs = np.log(values)
    left = {}
    for name, places in (("exponential", counts.astype(float)), ("power", np.log(counts))):
        slope, start = np.polyfit(places, logs, 1)
        left[name] = (float(np.square(logs - slope * places - start).sum()), slope)
    if left["exponential"][0] < left["power"][0] and np.ptp(logs) > 1:
        return f"$e^{{{left['exponential'][1]:.2f}L}}$"
    return f"$L^{{{power:+.2f}}}$"


def _training(ax: Axes, at: xr.Dataset) -> None:
    for state, (colour, _) in _LOOKS.items():
        losses = at["loss"].sel(state=state).to_numpy()
        factor = "" if state == "as it is" else f", tau = {at['tau'].item()}"
        ax.plot(np.where(np.isfinite(losses), losses, np.nan), color=colour, label=state + factor)
    ax.axhline(np.log(10), color="0.25", linestyle=(0, (4, 2)), linewidth=1.1, label="chance")
    ax.set(yscale="log", xlabel="step of Adam", ylabel="loss (nats)")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.5)
    ax.legend(fontsize=7, loc="upper right")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge verdicts before and after, the critical exponent, and training."""
    verdicts = []
    for network in dataset["network"].to_numpy():
        at = dataset.sel(network=network)
        words = [str(at["forward"].sel(state=state).item()) for state in STATES]
        critical = float(at["critical"].sel(state="as it is"))
        first, last = (
            [float(at["loss"].sel(state=state).isel(step=slice(*ends)).mean()) for state in STATES]
            for ends in ((0, 3), (-5, None))
        )
        verdicts += [
            limits.Verdict(
                f"{network}: verdict before and after the fix",
                "explosion, limit",
                ", ".join(words),
                words == ["explosion", "limit"],
            ),
            limits.Verdict(
                f"{network}: critical exponent of independent layers",
                "0.5 within 0.05",
                f"{critical:.3f}",
                abs(critical - 0.5) < 0.05,
            ),
            limits.Verdict(
                f"{network}: the fixed network trains, and ends below the other one",
                "loss falls by a third or more",
                f"{first[1]:.2f} to {last[1]:.2f}; without the fix {first[0]:.3g} to {last[0]:.3g}",
                last[1] < first[1] / 1.5 and not last[0] < last[1],
            ),
        ]
    return tuple(verdicts)
