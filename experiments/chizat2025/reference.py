"""Training of one large network and of its limit: neurons, loss, and their distance.

One neuron starts at the same place in many layers, and the limit takes it from there: a smooth fan
over the layers. How far the network may be from its limit is known from smaller ones.
The limit is solved to the accuracy of the network in a fraction of its time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._judging import predicted_range
from limits.experiments.chizat2025._neurons import followed, small_distances, start_alike
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED

FASTER = 3.0
# Losses of the limit that another program finds, counted from k = 1 before the first step. Read off
# the published curve: 1.52, .55, .14, .035.
LOSSES, CLOSE = {1: 1.518, 10: 0.573, 50: 0.152, 100: 0.0349}, 0.005
TIMED = True


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depth, hidden_width, width : int
        L, M and D = N.
    steps : int
        Steps of gradient descent.
    kept_steps : tuple of int
        Steps at which outputs are compared.
    tracked : int
        Layers whose first neuron is drawn, evenly spaced; in all of them it starts alike.
    shrink, n_small : int
        Networks of depth L / shrink and hidden width M / shrink, whose distances to the limit
        are `shrink` times larger, and their number.
    particles, nodes, replicates : int
        Of the limit solved to the network's accuracy.
    fine_particles, fine_nodes, fine_replicates : int
        Of the limit that both are compared with.
    """

    depth: int = 500
    hidden_width: int = 500
    width: int = 10
    steps: int = 100
    kept_steps: tuple[int, ...] = (0, 1, 10, 100)
    tracked: int = 50
    shrink: int = 10
    n_small: int = 20
    particles: int = 16384
    nodes: int = 4
    replicates: int = 2
    fine_particles: int = 32768
    fine_nodes: int = 6
    fine_replicates: int = 2


SCALES = {
    "smoke": Config(
        depth=240, hidden_width=240, steps=10, kept_steps=(0, 1, 10), tracked=24, shrink=6,
        particles=2048, fine_particles=4096, fine_nodes=4, fine_replicates=2,
    ),
    "laptop": Config(),
    "paper": Config(
        depth=1000, hidden_width=1000, tracked=100, particles=32768, fine_particles=131072,
        fine_replicates=3,
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One network."""
    return {"repetition": (0,)}


def task(
    config: Config, *, seed: int, repetition: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train the network and solve the limit twice, timed."""
    x, y = _problem.data(config.width)
    layers = np.linspace(0, config.depth - 1, config.tracked).round().astype(int).tolist()
    net = limits.MeanFieldResNet(config.width, config.hidden_width, depth=config.depth)
    began = time.process_time()
    weights = net.sample(n_paths=1, seed=seed)
    start = start_alike(weights, layers)
    out = net.descend(
        x, y, weights, steps=config.steps, keep=config.kept_steps, track=layers, in_place=True
    )
    seconds = [time.process_time() - began]
    del weights
    limit, solutions = limits.MeanODE.of(net), []
    for particles, nodes, replicates, tolerance in (
        (config.particles, config.nodes, config.replicates, 1e-4),
        (config.fine_particles, config.fine_nodes, config.fine_replicates, 1e-5),
    ):
        solver = limits.ParticleTransport(
            particles=particles, nodes=nodes, replicates=replicates, tolerance=tolerance
        )
        began = time.process_time()
        solutions.append(
            solver.solve(
                limit, x, y, steps=config.steps, seed=seed, keep=config.kept_steps, keep_states=True
            )
        )
        seconds.append(time.process_time() - began)
    quick, fine = solutions
    particles = followed(fine, start, layers, config.depth)
    apart = out.tracked[:, :, 0, 0] - particles
    gaps = [
        (first - fine.outputs).square().mean(dim=(1, 2)).sqrt().numpy()
        for first in (out.outputs[:, 0], quick.outputs)
    ]
    small = limits.MeanFieldResNet(
        config.width, config.hidden_width // config.shrink, depth=config.depth // config.shrink
    )
    small_gaps, small_apart = small_distances(
        small, config.n_small, x, y, start, fine, seed=seed + 1
    )
    curves = torch.stack([out.losses[:, 0], fine.losses])
    return xr.Dataset(
        {
            "loss": (("who", "step"), curves.numpy()),
            "gap": (("solver", "kept"), np.stack(gaps)),
            "small_gap": (("kept", "small"), small_gaps.numpy()),
            "apart": ("layer", apart.square().mean(dim=(0, 2)).sqrt().numpy()),
            "small_apart": ("small", small_apart.numpy()),
            "stated": (("solution", "kept"), torch.stack([quick.errors, fine.errors]).numpy()),
            "neuron": (
                ("step", "layer", "coordinate"),
                out.tracked[:, :, 0, 0, :2].numpy().astype(np.float32),
            ),
            "particle": (
                ("step", "layer", "coordinate"),
                particles[..., :2].numpy().astype(np.float32),
            ),
            "seconds": ("run", seconds),
        },
        coords={
            "who": ["network", "limit"],
            "solver": ["network", "quick"],
            "solution": ["quick", "fine"],
            "kept": list(config.kept_steps),
            "step": np.arange(config.steps + 1),
            "layer": layers,
            "run": ["network", "quick", "fine"],
        },
        attrs={
            "depth": config.depth, "hidden_width": config.hidden_width, "width": config.width,
            "shrink": config.shrink,
        },
    )  # fmt: skip


def draw(dataset: xr.Dataset) -> Figure:
    """Draw neurons on their way, the loss, and distances to the limit."""
    part, settings = dataset.isel(repetition=0), dataset.attrs
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 2.9), layout="constrained", width_ratios=[1.15, 1, 1]
        )
        _fan(left, part, settings["depth"])
        steps = part["step"]
        middle.plot(steps, part["loss"].sel(who="network"), color=COLOURS[0], label="network")
        middle.plot(steps, part["loss"].sel(who="limit"), label="Mean ODE", **DASHED)
        middle.set(yscale="log", xlabel="step $k$", ylabel="training loss", title="loss")
        middle.legend(loc="upper right")
        _distances(right, part)
        figure.suptitle(
            f"network $L={settings['depth']}$, $M={settings['hidden_width']}$, "
            f"$D=N={settings['width']}$",
            fontsize=8.5,
        )
    return figure


def _fan(ax: Axes, part: xr.Dataset, depth: int) -> None:
    colours = plt.get_cmap("viridis")
    shown = part["layer"].to_numpy()[:: max(1, len(part["layer"]) // 34)]
    for layer in shown:
        way = part["neuron"].sel(layer=layer, coordinate=0) - part["neuron"].sel(
            layer=layer, coordinate=0, step=0
        )
        limit = part["particle"].sel(layer=layer, coordinate=0) - part["particle"].sel(
            layer=layer, coordinate=0, step=0
        )
        ax.plot(part["step"], way, color=colours(layer / depth), linewidth=0.9)
        ax.plot(part["step"], limit, color="black", linestyle=(0, (1, 2.5)), linewidth=0.7)
    scale = plt.cm.ScalarMappable(cmap="viridis")
    ax.figure.colorbar(scale, ax=ax, label="layer time $s$", pad=0.02)
    ax.set(xlabel="step $k$", ylabel="change of $u_1$ (same start)")
    ax.set_title("one neuron; dotted: limit's")


def _distances(ax: Axes, part: xr.Dataset) -> None:
    # At step 0 the limit's outputs are the inputs, in every solution: no distance to draw.
    part = part.sel(kept=part["kept"] > 0)
    kept, seconds = part["kept"].to_numpy(), part["seconds"].to_numpy()
    for solver, colour, marker, label in (
        ("network", COLOURS[0], "o", f"network, {seconds[0]:.2g} s"),
        ("quick", COLOURS[1], "s", f"fewer particles, {seconds[1]:.2g} s"),
    ):
        ax.plot(kept, part["gap"].sel(solver=solver), marker, color=colour, label=label)
    stated = part["stated"].sel(solution="fine")
    ax.plot(kept, stated, "_", color="black", markersize=12, label="stated error of the limit")
    ax.set(xscale="log", yscale="log", xlabel="step $k$", ylabel="RMS distance of outputs")
    ax.set_xticks(kept, [str(step) for step in kept])
    ax.minorticks_off()
    ax.set(xlim=(kept[0] / 1.6, kept[-1] * 1.6), ylim=(2e-4, 2e-2))
    ax.legend(loc="upper left", fontsize=6.5)
    ax.set_title("distance to the limit")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the distance of the network to the limit, speed, the loss, and the neurons."""
    part, shrink = dataset.isel(repetition=0), dataset.attrs["shrink"]
    gaps = part["gap"].sel(solver="network").to_numpy()
    small = np.log(part["small_gap"].transpose("small", "kept").to_numpy() / shrink)
    quick, stated = part["gap"].sel(solver="quick").to_numpy(), part["stated"].to_numpy()
    usual, bound = np.exp(small.mean(axis=0)), stated.sum(axis=0)
    # Half way, where the neurons of the small networks are.
    apart = part["apart"].sel(layer=(dataset.attrs["depth"] - 1) / 2, method="nearest")
    small_apart = np.log(part["small_apart"].to_numpy() / shrink)[:, None]
    verdicts = [
        _as_expected("distance of the network to the limit", gaps, small, shrink),
        limits.Verdict(
            "the quick solution of the limit is as good",
            "as near as networks of this size are on average, and inside the stated errors",
            f"{_listed(quick)} against {_listed(usual)}; stated {bound.max():.2g} at most",
            bool((quick <= usual).all() and (quick <= bound).all()),
        ),
        _as_expected(
            "a neuron follows the limit's particle from the same start",
            np.array([float(apart)]), small_apart, shrink,
        ),
    ]  # fmt: skip
    if len(part["step"]) >= max(LOSSES):
        verdicts.append(_of_losses(part))
    if dataset.attrs["depth"] == 1000:
        network, fast, _ = part["seconds"].to_numpy()
        verdicts.append(
            limits.Verdict(
                "the limit to the network's accuracy in less time",
                f"at least {FASTER:g} times faster",
                f"{fast:.1f} s against {network:.1f} s",
                bool(network >= FASTER * fast),
            )
        )
    return tuple(verdicts)


def _of_losses(part: xr.Dataset) -> limits.Verdict:
    found = [float(part["loss"].sel(who="limit", step=k - 1)) for k in LOSSES]
    away = max(abs(loss / LOSSES[k] - 1) for loss, k in zip(found, LOSSES, strict=True))
    # An error of outputs is twice as large in their square, in units of the root of the loss.
    stated = float(part["stated"].sel(solution="fine").max())
    known = 2 * stated / min(found) ** 0.5
    seen = ", ".join(f"{loss:.3g}" for loss in found)
    return limits.Verdict(
        f"loss of the limit at k = {', '.join(map(str, LOSSES))}",
        f"{', '.join(map(str, LOSSES.values()))} within {CLOSE:.1%}: another program's",
        f"{seen}, at most {away:.2%} away, known to {known:.1%}; read off 1.52, .55, .14, .035",
        away <= CLOSE,
        decided=away <= CLOSE or away > CLOSE + known,
    )


def _as_expected(claim: str, found: np.ndarray, small: np.ndarray, shrink: int) -> limits.Verdict:
    """Judge distances by those of smaller networks: errors 1/L and (LM)^(-1/2) both shrink alike.

    `small` has logs of their distances, divided by how many times smaller they are.
    """
    low, high = (np.exp(each) for each in predicted_range(small, small.shape[1]))
    return limits.Verdict(
        claim,
        f"{_listed(low)} to {_listed(high)}: 1/{shrink} of the distances of {len(small)} networks "
        f"with 1/{shrink} of the depth and width (99.9 %)",
        _listed(found),
        bool(((low <= found) & (found <= high)).all()),
    )


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2g}" for value in values)
