"""The analysed network on digit images, every scaling and depth at its own best learning rate.

First and last layer frozen, cross-entropy, plain stochastic gradient descent. Rates are shares of
the inverse of the tangent kernel's largest eigenvalue, chosen on a validation part; the losses
shown are those of the test part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import limits
from limits.experiments._intervals import student_interval
from limits.experiments.zhang2022 import _training_figure
from limits.experiments.zhang2022._best_rates import best_of, is_inside, searched
from limits.experiments.zhang2022._training_figure import CASES, at_best, best_rates

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120. Training curves of the analysed model."
)

WIDEST = 0.5
"""Half-width of an interval of an exponent: 1/L and L^-1/2 differ by twice that."""

NAMES = {
    "half": "tau = L^-1/2",
    "one": "tau = 1/L",
    "quarter": "tau = L^-1/4",
    "feed-forward": "no skip connections",
}
KINDS = ("validation", "test")


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths : tuple of int
        Depths L.
    width, epochs, batch : int
        Width m, passes over the training part, inputs per step.
    n_paths, first_draw : int
        Draws of all weights and orders, and the number of the first: the same in all scalings.
    shares : tuple of float
        Learning rates times the mean largest eigenvalue of the kernel of one input, of ratio 2.
    kernel_inputs : int
        Inputs that the kernel is measured on.
    """

    depths: tuple[int, ...] = (4, 16, 64)
    width: int = 128
    epochs: int = 8
    batch: int = 64
    n_paths: int = 4
    first_draw: int = 0
    shares: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    kernel_inputs: int = 40


SCALES = {
    "smoke": Config(
        depths=(4, 8), width=24, n_paths=2, epochs=2, shares=(4, 8, 16), kernel_inputs=10
    ),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256, 1024), width=512, n_paths=6),
}
PARTS = 4
"""The last pass is taken in so many parts; validation losses after each are averaged."""


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for every scaling and depth."""
    return {"case": tuple(CASES), "depth": config.depths}


def cost(config: Config, *, case: str, depth: int) -> float:
    """Relative time: layers."""
    return depth


def task(
    config: Config,
    *,
    seed: int,
    case: str,
    depth: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Train all draws of one network at rates around its best, and test them."""
    read = limits.data.digits()
    data = limits.data.unit_rows(limits.data.validation_split(read))
    held = limits.data.unit_rows(read).test_inputs, read.test_classes

    def networks() -> limits.AnalysedEnsemble:
        return limits.AnalysedEnsemble(
            limits.BrownianPath(config.width), depth=depth, n_paths=config.n_paths,
            seed=config.first_draw, features=data.features, outputs=data.n_classes,
            **CASES[case].network(depth),
        )  # fmt: skip

    kernel = networks().tangent_kernel(data.train_inputs[: config.kernel_inputs]).double()
    largest = float(torch.linalg.eigvalsh(kernel)[:, -1].mean()) / config.kernel_inputs
    tested: dict[float, np.ndarray] = {}

    def losses(share: float) -> np.ndarray:
        found = _trained(config, networks(), data, held, share / largest)
        tested[share] = found[1]
        if progress is not None:
            progress(len(tested), len(config.shares) + 2, f"{case}, depth {depth}")
        return found[0]

    found = searched(losses, config.shares)
    shares = np.array([*config.shares, *(np.array(config.shares[:-1]) * 2**0.5)])
    values = np.full((len(KINDS), len(shares), config.n_paths), np.nan)
    for share, validation in found.items():
        values[:, int(np.abs(np.log(shares / share)).argmin())] = validation, tested[share]
    order = shares.argsort()
    best = best_of(found)
    return xr.Dataset(
        {
            "loss": (("kind", "share", "path"), values[:, order]),
            "best_share": np.nan if best is None else best,
            "inside": is_inside(found),
            "eigenvalue": largest,
        },
        coords={"kind": list(KINDS), "share": shares[order], "path": np.arange(config.n_paths)},
        attrs={"width": config.width, "epochs": config.epochs, "batch": config.batch},
    )


def _trained(
    config: Config,
    nets: limits.AnalysedEnsemble,
    data: limits.data.LabelledData,
    held: tuple[torch.Tensor, torch.Tensor],
    rate: float,
) -> np.ndarray:
    """Return validation and test losses ``(2, path)``; infinite where a draw diverged."""
    n_paths = len(nets)

    def descended(part: limits.data.LabelledData, epochs: int, seed: int) -> bool:
        limits.train_analysed(
            nets, part, rate=rate, batch=config.batch, epochs=epochs, seed=config.first_draw + seed
        )
        return len(nets) == n_paths

    if config.epochs > 1 and not descended(data, config.epochs - 1, 0):
        return np.full((2, n_paths), np.inf)
    rows = torch.randperm(len(data.train_inputs), generator=torch.Generator().manual_seed(0))
    validation = []
    for number, chosen in enumerate(rows.tensor_split(PARTS)):
        part = limits.data.LabelledData(
            data.train_inputs[chosen], data.train_classes[chosen], data.test_inputs,
            data.test_classes, data.n_classes,
        )  # fmt: skip
        if not descended(part, 1, 1 + number):
            return np.full((2, n_paths), np.inf)
        validation.append(_losses(nets, data.test_inputs, data.test_classes))
    found = np.stack([np.mean(validation, axis=0), _losses(nets, *held)])
    return np.where(np.isfinite(found), found, np.inf)


def _losses(
    nets: limits.AnalysedEnsemble, inputs: torch.Tensor, classes: torch.Tensor
) -> np.ndarray:
    logs = torch.log_softmax(nets.outputs(inputs).double(), dim=-1)
    return -logs[:, torch.arange(len(classes)), classes.long()].mean(dim=1).numpy()


draw = _training_figure.draw


def slopes(dataset: xr.Dataset, case: str) -> np.ndarray:
    """Return the exponent of the depth in every draw's test loss at the best rates."""
    depths = dataset["depth"].to_numpy()
    logs = np.log(np.stack([at_best(dataset, case, int(depth)) for depth in depths]))
    centred = np.log(depths) - np.log(depths).mean()
    return centred @ logs / (centred @ centred)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge what depth and scaling do to the loss at the best rate."""
    return (
        *(_depth_verdict(dataset, case) for case in ("half", "one")),
        *(_worse_verdict(dataset, case) for case in ("quarter", "feed-forward")),
        _rate_verdict(dataset),
    )


def _inside(dataset: xr.Dataset, *cases: str) -> bool:
    return bool(dataset["inside"].sel(case=list(cases)).all())


def _depth_verdict(dataset: xr.Dataset, case: str) -> limits.Verdict:
    middle, low, high = student_interval(slopes(dataset, case), 0.95)
    # Narrow enough that a loss as far from its start as L^(1/4) would be seen.
    sure = _inside(dataset, case) and (high - low) / 2 < WIDEST / 2
    depths = dataset["depth"].to_numpy()
    return limits.Verdict(
        f"{NAMES[case]}: at its own best rates, training does not slow down with depth",
        f"95 % interval of the exponent of L in the test loss not above 0, half of it below "
        f"{WIDEST / 2:g}, best rates inside the grid",
        f"{middle:.3f} [{low:.3f}, {high:.3f}], L = {depths[0]}-{depths[-1]}, "
        f"{dataset.sizes['path']} draws",
        sure and low <= 0,
        decided=sure,
    )


def _worse_verdict(dataset: xr.Dataset, case: str) -> limits.Verdict:
    deepest = int(dataset["depth"][-1])
    gap = np.log(at_best(dataset, case, deepest) / at_best(dataset, "half", deepest))
    sure = _inside(dataset, "half") and bool(np.isfinite(gap).all())
    middle, low, high = student_interval(gap, 0.95) if sure else (np.inf, -np.inf, np.inf)
    lost = bool(np.isnan(dataset["best_share"].sel(case=case, depth=deepest)))
    inside = sure and bool(dataset["inside"].sel(case=case, depth=deepest))
    name = NAMES[case]
    return limits.Verdict(
        f"{name} at L = {deepest}: learns less than L^-1/2, each at its own best rate",
        "95 % interval of the paired difference of log test losses above 0, best rates inside the "
        "grid; or no rate at which all draws train",
        "no rate trains all draws" if lost else
        f"{middle:.2f} [{low:.2f}, {high:.2f}], {dataset.sizes['path']} draws",
        lost or (inside and low > 0),
        decided=lost or (inside and (low > 0 or high < 0)),
    )  # fmt: skip


def _rate_verdict(dataset: xr.Dataset) -> limits.Verdict:
    depths = dataset["depth"].to_numpy()
    span = math.log2(depths[-1] / depths[0])
    found, kernel = {}, {}
    for case in ("half", "one"):
        rates, values = best_rates(dataset, case), dataset["eigenvalue"].sel(case=case).to_numpy()
        found[case] = math.log2(rates[-1] / rates[0]) / span
        kernel[case] = -math.log2(values[-1] / values[0]) / span
    # Rates are known to a factor sqrt(2) at either end of the depths.
    reach = 1 / span
    gap = found["one"] - found["half"]
    low, high = gap - 2 * reach, gap + 2 * reach
    expected, sure = kernel["one"] - kernel["half"], _inside(dataset, "half", "one")
    return limits.Verdict(
        "the best rate grows by a factor L more at 1/L than at L^-1/2, as the kernel falls",
        f"the kernels' {expected:.2f} within the grid's resolution, of both scalings at both ends, "
        "and 0 outside",
        f"exponents {found['one']:.2f} and {found['half']:.2f} (kernels: {kernel['one']:.2f}, "
        f"{kernel['half']:.2f}): {gap:.2f} [{low:.2f}, {high:.2f}]",
        sure and low <= expected <= high and low > 0,
        decided=sure,
    )
