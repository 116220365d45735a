"""What the figures share: the data, the limit's answer, and how a cell is drawn."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

import limits
from limits.experiments.chizat2025._published import published_data

CITATION = (
    "Chizat: The hidden width of deep ResNets: tight error bounds and phase diagrams. "
    "arXiv:2509.10167 (2025)."
)


def data(
    width: int, n_inputs: int = 10, *, draw: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return X and Y, independent standard normals, inputs as rows; the same for every task.

    Those of the published figures where D = N = 10. A number asks for another draw of the law,
    for claims that are about any data; other shapes have draw 0.
    """
    if draw is None and (width, n_inputs) == (10, 10):
        return published_data()
    stream = limits.Stream(draw or 0, f"chizat2025/data/D={width}")
    drawn = stream.normals(0, 1, 2 * n_inputs * width).double().view(2, n_inputs, width)
    return drawn[0], drawn[1]


@lru_cache(maxsize=16)
def reference(
    width: int,
    keep: Sequence[int],
    particles: int,
    nodes: int,
    replicates: int,
    draw: int | None = None,
) -> limits.MeanODESolution:
    """Return the limit's training on a draw of the data; computed once in every process."""
    solver = limits.ParticleTransport(
        particles=particles, nodes=nodes, replicates=replicates, tolerance=1e-5
    )
    x, y = data(width, draw=draw)
    return solver.solve(limits.MeanODE(width), x, y, steps=max(keep), seed=1, keep=keep)


def trained(
    width: int,
    depth: int,
    hidden_widths: Sequence[int],
    *,
    n_paths: int,
    seed: int,
    solution: limits.MeanODESolution,
    progress: limits.Progress | None,
    draw: int | None = None,
) -> Iterator[tuple[torch.Tensor, list[limits.ErrorSplit]]]:
    """Yield outputs ``(step, path, input, width)`` of networks of one depth and every width.

    With the bias and fluctuation of every kept step of the limit's solution. A seed of its own
    for every hidden width, since widths of one seed share random numbers.
    """
    x, y = data(width, draw=draw)
    for number, hidden_width in enumerate(hidden_widths):
        net = limits.MeanFieldResNet(width, hidden_width, depth=depth)
        weights = net.sample(n_paths=n_paths, seed=seed + number)
        keep = solution.steps
        outputs = net.descend(x, y, weights, steps=max(keep), keep=keep, in_place=True).outputs
        pairs = zip(outputs, solution.outputs, strict=True)
        yield outputs, [limits.split_error(*pair, seed=0) for pair in pairs]
        if progress is not None:
            progress(number + 1, len(hidden_widths), "hidden widths")


def log_log(ax: Axes) -> None:
    """Make both axes logarithmic, labelled at powers of ten alone."""
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
