"""Gradient descent on the analysed network: a linear rate that depth does not change.

Square loss, separated inputs of norm 1, whole gradients, one learning rate for all. In the end
the rate is 2 eta times the smallest eigenvalue of the tangent kernel, which does not change with
depth at tau = L^-1/2, falls like 1/L at 1/L, and leaves every bound at L^-1/4. At 1/L the measured
rate falls more slowly: while little has been learned, errors along larger eigenvalues still decay.
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
from limits.experiments.zhang2022._rates import CASES, draws, mean_rates, predicted

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120. Global convergence of gradient descent."
)


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths : tuple of int
        Depths L.
    width : int
        Width m at which all scalings are compared.
    widths : tuple of int
        Further widths, for tau = L^-1/2 only.
    n_inputs, features : int
        Inputs, drawn on the unit sphere, and their length; targets are random signs.
    eta : float
        Learning rate at width 128; it falls like 1 / m, as the kernel grows like m.
    steps : int
        Steps of gradient descent; the rate is fitted to the second half.
    n_paths, parts : int
        Draws of A, B and all weights in a task, and tasks of every scaling.
    """

    depths: tuple[int, ...] = (4, 16, 64, 256)
    width: int = 128
    widths: tuple[int, ...] = (64, 256)
    n_inputs: int = 16
    features: int = 64
    eta: float = 5e-4
    steps: int = 200
    n_paths: int = 4
    parts: int = 4

    def __post_init__(self) -> None:
        if self.width in self.widths:
            raise ValueError(f"widths={self.widths} must not repeat width={self.width}.")


SCALES = {
    "smoke": Config(depths=(4, 8, 32), widths=(), eta=8e-4, steps=100, parts=2),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256, 1024), width=256, widths=(128, 512), parts=8),
}


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for some draws of every scaling; a width of its own is a scaling of its own.

    All depths of a task share A and B, so that they are compared on the same inputs h_0.
    """
    extra = (f"half-{width}" for width in config.widths)
    return {"case": (*CASES, *extra), "part": range(config.parts)}


def cost(config: Config, *, case: str, part: int) -> float:
    """Relative time: operations."""
    return _width(config, case) ** 2


def _width(config: Config, case: str) -> int:
    return config.width if case in CASES else int(case.removeprefix("half-"))


def samples(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs of norm 1 and signs to learn, the same ones in every task."""
    stream = limits.Stream(0, "zhang2022/descent")
    inputs = stream.normals(0, config.n_inputs, config.features)
    signs = stream.child("targets").normals(0, config.n_inputs, 1).sign()
    return inputs / inputs.norm(dim=1, keepdim=True), signs


def task(
    config: Config,
    *,
    seed: int,
    case: str,
    part: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Descend from several draws of networks of all depths and measure kernel and rate."""
    inputs, _ = samples(config)
    apart = torch.cdist(inputs, inputs) + 2 * torch.eye(len(inputs))
    found = xr.concat([_descend(config, seed, case, depth) for depth in config.depths], "depth")
    return found.assign_coords(
        depth=list(config.depths),
        path=np.arange(config.n_paths),
        step=np.arange(config.steps + 1),
    ).assign_attrs(n_inputs=config.n_inputs, separation=float(apart.min()))


def _descend(config: Config, seed: int, case: str, depth: int) -> xr.Dataset:
    width, kind = _width(config, case), CASES.get(case, CASES["half"])
    eta = config.eta * 128 / width
    inputs, targets = samples(config)
    nets = limits.AnalysedEnsemble(
        limits.BrownianPath(width), depth=depth, n_paths=config.n_paths, seed=seed,
        features=config.features, outputs=1, **kind.network(depth),
    )  # fmt: skip
    spectrum = torch.linalg.eigvalsh(nets.tangent_kernel(inputs).double())
    losses = limits.descend_squares(nets, inputs, targets, rate=eta, steps=config.steps)
    logs, half = losses.log().numpy(), config.steps // 2
    return xr.Dataset(
        {
            "log_loss": (("path", "step"), logs.astype(np.float32)),
            "rate": ("path", (logs[:, half] - logs[:, -1]) / (config.steps - half)),
            "smallest": ("path", spectrum[:, 0].numpy()),
            "largest": ("path", spectrum[:, -1].numpy()),
            "eta": eta,
            "width": width,
        }
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw losses of the four scalings, fitted rates, and the kernel that explains them."""
    with limits.plots.style():
        figure = plt.figure(figsize=(7.2, 4.7), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])
        row = upper.subplots(1, len(CASES), sharey=True)
        for ax, case in zip(row, CASES, strict=True):
            _draw_losses(ax, dataset, case)
        row[0].set_ylabel("loss / loss at step 0")
        row[0].set_ylim(1e-7, 30)
        left, right = lower.subplots(1, 2)
        _draw_against_depth(left, dataset)
        _draw_explanation(right, dataset)
        settings = dataset.attrs
        width = int(dataset["width"].sel(case="half").max())
        lower.supxlabel(
            f"$m={width}$ unless said, {settings['n_inputs']} inputs of norm 1 at least "
            f"{settings['separation']:.2f} apart, one learning rate $\\eta$ for all; "
            f"{dataset.sizes['part'] * dataset.sizes['path']} draws, 95 % intervals; "
            "cross: a draw diverged",
            fontsize=7.5, color="0.35",
        )  # fmt: skip
    return figure


def _draw_losses(ax: Axes, dataset: xr.Dataset, case: str) -> None:
    depths = dataset["depth"].to_numpy()
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.88, len(depths)))
    for depth, shade, dashes in zip(depths, shades, ("-", "--", "-.", ":", "-"), strict=False):
        logs = draws(dataset, "log_loss", case).sel(depth=depth)
        relative = np.exp((logs - logs.isel(step=0)).mean("draw", skipna=False))
        ax.plot(
            dataset["step"], relative, color=shade, linestyle=dashes, label=f"$L={depth}$"
        )  # fmt: skip
        stopped = np.isnan(relative.to_numpy())
        if stopped.any():
            ax.plot(
                stopped.argmax(), 8, marker="x", color=shade, linestyle="none", markersize=6,
                clip_on=False,
            )  # fmt: skip
    ax.set_yscale("log")
    ax.set_title(CASES[case].label)
    ax.set_xlabel("step")
    if case == "half":
        ax.legend(fontsize=6.5, loc="lower left", handlelength=2.2)


def _draw_against_depth(ax: Axes, dataset: xr.Dataset) -> None:
    depths = dataset["depth"].to_numpy()
    for case, look in CASES.items():
        middle, reach = mean_rates(dataset, case)
        ax.errorbar(
            depths, middle, yerr=reach, color=look.colour, marker=look.marker, linestyle="none",
            capsize=2.5, label=look.label,
        )  # fmt: skip
    one, half = mean_rates(dataset, "one")[0], mean_rates(dataset, "half")[0]
    slope, level = np.polyfit(np.log(depths), np.log(one), 1)
    ax.plot(
        depths, np.exp(level) * depths**slope, "--", color=CASES["one"].colour, linewidth=0.9
    )  # fmt: skip
    ax.axhline(half.mean(), linestyle="--", color=CASES["half"].colour, linewidth=0.9)
    ax.text(
        0.03, 0.05, f"fit: $L^{{{slope:.2f}}}$, not yet\nthe $1/L$ of $\\lambda_{{\\min}}$",
        fontsize=7.5, color=CASES["one"].colour, transform=ax.transAxes,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="rate: $-$d log loss / d step")
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.minorticks_off()
    low = np.nanmin(one) / 3
    ax.set_ylim(low, 6 * float(np.nanmax(half)))
    ax.legend(fontsize=7, ncols=2, loc="upper right")


def _draw_explanation(ax: Axes, dataset: xr.Dataset) -> None:
    cases = [case for case in dataset["case"].to_numpy() if case not in ("quarter", "feed-forward")]
    shown = []
    for case in cases:
        look = CASES.get(case, CASES["half"])
        width = int(dataset["width"].sel(case=case).max())
        expected = predicted(dataset, case)
        middle, reach = mean_rates(dataset, case)
        shown.extend(expected)
        fill = look.colour if case in CASES else "white"
        marker = look.marker if case in CASES else ("v" if width < 128 else "P")
        ax.errorbar(
            expected, middle, yerr=reach, color=look.colour, marker=marker, linestyle="none",
            capsize=2, markerfacecolor=fill, label=f"{look.label}, $m={width}$",
        )  # fmt: skip
    ends = np.array([min(shown) / 1.6, max(shown) * 1.6])
    ax.plot(ends, ends, "--", color="0.4", linewidth=0.9, label="rate $=2\\eta\\lambda_{\\min}$")
    ax.set(xscale="log", yscale="log", ylabel="measured rate")
    ax.set_xlabel(r"$2\eta\,\lambda_{\min}$ of the tangent kernel before training")
    ax.text(
        0.97, 0.05, "above the line: errors along\nlarger eigenvalues are still left",
        fontsize=7, color="0.35", ha="right", transform=ax.transAxes,
    )  # fmt: skip
    ax.legend(fontsize=7, loc="upper left")


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge whether the rate depends on depth as the theorem says."""
    half, reach = mean_rates(dataset, "half")
    one, _ = mean_rates(dataset, "one")
    depths = dataset["depth"].to_numpy()
    variation = (half.max() - half.min()) / half.mean()
    slope = np.polyfit(np.log(depths), np.log(one), 1)[0]
    share = _share_of_predicted(dataset, "half")
    ratios = half / predicted(dataset, "half")
    kernel = np.polyfit(np.log(depths), np.log(predicted(dataset, "one")), 1)[0]
    lost = dataset["log_loss"].sel(case="quarter", depth=depths[-1]).isel(step=-1)
    return (
        limits.Verdict(
            "tau = L^-1/2: the linear rate does not depend on depth",
            "varies by less than 15 %",
            f"{100 * variation:.1f} % over L = {depths[0]}-{depths[-1]} ("
            + ", ".join(f"{a:.4f} ± {b:.4f}" for a, b in zip(half, reach, strict=True))
            + ")",
            bool(variation < 0.15),
        ),
        limits.Verdict(
            "tau = L^-1/2: every draw goes to a global minimum, as fast as with half of its "
            "kernel's smallest eigenvalue before training",
            f"log of the loss falls by at least half of 2 eta eigenvalue x "
            f"{dataset.sizes['step'] - 1} steps (the eigenvalue halves at most: the bound of "
            "the proofs)",
            f"{share.min():.2f}-{share.max():.2f} of it",
            bool(share.min() >= 0.5),
        ),
        limits.Verdict(
            "tau = 1/L: the smallest eigenvalue falls like 1/L, and the rate falls with it, more "
            "slowly as it is not yet asymptotic",
            "slopes in log log: eigenvalue -1 within 0.1, rate below -0.6",
            f"eigenvalue {kernel:.2f}, rate {slope:.2f}; rate / (2 eta eigenvalue) "
            + ", ".join(f"{each:.1f}" for each in one / predicted(dataset, "one"))
            + f" at L = {', '.join(map(str, depths))}",
            bool(abs(kernel + 1) < 0.1 and slope < -0.6),
        ),
        limits.Verdict(
            "tau = L^-1/2: the rate is 2 eta times the smallest eigenvalue before training",
            "within 25 % at every depth",
            f"ratios {ratios.min():.2f}-{ratios.max():.2f}",
            bool(np.abs(ratios - 1).max() < 0.25),
        ),
        limits.Verdict(
            f"tau = L^-1/4 at L = {depths[-1]}",
            "every draw diverges",
            f"{int(np.isnan(lost).sum())} of {lost.size}",
            bool(np.isnan(lost).all()),
        ),
    )


def _share_of_predicted(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return what the log of every draw's loss fell by, over 2 eta eigenvalue x steps.

    At least 1 where errors decay by a fixed kernel; at least 1/2 where its smallest eigenvalue
    never falls below half, by the inequality of Polyak and Lojasiewicz. NaN counts as 0.
    """
    logs = draws(dataset, "log_loss", case).astype(float)
    eta = float(dataset["eta"].sel(case=case).max())
    expected = 2 * eta * draws(dataset, "smallest", case) * (dataset.sizes["step"] - 1)
    return ((logs.isel(step=0) - logs.isel(step=-1)) / expected).fillna(0).to_numpy()
