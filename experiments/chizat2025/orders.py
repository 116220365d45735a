"""How fast fluctuation and bias of trained networks fall with depth L and hidden width M.

All layers are independent. The fluctuation is sqrt(D/(LM)) times a constant; at step 0 its size
is known at every shape. The bias, zero at step 0, is b/L + c D/(LM): the mean of many networks in
pairs of opposite v, whose fluctuations cancel in part, minus the Mean ODE. Mean errors are vectors,
one number an output, which are fitted with the terms of next order in 1/L and D/(LM).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import limits
from limits.experiments.chizat2025 import _problem
from limits.experiments.chizat2025._expansion import (
    bias_constants,
    bias_order,
    cells,
    fluctuation_orders,
    variance_at_start,
)
from limits.experiments.chizat2025._fitting import Floats, common_square, roots
from limits.experiments.chizat2025._judging import CERTAIN, of_estimate, student_quantile
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, MARKERS

# Widths of 99.9 % intervals: a half is told from zero and from one, and one from two.
WIDEST_FLUCTUATION, WIDEST_BIAS = 0.1, 0.6


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths, hidden_widths : tuple of int
        The grid of L and M.
    width : int
        Embedding dimension D = N.
    steps : tuple of int
        Steps of gradient descent after which errors are measured, the last one apart.
    neurons, long_neurons : int
        Neurons of all networks of one shape together; those of the networks that go to the last
        step.
    groups : int
        Groups of networks, whose differences are the noise.
    particles, long_particles, nodes, replicates : int
        Of the Mean ODE's solver.
    """

    depths: tuple[int, ...] = (8, 16, 32, 64, 128)
    hidden_widths: tuple[int, ...] = (4, 8, 16, 32)
    width: int = 10
    steps: tuple[int, ...] = (0, 1, 10, 100)
    neurons: int = 2**18
    long_neurons: int = 2**16
    groups: int = 8
    particles: int = 65536
    long_particles: int = 16384
    nodes: int = 5
    replicates: int = 2


SCALES = {
    "smoke": Config(
        depths=(4, 8, 16, 32), hidden_widths=(4, 16), steps=(0, 1, 4), neurons=2**14,
        long_neurons=2**13, particles=1024, long_particles=1024, nodes=4,
    ),
    "laptop": Config(),
    "paper": Config(neurons=2**21, long_neurons=2**19, groups=16, particles=2**18,
                    long_particles=65536, replicates=4),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every depth."""
    return {"depth": config.depths}


def task(
    config: Config, *, seed: int, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one depth and all hidden widths."""
    *first, last = config.steps
    parts = ((tuple(first), config.neurons, config.particles),
             ((last,), config.long_neurons, config.long_particles))  # fmt: skip
    means, squares, stated = [], [], []
    for number, hidden_width in enumerate(config.hidden_widths):
        found = []
        for part, (steps, neurons, particles) in enumerate(parts):
            solution = _problem.reference(
                config.width, steps, particles, config.nodes, config.replicates
            )
            # Widths and parts of one seed would share random numbers.
            own = seed + len(parts) * number + part
            outputs = _pairs(config, depth, hidden_width, steps, neurons, seed=own)
            found.append(_split(outputs, solution, config.groups))
            stated += solution.errors.tolist() if number == 0 else []
        means.append(np.concatenate([mean for mean, _ in found]))
        squares.append(np.concatenate([square for _, square in found]))
        if progress is not None:
            progress(number + 1, len(config.hidden_widths), "hidden widths")
    return xr.Dataset(
        {
            "bias": (
                ("hidden_width", "step", "group", "output"), np.stack(means).astype(np.float32)
            ),
            "square": (("hidden_width", "step", "group"), np.stack(squares)),
            "stated": ("step", stated),
        },
        coords={"hidden_width": list(config.hidden_widths), "step": list(config.steps)},
        attrs={"width": config.width, "neurons": config.neurons},
    )  # fmt: skip


def _pairs(
    config: Config,
    depth: int,
    hidden_width: int,
    steps: tuple[int, ...],
    neurons: int,
    *,
    seed: int,
) -> torch.Tensor:
    """Return outputs of networks and of those that start with -v, ``(step, 2, pair, ...)``."""
    net = limits.MeanFieldResNet(config.width, hidden_width, depth=depth)
    n_pairs = max(neurons // (2 * depth * hidden_width), config.groups)
    one = net.sample(n_paths=n_pairs, seed=seed)
    both = replace(one, u=torch.cat((one.u, one.u), dim=1), v=torch.cat((one.v, -one.v), dim=1))
    x, y = _problem.data(config.width)
    out = net.descend(x, y, both, steps=max(steps), keep=steps, in_place=True)
    return out.outputs.unflatten(1, (2, n_pairs))


def _split(
    outputs: torch.Tensor, solution: limits.MeanODESolution, groups: int
) -> tuple[Floats, Floats]:
    """Return mean errors ``(step, group, output)`` and variances ``(step, group)``."""
    middle = outputs.mean(dim=1).flatten(2)
    errors = middle - solution.outputs.flatten(1).unsqueeze(1)
    apart = outputs.flatten(3) - middle.mean(dim=1)[:, None, None]
    # What the mean itself has of the noise is missing in the deviations from it.
    missing = middle.var(dim=1).mean(dim=1) / middle.shape[1]
    squares = apart.square().mean(dim=(1, 3)) + missing.unsqueeze(1)
    cut = [list(part) for part in np.array_split(np.arange(middle.shape[1]), groups)]
    return (
        torch.stack([errors[:, part].mean(dim=1) for part in cut], dim=1).numpy(),
        torch.stack([squares[:, part].mean(dim=1) for part in cut], dim=1).numpy(),
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw fluctuation against L M, L times the bias against L, and b and c after every step."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 2.9), layout="constrained", width_ratios=[1.1, 1.1, 0.9]
        )
        _fluctuations(left, dataset)
        steps = [step for step in dataset["step"].to_numpy().tolist() if step]
        _biases(middle, dataset, steps[min(1, len(steps) - 1)])
        _constants(right, dataset, steps)
    return figure


def _fluctuations(ax: Axes, dataset: xr.Dataset) -> None:
    depth, hidden_width = xr.broadcast(dataset["depth"], dataset["hidden_width"])
    depth, hidden_width = depth.to_numpy().astype(float), hidden_width.to_numpy().astype(float)
    shape = (depth * hidden_width).ravel()
    for step, colour, marker in zip(dataset["step"].to_numpy(), COLOURS, MARKERS, strict=False):
        found = np.sqrt(dataset["square"].sel(step=step).mean("group"))
        values = found.transpose("depth", "hidden_width").to_numpy().ravel()
        ax.plot(shape, values, marker, color=colour, markersize=3, label=f"$k={step}$")
    order = np.argsort(shape)
    exact = np.sqrt(variance_at_start(dataset.attrs["width"], depth, hidden_width)).ravel()[order]
    ax.plot(shape[order], exact, label="exact, $k=0$", **DASHED)
    _problem.log_log(ax)
    ax.set(xlabel="neurons $LM$", ylabel="standard deviation of outputs", title="fluctuation")
    ax.legend(loc="lower left")


def _biases(ax: Axes, dataset: xr.Dataset, step: int) -> None:
    found, _ = bias_constants(dataset, step)
    dense = np.geomspace(dataset["depth"].min(), dataset["depth"].max(), 40)
    for width, colour, marker in zip(
        dataset["hidden_width"].to_numpy(), COLOURS, MARKERS, strict=False
    ):
        part = (
            dataset["bias"].sel(step=step, hidden_width=width).transpose("depth", "output", "group")
        )
        quantile = student_quantile(part.sizes["group"], 0.95)
        squares = [common_square(each) for each in part.to_numpy().astype(float)]
        depth, of_m = dataset["depth"].to_numpy(), dataset.attrs["width"] / width
        middle, low, high = depth * np.array([roots(*each, quantile) for each in squares]).T
        ax.errorbar(
            depth, middle, yerr=[middle - low, high - middle], color=colour, marker=marker,
            linestyle="none", capsize=2, label=f"$M={width}$",
        )  # fmt: skip
        terms = np.stack([np.ones_like(dense), of_m + 0 * dense, 1 / dense, of_m / dense,
                          of_m**2 / dense])  # fmt: skip
        ax.plot(
            dense, np.sqrt(((terms.T @ found) ** 2).mean(axis=1)), **{**DASHED, "color": colour}
        )
    ax.plot([], [], label="fit, next order too", **DASHED)
    ax.set(xscale="log", xlabel="depth $L$", ylabel=f"$L$ times bias (RMS), $k={step}$")
    ax.set_xticks(dataset["depth"].to_numpy(), [f"{each}" for each in dataset["depth"].to_numpy()])
    ax.minorticks_off()
    # Room for the key above the points.
    ax.set(title="bias, independent layers", ylim=(0, 1.45 * ax.get_ylim()[1]))
    ax.legend(loc="upper left", fontsize=6.5, ncols=2)


def _constants(ax: Axes, dataset: xr.Dataset, steps: Sequence[int]) -> None:
    quantile, places = student_quantile(dataset.sizes["group"], 0.95), np.arange(len(steps))
    squares = [bias_constants(dataset, step)[1] for step in steps]
    for row, (label, shift) in enumerate((("$b$ of $b/L$", -0.06), ("$c$ of $c\\,D/(LM)$", 0.06))):
        middle, low, high = np.array([roots(*each[row], quantile) for each in squares]).T
        ax.errorbar(
            places + shift, middle, yerr=[middle - low, high - middle], color=COLOURS[row],
            marker=MARKERS[row], linestyle="none", capsize=2, label=label,
        )  # fmt: skip
    ax.set_xticks(places, [str(step) for step in steps])
    ax.set(xlabel="step $k$", ylabel="RMS over outputs", title="constants of the bias")
    ax.set(xlim=(-0.5, len(steps) - 0.5), ylim=(0, None))
    ax.legend(loc="upper left")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the size at the start, exponents of fluctuation and bias, and the term of the width."""
    verdicts, n = [_of_start(dataset)], dataset.sizes["group"]
    depths = dataset["depth"].to_numpy()
    sizes = f"L = {depths[0]}-{depths[-1]}"
    for step in (each for each in dataset["step"].to_numpy().tolist() if each):
        for symbol, found in zip("LM", fluctuation_orders(dataset, step), strict=True):
            verdicts.append(
                of_estimate(
                    f"k = {step}: order of the fluctuation in {symbol}",
                    found, n, 0.5, widest=WIDEST_FLUCTUATION, sizes=sizes,
                )
            )  # fmt: skip
        verdicts += [of_bias(dataset, step, symbol) for symbol in "LM"]
        verdicts.append(_of_width(dataset, step))
    return tuple(verdicts)


def _of_start(dataset: xr.Dataset) -> limits.Verdict:
    squares, depth, width = cells(dataset, "square", 0)
    n = squares.shape[1]
    exact = variance_at_start(dataset.attrs["width"], depth, width)
    errors = squares.std(axis=1, ddof=1) / n**0.5 / exact
    apart = (squares.mean(axis=1) / exact - 1) / errors
    allowed, worst = student_quantile(n, CERTAIN, len(apart)), np.abs(apart).max()
    together = np.sqrt(1 / (1 / errors**2).sum())
    return limits.Verdict(
        "k = 0: variance of outputs on its exact value at every shape",
        f"within {allowed:.1f} standard errors (99.9 % for all); all together known to 1 %",
        f"at most {worst:.1f} at {len(apart)} shapes, together known to {together:.1%}",
        bool(worst <= allowed and together < 0.01),
        decided=bool(together < 0.01 or worst > allowed),
    )


def of_bias(dataset: xr.Dataset, step: int, symbol: str) -> limits.Verdict:
    """Judge the exponent of L in the bias, or of M in what a finite width adds to it."""
    claim = {"L": "order of the bias in L", "M": "order in M of what the width adds to the bias"}
    depths = dataset["depth"].to_numpy()
    return of_estimate(
        f"k = {step}: {claim[symbol]}", bias_order(dataset, step, symbol), dataset.sizes["group"],
        1.0, widest=WIDEST_BIAS, sizes=f"L = {depths[0]}-{depths[-1]}",
    )  # fmt: skip


def _of_width(dataset: xr.Dataset, step: int) -> limits.Verdict:
    n = dataset.sizes["group"]
    (b, _, _), (c, low, high) = (
        roots(*each, student_quantile(n, CERTAIN)) for each in bias_constants(dataset, step)[1]
    )
    return limits.Verdict(
        f"k = {step}: the bias of independent layers has a term c D/(LM)",
        "99.9 % interval of c above 0",
        f"c = {c:.4f} [{low:.4f}, {high:.4f}], b = {b:.4f}",
        bool(low > 0),
        # An interval that reaches zero excludes a term only where it is short beside b.
        decided=bool(low > 0 or high < b / 4),
    )
