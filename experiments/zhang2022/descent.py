"""Gradient descent on the analysed network: which tau admit a rate that depth does not change.

Square loss, separated inputs of norm 1, whole gradients; every network at its own learning rate,
a fixed share of 1 over the largest eigenvalue of its tangent kernel, so that what is compared is
the condition number. It tends to a limit for tau up to L^-1/2, and grows without one at L^-1/4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import limits
from limits.experiments._intervals import student_interval
from limits.experiments.zhang2022 import _descent_figure
from limits.experiments.zhang2022._rates import (
    CASES,
    REACHED,
    SHARE,
    descend,
    excess_growth,
    expected_rates,
    log_conditions,
    rates_of,
    reached,
    share_interval,
)

CITATION = (
    "Zhang, Yu, Yi, Chen, Liu: Stabilize deep ResNet with a sharp scaling factor tau. "
    "Machine Learning (2022), arXiv:1903.07120. Global convergence of gradient descent."
)
_NAMES = {"one": "tau = 1/L", "half": "tau = L^-1/2", "quarter": "tau = L^-1/4"}
RESOLVED = np.log(2) / 2
"""Half of what log kappa gains over a factor 4 in depth if kappa grows like L^1/2."""


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    depths : tuple of int
        Depths L; at least three.
    width : int
        Width m at which all scalings are compared.
    widths : tuple of int
        Further widths, for tau = L^-1/2 only, at `narrow_depth`.
    narrow_depth : int
        The depth of the further widths, one of `depths`.
    n_inputs, features : int
        Inputs, drawn on the unit sphere, and their length; targets are random signs.
    steps : int
        Steps of gradient descent.
    n_paths, n_trained : int
        Draws of A, B and all weights in a task, and how many of them are trained.
    parts : int
        Tasks of every scaling.
    """

    depths: tuple[int, ...] = (4, 16, 64, 256)
    width: int = 128
    widths: tuple[int, ...] = (4, 8, 16, 32, 64)
    narrow_depth: int = 16
    n_inputs: int = 16
    features: int = 64
    steps: int = 200
    n_paths: int = 6
    n_trained: int = 2
    parts: int = 4

    def __post_init__(self) -> None:
        if self.width in self.widths:
            raise ValueError(f"widths={self.widths} must not repeat width={self.width}.")
        if self.narrow_depth not in self.depths:
            raise ValueError(f"narrow_depth={self.narrow_depth} must be one of {self.depths}.")


SCALES = {
    "smoke": Config(
        depths=(4, 12, 36), width=64, widths=(4, 48), narrow_depth=12, steps=100, parts=3
    ),
    "laptop": Config(),
    "paper": Config(depths=(4, 16, 64, 256, 1024), width=512, widths=(4, 8, 16, 32, 64, 128, 256)),
}


def axes(config: Config) -> Mapping[str, Sequence[str | int]]:
    """One task for some draws of every scaling; a width of its own is a scaling of its own.

    All depths of a task share A and B, so that they are compared on the same inputs h_0.
    """
    extra = (f"half-{width}" for width in config.widths)
    return {"case": (*CASES, *extra), "part": range(config.parts)}


def cost(config: Config, *, case: str, part: int) -> float:
    """Relative time: operations."""
    return 1.0 + (100.0 if case in CASES else 0.0)


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
    """Measure kernels of networks of all depths, and descend from some of them."""
    inputs, _ = samples(config)
    apart = torch.cdist(inputs, inputs) + 2 * torch.eye(len(inputs))
    found = xr.concat([_at_depth(config, seed, case, depth) for depth in config.depths], "depth")
    return found.assign_coords(
        depth=list(config.depths),
        path=np.arange(config.n_paths),
        step=np.arange(config.steps + 1),
    ).assign_attrs(
        n_inputs=config.n_inputs, separation=float(apart.min()), width=config.width,
        narrow_depth=config.narrow_depth,
    )  # fmt: skip


def _at_depth(config: Config, seed: int, case: str, depth: int) -> xr.Dataset:
    main = case in CASES
    condition = np.full(config.n_paths, np.nan, dtype=np.float32)
    logs = np.full((config.n_paths, config.steps + 1), np.nan, dtype=np.float32)
    if main or depth == config.narrow_depth:
        inputs, targets = samples(config)
        width = config.width if main else int(case.removeprefix("half-"))
        nets = limits.AnalysedEnsemble(
            limits.BrownianPath(width), depth=depth, n_paths=config.n_paths, seed=seed,
            features=config.features, outputs=1, **CASES[case if main else "half"].network(depth),
        )  # fmt: skip
        spectrum = torch.linalg.eigvalsh(nets.tangent_kernel(inputs).double())
        # Narrow networks may have no gradient at all at some input: that is no condition number.
        smallest = spectrum[:, 0].clamp_min(1e-12 * spectrum[:, -1])
        condition[:] = (spectrum[:, -1] / smallest).log().numpy()
        chosen = torch.arange(config.n_trained if main else config.n_paths)
        nets.keep(chosen)
        losses = descend(
            nets, inputs, targets, rates=SHARE / spectrum[chosen, -1], steps=config.steps
        )
        logs[: len(chosen)] = np.log(np.where(np.isfinite(losses), losses, np.nan))
    return xr.Dataset({"log_condition": ("path", condition), "log_loss": (("path", "step"), logs)})


draw = _descent_figure.draw


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge by condition numbers and by descent at every network's own rate."""
    return (
        *(_condition_verdict(dataset, case) for case in ("one", "half", "quarter")),
        *(_descent_verdict(dataset, case) for case in ("one", "half")),
        _slower_verdict(dataset),
        _width_verdict(dataset),
    )


def _condition_verdict(dataset: xr.Dataset, case: str) -> limits.Verdict:
    depths, (excess, expected) = dataset["depth"].to_numpy(), excess_growth(dataset, case)
    middle, low, high = student_interval(excess)
    grows, measured = case == "quarter", np.exp((excess + expected).mean())
    return limits.Verdict(
        f"{_NAMES[case]}: condition number at L = {depths[-1]}, against a - c / sqrt(L) for "
        f"its log from L = {depths[0]} and {depths[-2]}",
        "99 % interval of the excess above 0: no such limit" if grows else
        f"99 % interval of the excess not above 0, and less than {RESOLVED:.2f} to either side",
        f"{measured:.3g} against {np.exp(expected.mean()):.3g}; excess of the log {middle:.2f} "
        f"[{low:.2f}, {high:.2f}], {len(excess)} draws",
        bool(low > 0) if grows else bool(low <= 0 and high - middle < RESOLVED),
    )  # fmt: skip


def _descent_verdict(dataset: xr.Dataset, case: str) -> limits.Verdict:
    share = rates_of(dataset, case) / expected_rates(dataset, case)
    return limits.Verdict(
        f"{_NAMES[case]}: every draw at every depth goes to a global minimum",
        f"over {dataset.sizes['step'] - 1} steps at least half of the rate of the smallest "
        "eigenvalue before training: the bound of the proofs, in which it halves at most",
        f"{share.min():.2f}-{share.max():.2f} of it",
        bool(share.min() >= 0.5),
    )


def _slower_verdict(dataset: xr.Dataset) -> limits.Verdict:
    half, without = (
        logs[-1] - logs[0]
        for logs in (log_conditions(dataset, case) for case in ("half", "feed-forward"))
    )
    middle, low, high = student_interval(without - half)
    return limits.Verdict(
        "without skip connections the condition number grows more with depth than at L^-1/2, L = "
        f"{int(dataset['depth'][0])} to {int(dataset['depth'][-1])}",
        "99 % interval of the difference of both growths of its log above 0",
        f"factor {np.exp(without.mean()):.3g} against {np.exp(half.mean()):.3g}: {middle:.2f} "
        f"[{low:.2f}, {high:.2f}], {len(half)} draws",
        bool(low > 0),
    )


def _width_verdict(dataset: xr.Dataset) -> limits.Verdict:
    found = reached(dataset)
    narrow, wide = min(found), max(found)
    above, below = share_interval(*found[narrow])[1], share_interval(*found[wide])[0]
    return limits.Verdict(
        f"tau = L^-1/2: descent needs width, m = {narrow} against m = {wide} at L = "
        f"{dataset.attrs['narrow_depth']}",
        f"draws below {REACHED:g} of their first loss: 99 % intervals below and above one half",
        "; ".join(f"m = {width}: {hits} of {total}" for width, (hits, total) in found.items()),
        bool(above < 0.5 < below),
        changed="A hundredth of the first loss before a pilot run, a tenth after it.",
    )
