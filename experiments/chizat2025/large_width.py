"""Networks of growing depth, hidden width and embedding dimension against their common limit.

Left: outputs of a tanh example in training. Right: errors in embedding space, which fall as
1/L (bias), sqrt(D/(LM)) (fluctuation) and 1/sqrt(D) (frozen embeddings that are not quite
orthogonal).
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
from limits.experiments.chizat2025 import _example as example
from limits.experiments.chizat2025._drawing import plain_axes
from limits.experiments.chizat2025._example import CITATION as CITATION
from limits.experiments.chizat2025._judging import of_exponent
from limits.plots import BLUE, DASHED, ORANGE

SCANS = ("outputs", "depth", "size", "dimension")
SETTINGS = ("steps", "dimension", "deep", "bias_dimension", "per_dimension", "n_paths", "n_draws")
COLUMNS = ("all", "bias", "embedding")
PUBLISHED = (0.0, 0.832, 0.967, 0.994)


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    steps : int
        Gradient steps k, learning rate 1.
    depths : tuple of int
        Depths L of the bias, at L M = `bias_size`, D = `bias_dimension`, orthogonal embeddings.
    sizes : tuple of int
        Values of L M of the fluctuation, at depth `deep` and orthogonal embeddings.
    dimensions : tuple of int
        D of the error of Gaussian embeddings; L M = D `per_dimension` at depth `deep`.
    dimension : int
        D of the two other scans.
    bias_size, bias_dimension, per_dimension, deep : int
        See above.
    n_paths : int
        Networks with orthogonal embeddings per point.
    n_draws : int
        Networks with Gaussian embeddings per D.
    n_nets, net_dimension, net_width, net_depth : int
        Networks with orthogonal embeddings of the example, their D, M and L; as many have half
        the depth.
    """

    steps: int = 3
    depths: tuple[int, ...] = (4, 8, 16, 32)
    sizes: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    dimensions: tuple[int, ...] = (8, 16, 32, 64, 128)
    dimension: int = 16
    bias_size: int = 262144
    bias_dimension: int = 2
    per_dimension: int = 64
    deep: int = 32
    n_paths: int = 64
    n_draws: int = 24
    n_nets: int = 20
    net_dimension: int = 200
    net_width: int = 200
    net_depth: int = 40

    def __post_init__(self) -> None:
        products = [*self.sizes, *(each * self.per_dimension for each in self.dimensions)]
        if any(size % self.deep for size in products) or any(
            self.bias_size % depth for depth in self.depths
        ):
            raise ValueError(
                f"every size must be a multiple of deep={self.deep}, and bias_size="
                f"{self.bias_size} of every depth."
            )


SCALES = {
    "smoke": Config(
        depths=(4, 8, 16), sizes=(64, 256, 1024), dimensions=(16, 32, 128), bias_size=32768,
        per_dimension=16, deep=16, n_paths=64, n_draws=10,
        n_nets=48, net_dimension=50, net_width=64, net_depth=16,
    ),
    "laptop": Config(),
    "paper": Config(
        depths=(4, 8, 16, 32, 64), dimensions=(8, 16, 32, 64, 128, 256), n_paths=256,
        sizes=(128, 256, 512, 1024, 2048, 4096, 8192, 16384), net_dimension=400, net_width=400,
        bias_size=2**20, deep=64, n_draws=48,
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every panel's curve."""
    return {"scan": SCANS}


def task(
    config: Config,
    *,
    seed: int,
    scan: str,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train the networks of one scan and compare them with the limit."""
    limit = example.limit_of(config.steps, seed)
    if scan == "outputs":
        nets = example.at_two_depths(
            config.net_dimension, config.net_width, config.net_depth, n_nets=config.n_nets,
            steps=config.steps, seed=seed,
        )  # fmt: skip
        return _dataset(config, limit, nets, [])
    rows = []
    grid = _grid(config, scan)
    for done, (depth, width, size) in enumerate(grid):
        net = limits.MeanFieldResNet(
            width, size // depth, depth=depth, features=1, outputs=1,
            embeddings="gaussian" if scan == "dimension" else "orthogonal",
        )  # fmt: skip
        count = config.n_draws if scan == "dimension" else config.n_paths
        outputs, states, weights = example.train(net, steps=config.steps, n_paths=count, seed=seed)
        ideal = limit.embedded(weights.embedding, weights.readout)[-1, -1, :, 0]
        row = {"all": example.root_of((states - ideal).square().mean(dim=-1))}
        if scan == "dimension":
            row["embedding"] = example.embedding_error(weights, limit, seed=seed)
        if scan == "depth":
            # Later steps correct the outputs, and with them what depth does to them.
            gaps = outputs[1] - limit.outputs[1, 0, 0]
            row = {"all": example.root_of(gaps.square()), "bias": example.bias_of(gaps)}
        rows.append({"position": {"depth": depth, "size": size, "dimension": width}[scan], **row})
        if progress is not None:
            progress(done + 1, len(grid), scan)
    return _dataset(config, limit, None, rows)


def _grid(config: Config, scan: str) -> list[tuple[int, int, int]]:
    """Return depth, dimension and L M of every point of a scan."""
    if scan == "depth":
        return [(depth, config.bias_dimension, config.bias_size) for depth in config.depths]
    if scan == "size":
        return [(config.deep, config.dimension, size) for size in config.sizes]
    return [(config.deep, d, d * config.per_dimension) for d in config.dimensions]


def _dataset(
    config: Config, limit: limits.LimitDescent, outputs: torch.Tensor | None, table: list[dict]
) -> xr.Dataset:
    """Return one scan's numbers, with NaN for those of other scans."""
    longest = max(len(config.depths), len(config.sizes), len(config.dimensions))
    filled = np.full((longest, len(COLUMNS), 2), np.nan)
    position = np.full(longest, np.nan)
    for i, row in enumerate(table):
        position[i] = row["position"]
        for j, name in enumerate(COLUMNS):
            if name in row:
                filled[i, j] = row[name].value, row[name].standard_error
    if outputs is None:
        outputs = torch.full((2, config.steps + 1, config.n_nets), torch.nan)
    return xr.Dataset(
        {
            "error": (("point", "part", "bound"), filled),
            "position": ("point", position),
            "output": (("net_depth", "step", "net"), outputs.numpy()),
            "limit": ("step", limit.outputs[:, 0, 0].numpy()),
            "limit_error": ("step", limit.standard_errors[:, 0, 0].numpy()),
        },
        coords={
            "part": list(COLUMNS),
            "bound": ["value", "standard_error"],
            "net_depth": [config.net_depth // 2, config.net_depth],
        },
        attrs={name: getattr(config, name) for name in SETTINGS},
    )


def curve(dataset: xr.Dataset, scan: str, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions, errors and standard errors of one curve."""
    chosen = dataset.sel(scan=scan, part=part)
    kept = np.isfinite(chosen["position"].to_numpy())
    values = chosen["error"].to_numpy()[kept]
    return chosen["position"].to_numpy()[kept], values[:, 0], values[:, 1]


def slope(dataset: xr.Dataset, scan: str, part: str) -> tuple[float, float, float]:
    """Return the slope of a curve in log-log, its standard error, and the constant.

    Errors of embeddings have a next term of order 1/D beside them, which is fitted as well.
    """
    x, y, error = curve(dataset, scan, part)
    columns = [np.log(x), np.ones_like(x)] + ([1 / x] if scan == "dimension" else [])
    design = np.stack(columns, axis=1) * (y / error)[:, None]
    (value, constant, *_) = np.linalg.lstsq(design, np.log(y) * y / error, rcond=None)[0]
    covariance = np.linalg.inv(design.T @ design)
    return float(value), float(covariance[0, 0] ** 0.5), float(np.exp(constant))


def draw(dataset: xr.Dataset) -> Figure:
    """Draw outputs of the example, and the three errors."""
    settings = dataset.attrs
    with limits.plots.style():
        figure, panels = plt.subplots(1, 4, figsize=(7.2, 2.7), layout="constrained")
        _draw_outputs(panels[0], dataset)
        for ax, scan, part, order, label in (
            (panels[1], "depth", "bias", -1.0, "depth $L$"),
            (panels[2], "size", "all", -0.5, "size $L\\,M$"),
            (panels[3], "dimension", "embedding", -0.5, "dimension $D$"),
        ):
            _draw_scan(ax, dataset, scan, part, order)
            ax.set_xlabel(label)
        panels[1].set_ylabel("error of the output $f_1$")
        panels[2].set_ylabel("error of $h_L$, RMS per entry")
        panels[1].set_title("bias $1/L$")
        panels[2].set_title(r"fluctuation $\sqrt{D/LM}$")
        panels[3].set_title(r"embeddings $1/\sqrt{D}$")
        figure.supxlabel(
            f"tanh; bias after 1 step, $D={settings['bias_dimension']}$, others after "
            f"{settings['steps']}; orthogonal embeddings with $D={settings['dimension']}$, on the "
            f"right Gaussian ones with $LM={settings['per_dimension']}\\,D$; 95 % intervals",
            fontsize=7, color="0.35",
        )  # fmt: skip
    return figure


def _draw_outputs(ax: Axes, dataset: xr.Dataset) -> None:
    part = dataset.sel(scan="outputs")
    steps = np.arange(len(part["step"]))
    nets = part["output"].isel(net_depth=1).to_numpy()
    aside = np.linspace(-0.15, 0.15, nets.shape[1])
    look = {"markersize": 2, "color": ORANGE, "alpha": 0.7, "linestyle": "none"}
    x, label = (steps[:, None] + aside).ravel(), f"{nets.shape[1]} networks"
    ax.plot(x, nets.ravel(), "o", label=label, **look)
    ax.plot(steps, part["limit"], label="limit", marker="_", markersize=13, **DASHED)
    ax.set(xlabel="gradient step $k$", ylabel="output $f_k$", xticks=steps)
    ax.set_title("$x=1.5$, $y=1$")
    ax.legend(loc="lower right")


def _draw_scan(ax: Axes, dataset: xr.Dataset, scan: str, part: str, order: float) -> None:
    value, error, _ = slope(dataset, scan, part)
    names = {"all": "networks", "bias": "mean error", "embedding": "$L,M=\\infty$"}
    fitted = f"{names[part]}, slope\n{value:.3f} ± {1.96 * error:.3f}"
    looks = [(part, BLUE, "o", fitted)]
    if part != "all":
        looks.append(("all", ORANGE, "s", "RMS error" if part == "bias" else names["all"]))
    for name, colour, marker, label in looks:
        x, y, spread = curve(dataset, scan, name)
        ax.errorbar(
            x, y, yerr=np.minimum(1.96 * spread, 0.9 * y), color=colour, marker=marker,
            markersize=3.5, linewidth=0.9, capsize=1.5, label=label,
        )  # fmt: skip
    x, y, _ = curve(dataset, scan, part)
    middle = np.exp(np.log(y).mean() - order * np.log(x).mean())
    ax.plot(x, middle * x**order, label="theory", **DASHED)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.set_ylim(low / (high / low) ** 0.75, high)
    plain_axes(ax, x[:: -(-len(x) // 4)])
    ax.legend(loc="lower left", fontsize=6.5, handlelength=1.6)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the example and the three slopes."""
    limit = dataset.sel(scan="outputs")["limit"].to_numpy()
    verdicts = [
        limits.Verdict(
            "outputs of the limit on the published example",
            "0, .832, .967, .994 within .003",
            ", ".join(f"{value:.4f}" for value in limit),
            bool(np.abs(limit[:4] - PUBLISHED).max() < 0.003),
        ),
        example.of_extrapolated(dataset, limit),
    ]
    claims = {
        "depth": ("L", f"bias of outputs after 1 step at D = {dataset.attrs['bias_dimension']}"),
        "size": ("L M", f"error of hidden states after {dataset.attrs['steps']} steps"),
        "dimension": ("D", "error of Gaussian embeddings"),
    }
    for scan, name, order, widest in (
        ("depth", "bias", -1.0, 0.4),
        ("size", "all", -0.5, 0.1),
        ("dimension", "embedding", -0.5, 0.3),
    ):
        value, error, _ = slope(dataset, scan, name)
        x, (symbol, claim) = curve(dataset, scan, name)[0], claims[scan]
        found = limits.Order(
            -value, -value - 1.96 * error, -value + 1.96 * error, 1.0, tuple(x.astype(int))
        )
        verdicts.append(
            of_exponent(f"{claim} against {scan}", found, -order, widest=widest, symbol=symbol)
        )
    return tuple(verdicts)
