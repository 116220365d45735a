"""Digits by regression: mean-field ResNets with frozen embeddings and the Mean ODE of training.

Networks of growing L M and the same embeddings are trained by full-batch gradient descent on
digit images. They scatter around their mean by (LM)^(-1/2), and the mean is at the limit but for
the bias of their depth. The limit is the Mean ODE of these very embeddings.
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
from limits.experiments.chizat2025._drawing import plain_axes
from limits.experiments.chizat2025._judging import of_exponent, of_falls
from limits.plots import BLUE, DASHED, ORANGE

CITATION = (
    "Chizat: The hidden width of deep ResNets: tight error bounds and phase diagrams. "
    "arXiv:2509.10167 (2025). "
    "Chaintron, Chizat, Maass: ResNets of all shapes and sizes: convergence of training "
    "dynamics in the large-scale limit. arXiv:2603.18168 (2026)."
)

LIMIT = 0


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    n_inputs : int
        Digit images, rows centred and of norm sqrt(2).
    embedding_dim, depth : int
        D and L.
    hidden_widths : tuple of int
        Values of M.
    steps : int
        Gradient steps.
    learning_rate : float
        eta; the raw rate is eta L M D.
    n_paths : int
        Networks per M.
    particles, nodes, replicates : int
        Of the limit's solver.
    """

    n_inputs: int = 60
    embedding_dim: int = 20
    depth: int = 32
    hidden_widths: tuple[int, ...] = (1, 4, 16, 64)
    steps: int = 80
    learning_rate: float = 1.0
    n_paths: int = 8
    particles: int = 2048
    nodes: int = 5
    replicates: int = 4


SCALES = {
    "smoke": Config(
        n_inputs=10, embedding_dim=10, depth=64, hidden_widths=(1, 2, 4), steps=60, n_paths=32,
        particles=512, nodes=4,
    ),
    "laptop": Config(),
    "paper": Config(
        n_inputs=400, embedding_dim=64, depth=64, hidden_widths=(2, 8, 32, 128, 512), steps=200,
        n_paths=20, particles=4096,
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every M, and one for the limit, which goes by M = 0."""
    return {"hidden_width": (LIMIT, *config.hidden_widths)}


def cost(config: Config, *, hidden_width: int) -> float:
    """Return how long a task takes, in no particular unit."""
    if hidden_width == LIMIT:
        return 20.0 * config.particles * config.nodes * config.replicates
    return float(config.n_paths * config.depth * hidden_width)


def task(
    config: Config,
    *,
    seed: int,
    hidden_width: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train networks of one hidden width, or their limit."""
    x, y = _data(config)
    net = limits.MeanFieldResNet(
        config.embedding_dim, max(hidden_width, 1), depth=config.depth, features=x.shape[1],
        outputs=y.shape[1],
    )  # fmt: skip
    # One seed for the embeddings of all tasks, that the networks have one limit.
    frozen = net.sample(n_paths=1, seed=0)
    if hidden_width == LIMIT:
        return _limit(config, limits.MeanODE.of(net, frozen), x, y, seed, progress)
    weights = net.sample(n_paths=config.n_paths, seed=seed)
    weights = replace(
        weights,
        embedding=frozen.embedding.expand_as(weights.embedding),
        readout=frozen.readout.expand_as(weights.readout),
    )
    out = net.descend(
        x, y, weights, steps=config.steps, learning_rate=config.learning_rate, in_place=True,
        keep=range(config.steps + 1),
    )  # fmt: skip
    return _dataset(config, out.losses, out.outputs[-1], y)


def _data(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and one-hot classes, as far as the classes go in turn."""
    digits = limits.data.digits()
    x = digits.train_inputs[: config.n_inputs].double()
    x = x - x.mean(dim=1, keepdim=True)
    x = x * (2**0.5 / x.norm(dim=1, keepdim=True))
    classes = digits.train_classes[: config.n_inputs]
    return x, torch.nn.functional.one_hot(classes, digits.n_classes).double()


def _limit(
    config: Config,
    limit: limits.MeanODE,
    x: torch.Tensor,
    y: torch.Tensor,
    seed: int,
    progress: limits.Progress | None,
) -> xr.Dataset:
    solver = limits.ParticleTransport(
        particles=config.particles, nodes=config.nodes, replicates=config.replicates
    )
    out = solver.solve(
        limit, x, y, steps=config.steps, learning_rate=config.learning_rate, seed=seed,
        progress=progress,
    )  # fmt: skip
    losses = out.losses[:, None].expand(-1, config.n_paths)
    outputs = out.at(config.steps).expand(config.n_paths, -1, -1)
    return _dataset(config, losses, outputs, y).assign(own_error=out.error_at(config.steps))


def _dataset(
    config: Config, losses: torch.Tensor, outputs: torch.Tensor, y: torch.Tensor
) -> xr.Dataset:
    right = (outputs.argmax(dim=-1) == y.argmax(dim=-1)).double().mean(dim=-1)
    return xr.Dataset(
        {
            "loss": (("step", "path"), losses.float().numpy()),
            "output": (("path", "input", "target"), outputs.float().numpy()),
            "accuracy": ("path", right.numpy()),
            "own_error": np.nan,
        },
        attrs={
            "n_inputs": config.n_inputs, "embedding_dim": config.embedding_dim,
            "depth": config.depth, "learning_rate": config.learning_rate,
        },
    )  # fmt: skip


def errors(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return L M, and of every network the distance to the limit.

    Of outputs after training, RMS over inputs and classes; of losses, the largest relative one.
    """
    widths = [int(m) for m in dataset["hidden_width"] if m != LIMIT]
    nets, limit = dataset.sel(hidden_width=widths), dataset.sel(hidden_width=LIMIT, path=0)
    outputs = ((nets["output"] - limit["output"]) ** 2).mean(("input", "target")) ** 0.5
    curves = abs(nets["loss"] / limit["loss"] - 1).where(nets["step"] > 0).max("step")
    axes_order = ("hidden_width", "path")
    sizes = np.array(widths) * dataset.attrs["depth"]
    return (
        sizes,
        outputs.transpose(*axes_order).to_numpy(),
        curves.transpose(*axes_order).to_numpy(),
    )


def order(dataset: xr.Dataset) -> limits.Order:
    """Return the order in L M of the scatter of outputs around their mean over networks.

    Of the distance to the limit a part, the bias, falls with the depth alone. The next term of
    the scatter is smaller by D/(LM): only sizes where that is a quarter and less.
    """
    least = 4 * dataset.attrs["embedding_dim"] / dataset.attrs["depth"]
    widths = [int(m) for m in dataset["hidden_width"] if m != LIMIT and m >= least]
    nets = dataset["output"].sel(hidden_width=widths)
    apart = ((nets - nets.mean("path")) ** 2).mean(("input", "target")) ** 0.5
    sizes = tuple(width * dataset.attrs["depth"] for width in widths)
    return limits.fit_order(
        apart.transpose("hidden_width", "path").to_numpy(), depths=sizes, seed=0
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw loss curves on the left, distances to the limit on the right."""
    settings = dataset.attrs
    with limits.plots.style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(7.2, 3.1), layout="constrained", width_ratios=[1.25, 1]
        )
        _draw_curves(left, dataset)
        _draw_errors(right, dataset)
        figure.supxlabel(
            f"{settings['n_inputs']} digit images, tanh, $D={settings['embedding_dim']}$, "
            f"$L={settings['depth']}$, {dataset.sizes['path']} networks per $M$ with the same "
            f"frozen embeddings, learning rate {settings['learning_rate']:g}",
            fontsize=7, color="0.35",
        )  # fmt: skip
    return figure


def _draw_curves(ax: Axes, dataset: xr.Dataset) -> None:
    sizes = errors(dataset)[0]
    shades = plt.get_cmap("viridis")(np.linspace(0.88, 0.05, len(sizes)))
    widths = [int(m) for m in dataset["hidden_width"] if m != LIMIT]
    steps = np.arange(dataset.sizes["step"])
    for width, size, shade in zip(widths, sizes, shades, strict=True):
        losses = dataset["loss"].sel(hidden_width=width).transpose("step", "path").to_numpy()
        ax.fill_between(
            steps, losses.min(axis=1), losses.max(axis=1), color=shade, alpha=0.3, linewidth=0
        )
        ax.plot(
            steps, losses.mean(axis=1), color=shade, linewidth=1, label=f"$M={width}$, $LM={size}$"
        )
    limit = dataset["loss"].sel(hidden_width=LIMIT, path=0)
    ax.plot(steps, limit, label="Mean ODE", zorder=5, **DASHED)
    ax.set(yscale="log", xlabel="gradient step $k$", ylabel="loss, mean square error")
    ax.set_title("training, mean and range over networks")
    ax.legend(loc="lower left")


def _draw_errors(ax: Axes, dataset: xr.Dataset) -> None:
    sizes, outputs, curves = errors(dataset)
    fitted = order(dataset)
    interval = f"[{fitted.low:.2f}, {fitted.high:.2f}]"
    label = f"outputs after training\n(scatter {fitted.value:.2f} {interval})"
    for values, colour, marker, text in (
        (outputs, BLUE, "o", label),
        (curves, ORANGE, "s", "loss curve, largest\nrelative distance"),
    ):
        root = (values**2).mean(axis=1) ** 0.5
        half = 1.96 * (values**2).std(axis=1, ddof=1) / values.shape[1] ** 0.5 / (2 * root)
        ax.errorbar(
            sizes, root, yerr=np.minimum(half, 0.9 * root), color=colour, marker=marker,
            linewidth=0.9, capsize=2, label=text,
        )  # fmt: skip
    root = (outputs**2).mean(axis=1) ** 0.5
    ax.plot(sizes, root[-1] * (sizes / sizes[-1]) ** -0.5, label=r"slope $-1/2$", **DASHED)
    ax.axhline(float(dataset["own_error"].max()), color="0.6", linewidth=0.8)
    ax.text(sizes[-1], float(dataset["own_error"].max()) * 1.1, "stated error of the limit",
            fontsize=6.5, color="0.4", ha="right", va="bottom")  # fmt: skip
    ax.set(yscale="log", xlabel="size $L\\,M$", ylabel="distance to the Mean ODE")
    ax.set_title("distance to the limit")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.45)
    plain_axes(ax, sizes)
    ax.legend(loc="upper right", fontsize=6.5)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge whether the networks close in on the limit, and whether anything was learnt."""
    sizes, outputs, curves = errors(dataset)
    root = (outputs**2).mean(axis=1) ** 0.5
    limit = dataset.sel(hidden_width=LIMIT)
    fall = float(limit["loss"].isel(step=-1, path=0) / limit["loss"].isel(step=0, path=0))
    accuracy = float(limit["accuracy"].isel(path=0))
    own = float(dataset["own_error"].max())
    return (
        of_exponent(
            "outputs scatter around their mean by (LM)^(-1/2)", order(dataset), 0.5, widest=0.3,
            symbol="L M",
        ),
        of_falls("outputs close in on the limit's", sizes, outputs),
        of_falls("loss curves close in on the limit's", sizes, curves),
        limits.Verdict(
            "the limit learns",
            "loss below a tenth, more than 0.95 of the images right",
            f"loss times {fall:.3f}, accuracy {accuracy:.3f}",
            fall < 0.1 and accuracy > 0.95,
        ),
        limits.Verdict(
            "the limit is known better than the nearest network",
            "stated error of its outputs below half of that distance",
            f"{own:.1e} against {root[-1]:.1e}",
            bool(own < root[-1] / 2),
        ),
    )  # fmt: skip
