"""How fast fluctuation and bias of trained networks fall with depth L and hidden width M.

The fluctuation is sqrt(D / (L M)) times a constant at every step; at step 0 the constant is
known. The bias is 1 / L times a constant that is zero at step 0. It is measured twice: as the
mean error against the Mean ODE, and without noise between networks of one set of neurons, which
every layer begins with, at depths L and 2 L.
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
from limits.experiments.chizat2025._problem import CITATION as CITATION
from limits.plots import COLOURS, DASHED, MARKERS

# Steps, margin of the slope -1/2 of the fluctuation.
MARGINS = {0: 0.02, 1: 0.03, 10: 0.03}
# Depths over which the bias is 1 / L.
BIAS_DEPTHS = {10: (4, 64), 100: (8, 128)}
BIAS_MARGIN = 0.1


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths, hidden_widths : tuple of int
        The grid of L and M.
    width : int
        Embedding dimension D = N.
    kept_steps, bias_steps : tuple of int
        Steps of gradient descent at which errors are measured, and the noiseless bias.
    n_paths : int
        Repetitions.
    bias_width : int
        Hidden width of the networks whose layers share their first neurons.
    bias_paths : int
        Sets of such neurons.
    particles, nodes, replicates : int
        Of the Mean ODE's solver.
    """

    depths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    hidden_widths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256)
    width: int = 10
    kept_steps: tuple[int, ...] = (0, 1, 10)
    bias_steps: tuple[int, ...] = (1, 10, 100)
    n_paths: int = 20
    bias_width: int = 316
    bias_paths: int = 4
    particles: int = 16384
    nodes: int = 6
    replicates: int = 3


SCALES = {
    "smoke": Config(
        depths=(4, 8, 16, 32), hidden_widths=(4, 8, 16, 32), bias_steps=(1, 10), n_paths=40,
        bias_width=64, particles=2048, nodes=4,
    ),
    "laptop": Config(),
    "paper": Config(n_paths=80, bias_paths=16, particles=65536, nodes=8),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every depth."""
    return {"depth": config.depths}


def cost(config: Config, *, depth: int) -> float:
    return 10 + depth


def task(
    config: Config, *, seed: int, depth: int, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Train networks of one depth and all hidden widths."""
    solution = _problem.reference(
        config.width, config.kept_steps, config.particles, config.nodes, config.replicates
    )
    x, y = _problem.data(config.width)
    deviations, bias, fluctuation = [], [], []
    factor = (config.n_paths / (config.n_paths - 1)) ** 0.5
    for outputs, splits in _problem.trained(
        config.width, depth, config.hidden_widths, n_paths=config.n_paths, seed=seed,
        solution=solution, progress=progress,
    ):  # fmt: skip
        apart = outputs - outputs.mean(dim=1, keepdim=True)
        deviations.append(factor * apart.square().mean(dim=(2, 3)).sqrt())
        bias.append([split.bias for split in splits])
        fluctuation.append([split.fluctuation for split in splits])
    shape = ("hidden_width", "step")
    return xr.Dataset(
        {
            "deviation": ((*shape, "path"), np.stack(deviations)),
            "bias": ((*shape, "bound"), np.array(bias)),
            "fluctuation": ((*shape, "bound"), np.array(fluctuation)),
            "common": (("bias_step", "set"), _common(config, depth, x, y)),
            "stated": ("step", solution.errors.numpy()),
            "constant": exact_constant(config.width),
        },
        coords={
            "hidden_width": list(config.hidden_widths),
            "step": list(config.kept_steps),
            "bias_step": list(config.bias_steps),
            "bound": ["value", "low", "high"],
        },
        attrs={"width": config.width, "n_paths": config.n_paths, "bias_width": config.bias_width},
    )


def _common(config: Config, depth: int, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Return |y_L - y_2L| of networks all of whose layers begin with one set of neurons."""
    outputs = []
    for layers in (depth, 2 * depth):
        net = limits.MeanFieldResNet(config.width, config.bias_width, depth=layers)
        first = limits.MeanFieldResNet(config.width, config.bias_width, depth=1)
        one = first.sample(n_paths=config.bias_paths, seed=0)
        weights = replace(
            one,
            u=one.u.expand(layers, -1, -1, -1).clone(),
            v=one.v.expand(layers, -1, -1, -1).clone(),
        )
        out = net.descend(
            x, y, weights, steps=max(config.bias_steps), keep=config.bias_steps, in_place=True
        )
        outputs.append(out.outputs)
    return (outputs[0] - outputs[1]).square().mean(dim=(2, 3)).sqrt().numpy()


def exact_constant(width: int) -> float:
    """Return RMS sqrt(LM/D) at step 0: the root of E tanh(u.x/D)^2 over the inputs."""
    x, _ = _problem.data(width)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    spread = x.square().mean(dim=1).sqrt().numpy()
    second = (np.tanh(spread[:, None] * nodes) ** 2 * weights).sum(axis=1) / weights.sum()
    return float(np.sqrt(second.mean()))


def slope(dataset: xr.Dataset, step: int, along: str) -> limits.Order:
    """Fit the fluctuation's order in L or M, over all values of the other."""
    values = dataset["deviation"].sel(step=step)
    other = "hidden_width" if along == "depth" else "depth"
    # sqrt of the other takes its own rate out, so that all may be averaged.
    scaled = values * np.sqrt(dataset[other])
    # Draws are independent: a path of one shape is a path beside those of the others.
    stacked = scaled.stack(draw=("path", other)).transpose(along, "draw").to_numpy()
    return limits.fit_order(stacked, depths=dataset[along].to_numpy().tolist(), p=2, seed=0)


def bias_order(dataset: xr.Dataset, step: int) -> limits.Order:
    """Fit the order of the noiseless bias."""
    first, last = BIAS_DEPTHS[step]
    part = dataset["common"].sel(bias_step=step)
    part = part.sel(depth=(part["depth"] >= first) & (part["depth"] <= last))
    return limits.fit_order(
        part.transpose("depth", "set").to_numpy(), depths=part["depth"].to_numpy().tolist(), seed=0
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw fluctuation against L M, bias against L."""
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), layout="constrained")
        _fluctuations(left, dataset)
        _biases(right, dataset)
        figure.supxlabel(
            f"$D=N={dataset.attrs['width']}$, {dataset.attrs['n_paths']} repetitions, 95 % "
            r"intervals; filled: mean error against the Mean ODE; lines: twice $|y_L-y_{2L}|$, "
            "neurons common to all layers",
            fontsize=6.8, color="0.35",
        )  # fmt: skip
    return figure


def _fluctuations(ax: Axes, dataset: xr.Dataset) -> None:
    shape = (dataset["depth"] * dataset["hidden_width"]).to_numpy()
    width, seen = dataset.attrs["width"], (np.min(shape), np.max(shape))
    ends = np.array(seen, dtype=float)
    for step, colour, marker in zip(dataset["step"].to_numpy(), COLOURS, MARKERS, strict=False):
        found = dataset["fluctuation"].sel(step=step, bound="value")
        order = slope(dataset, int(step), "depth")
        ax.plot(
            shape.ravel(), found.transpose("depth", "hidden_width").to_numpy().ravel(), marker,
            color=colour, markersize=2.8,
            label=f"$k={step}$: slope in $L$ $-{order.value:.3f}$ "
            f"[{order.low:.3f}, {order.high:.3f}]",
        )  # fmt: skip
    constant = float(dataset["constant"].isel(depth=0))
    ax.plot(
        ends, constant * (width / ends) ** 0.5, label=r"exact at $k=0$: $\sqrt{E\tanh^2\,D/(LM)}$",
        **DASHED,
    )  # fmt: skip
    _problem.log_log(ax)
    ax.set(xlabel="neurons $LM$", ylabel="standard deviation of outputs", title="fluctuation")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 12, high)
    ax.legend(loc="lower left", fontsize=6.8)


def _biases(ax: Axes, dataset: xr.Dataset) -> None:
    depth = dataset["depth"].to_numpy().astype(float)
    widest = int(dataset["hidden_width"].max())
    for step, colour, marker in zip(
        dataset["bias_step"].to_numpy(), COLOURS[1:], MARKERS[1:], strict=False
    ):
        if step in dataset["step"]:
            part = dataset["bias"].sel(step=step, hidden_width=widest)
            middle, low, high = (part.sel(bound=b).to_numpy() for b in ("value", "low", "high"))
            reach = np.clip([middle - low, high - middle], 0, None)
            seen = low > 0
            ax.errorbar(
                depth[seen], middle[seen], yerr=reach[:, seen], color=colour, marker=marker,
                linestyle="none", capsize=2,
            )  # fmt: skip
        common = 2 * np.sqrt((dataset["common"].sel(bias_step=step) ** 2).mean("set"))
        label = f"$k={step}$"
        if int(step) in BIAS_DEPTHS:
            order = bias_order(dataset, int(step))
            label += (
                f": slope $-{order.value:.2f}$ [{order.low:.2f}, {order.high:.2f}], "
                f"$L={order.depths[0]}$-${order.depths[-1]}$"
            )
        ax.plot(depth, common, color=colour, label=label)
    ax.plot(depth, 0.22 / depth, label="slope $-1$: $0.22/L$", **DASHED)
    _problem.log_log(ax)
    low, high = ax.get_ylim()
    ax.set_ylim(low / 8, high)
    ax.set(xlabel="depth $L$", ylabel="bias of outputs (RMS)", title=f"bias, $M={widest}$")
    ax.legend(loc="lower left", fontsize=6.8)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge slopes and constants."""
    steps, verdicts = dataset["step"].to_numpy().tolist(), []
    for step in steps:
        if step in MARGINS:
            for along, symbol in (("depth", "L"), ("hidden_width", "M")):
                order = slope(dataset, step, along)
                verdicts.append(
                    limits.Verdict(
                        f"k = {step}: slope of the fluctuation in {symbol}",
                        f"-0.5 within {MARGINS[step]}",
                        f"-{order.value:.3f} [{order.low:.3f}, {order.high:.3f}], {symbol} = "
                        f"{order.depths[0]}-{order.depths[-1]}",
                        abs(order.value - 0.5) <= MARGINS[step],
                    )
                )
    exact = float(dataset["constant"].isel(depth=0))
    scale = np.sqrt(dataset["depth"] * dataset["hidden_width"] / dataset.attrs["width"])
    found = float(np.sqrt(((dataset["deviation"].sel(step=0) * scale) ** 2).mean()))
    verdicts.append(
        limits.Verdict(
            "k = 0: standard deviation times sqrt(LM/D)",
            f"{exact:.4f} within 5 %",
            f"{found:.4f}",
            abs(found / exact - 1) <= 0.05,
        )
    )
    for step in dataset["bias_step"].to_numpy().tolist():
        if step in BIAS_DEPTHS:
            order = bias_order(dataset, step)
            verdicts.append(
                limits.Verdict(
                    f"k = {step}: slope of the bias in L",
                    f"-1 within {BIAS_MARGIN}",
                    f"-{order.value:.3f} [{order.low:.3f}, {order.high:.3f}], L = "
                    f"{order.depths[0]}-{order.depths[-1]}",
                    abs(order.value - 1) <= BIAS_MARGIN,
                )
            )
    return tuple(verdicts)
