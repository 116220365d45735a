"""Order of convergence and critical exponent against the regularity H of the weights.

Left: the strong order of res-1 networks on fractional weights, width 1, against their own limit:
1/2 - H towards a drift ODE below H = 1/2, 1/2 at the isolated point H = 1/2 (Ito), 2H - 1 above
(Young), and 2H - 1/2 for the corrected network. Right: the scaling exponent at which res-3
networks neither vanish nor explode, max(H, 1/2).
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
from limits.plots import BLUE, DASHED, ORANGE

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. Section 5. "
    "Hu, Liu, Nualart: Rate of convergence and asymptotic error distribution of Euler "
    "approximation schemes for fractional diffusions. Annals of Applied Probability 26 (2016)."
)


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    hursts : tuple of float
        Hurst indices H in (0, 1).
    depths : tuple of int
        Ladder of depths of the orders.
    n_paths : int
        Weight draws of the orders.
    width : int
        Width of the networks whose critical exponent is measured.
    shallow, deep : int
        The two depths between which growth is measured.
    n_nets : int
        Weight draws of the critical exponent.
    n_betas : int
        Exponents tried, spread around max(H, 1/2).
    """

    hursts: tuple[float, ...] = (
        0.05,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.55,
        0.6,
        0.7,
        0.75,
        0.8,
        0.9,
        0.95,
    )
    depths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)
    n_paths: int = 4000
    width: int = 16
    shallow: int = 256
    deep: int = 1024
    n_nets: int = 48
    n_betas: int = 21

    def __post_init__(self) -> None:
        if self.deep % self.shallow or self.deep <= self.shallow:
            raise ValueError(
                f"deep={self.deep} must be a larger multiple of shallow={self.shallow}."
            )


SCALES = {
    "smoke": Config(
        hursts=(0.1, 0.5, 0.7), depths=(32, 64, 128, 256, 512), n_paths=4000, width=8,
        shallow=64, deep=256, n_nets=96, n_betas=9,
    ),
    "laptop": Config(),
    "paper": Config(n_paths=40000, n_nets=192, shallow=512, deep=2048),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    """One task for every H."""
    return {"hurst": config.hursts}


def task(
    config: Config,
    *,
    seed: int,
    hurst: float,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Measure orders and the critical exponent at one H."""
    plain = _order(config, hurst, seed, corrected=False, progress=progress)
    nan = limits.Order(float("nan"), float("nan"), float("nan"), float("nan"), config.depths)
    corrected = (
        _order(config, hurst, seed, corrected=True, progress=progress) if hurst > 0.5 else nan
    )
    growth = _growth(config, hurst, seed)
    border, low, high = _zero_with_interval(betas(config, hurst), growth, seed)
    return xr.Dataset(
        {
            "order": ("bound", [plain.value, plain.low, plain.high]),
            "corrected_order": ("bound", [corrected.value, corrected.low, corrected.high]),
            "critical": ("bound", [border, low, high]),
            "growth": ("beta_index", growth.mean(axis=0)),
            "beta": ("beta_index", betas(config, hurst)),
        },
        coords={"bound": ["value", "low", "high"]},
        attrs={"depths": list(config.depths)},
    )


def betas(config: Config, hurst: float) -> np.ndarray:
    """Return the exponents tried, from 0.25 below the border to 0.25 above."""
    return max(hurst, 0.5) + np.linspace(-0.25, 0.25, config.n_betas)


def _order(
    config: Config,
    hurst: float,
    seed: int,
    *,
    corrected: bool,
    progress: limits.Progress | None,
) -> limits.Order:
    return limits.convergence_study(
        limits.ResNet("identity", corrected=corrected),
        limits.FractionalPath(1, hurst=hurst),
        depths=config.depths,
        n_paths=config.n_paths,
        seed=seed,
        h0=torch.ones(1, 1, dtype=torch.float64),
        p=1,
        progress=progress,
    ).order


def _growth(config: Config, hurst: float, seed: int) -> np.ndarray:
    """Return d log|h_L - h_0| / d log L between the two depths, shape ``(net, beta)``.

    The exponents share one draw: beta is one value per input.
    """
    tried = torch.as_tensor(betas(config, hurst))
    net = limits.ResNet("relu", block="res-3", beta=tried)
    sample = limits.FractionalPath(config.width, hurst=hurst).sample(
        depth=config.deep, n_paths=config.n_nets, seed=seed
    )
    h0 = torch.ones(config.n_betas, config.width, dtype=torch.float64)
    logs = [
        (net(h0, sample.at_depth(depth)).terminal - h0).norm(dim=-1).log()
        for depth in (config.shallow, config.deep)
    ]
    return ((logs[1] - logs[0]) / np.log(config.deep / config.shallow)).numpy()


def _zero_with_interval(tried: np.ndarray, growth: np.ndarray, seed: int) -> tuple[float, ...]:
    """Return the exponent of zero growth, with a 95 % bootstrap interval over nets."""
    rng = np.random.default_rng(seed)
    resampled = [
        _zero(tried, growth[rng.integers(len(growth), size=len(growth))].mean(axis=0))
        for _ in range(500)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return _zero(tried, growth.mean(axis=0)), float(low), float(high)


def _zero(tried: np.ndarray, growth: np.ndarray) -> float:
    """Interpolate the first crossing from growth to decay."""
    crossings = np.flatnonzero((growth[:-1] > 0) & (growth[1:] <= 0))
    if len(crossings) == 0:
        return float("nan")
    i = crossings[0]
    share = growth[i] / (growth[i] - growth[i + 1])
    return float(tried[i] + share * (tried[i + 1] - tried[i]))


def theoretical_order(hurst: float) -> float:
    """Return the strong order of res-1 on fractional weights."""
    if hurst == 0.5:
        return 0.5
    return 2 * hurst - 1 if hurst > 0.5 else 0.5 - hurst


def draw(dataset: xr.Dataset) -> Figure:
    """Draw orders on the left, critical exponents on the right."""
    with limits.plots.style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.1), layout="constrained")
        _draw_orders(left, dataset)
        _draw_borders(right, dataset)
    return figure


def _draw_orders(ax: Axes, dataset: xr.Dataset) -> None:
    rough, young = np.linspace(0, 0.5, 50), np.linspace(0.5, 1, 50)
    dashed = DASHED
    ax.plot(rough, 0.5 - rough, label=r"theory: $\frac{1}{2}-H$, $\frac{1}{2}$, $2H-1$", **dashed)
    ax.plot(young, 2 * young - 1, **dashed)
    ax.plot(
        young, np.minimum(2 * young - 0.5, 1), label=r"theory, corrected: $\min(2H-\frac{1}{2},1)$",
        color="0.45", linestyle=(0, (1.6, 1.2)), linewidth=1.1,
    )  # fmt: skip
    ax.plot([0.5], [0.5], marker="o", markersize=9, markerfacecolor="none", color="black")
    depths = dataset.attrs["depths"]
    span = f"L = {min(depths)}-{max(depths)}"
    _points(ax, dataset["order"], BLUE, "o", f"network, {span}")
    _points(ax, dataset["corrected_order"], ORANGE, "s", f"corrected network, {span}")
    ax.annotate("Itô", (0.5, 0.5), (0.37, 0.56), fontsize=7.5)
    ax.set(xlim=(0, 1), ylim=(-0.05, 1.35), xlabel="Hurst index $H$ of the weights")
    ax.set_ylabel("strong order $p$  (error $\\sim L^{-p}$)")
    ax.set_title("order of convergence, res-1, width 1")
    ax.legend(loc="upper left")


def _draw_borders(ax: Axes, dataset: xr.Dataset) -> None:
    grid = np.linspace(0, 1, 101)
    ax.plot(
        grid, np.maximum(grid, 0.5), color="black", linestyle=(0, (4, 2)), linewidth=1.1,
        label=r"theory: $\beta^*=\max(H,\frac{1}{2})$",
    )  # fmt: skip
    _points(ax, dataset["critical"], BLUE, "o", "measured zero of growth")
    ax.text(0.05, 0.86, "identity", fontsize=8, color="0.35")
    ax.text(0.7, 0.44, "explosion", fontsize=8, color="0.35")
    ax.set(xlim=(0, 1), ylim=(0.35, 1.1), xlabel="Hurst index $H$ of the weights")
    ax.set_ylabel(r"critical exponent $\beta^*$")
    ax.set_title("critical scaling, res-3")
    ax.legend(loc="upper left")


def _points(ax: Axes, values: xr.DataArray, colour: str, marker: str, label: str) -> None:
    middle = values.sel(bound="value").to_numpy()
    low, high = values.sel(bound="low").to_numpy(), values.sel(bound="high").to_numpy()
    error = np.clip([middle - low, high - middle], 0, None)
    ax.errorbar(
        values["hurst"], middle, yerr=error, color=colour, marker=marker, linestyle="none",
        markersize=4, capsize=2, label=label,
    )  # fmt: skip


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge orders and borders against theory."""
    hursts = dataset["hurst"].to_numpy()
    orders = dataset["order"].sel(bound="value").to_numpy()
    theory = np.array([theoretical_order(h) for h in hursts])
    clear = (abs(hursts - 0.5) > 0.09) & (hursts < 0.93) | (hursts == 0.5)
    gap = abs(orders - theory)[clear]
    corrected = dataset["corrected_order"].sel(bound="value").to_numpy()
    young = clear & (hursts > 0.5)
    corrected_gap = abs(corrected - np.minimum(2 * hursts - 0.5, 1))[young]
    borders = dataset["critical"].sel(bound="value").to_numpy()
    border_gap = abs(borders - np.maximum(hursts, 0.5))
    return (
        limits.Verdict(
            "strong order of the network",
            "theory within 0.08 for H away from 1/2 and 1",
            f"at most {gap.max():.3f} away at {len(gap)} values of H",
            bool(gap.max() < 0.08),
        ),
        limits.Verdict(
            "strong order of the corrected network",
            "theory within 0.12",
            f"at most {corrected_gap.max():.3f} away at {len(corrected_gap)} values of H",
            bool(corrected_gap.max() < 0.12),
        ),
        limits.Verdict(
            "critical exponent",
            "max(H, 1/2) within 0.05 on average and 0.12 everywhere",
            f"{border_gap.mean():.3f} on average, at most {border_gap.max():.3f}",
            bool(border_gap.mean() < 0.05 and border_gap.max() < 0.12),
        ),
    )
