"""Phase diagram of mean-field training over the residual scale r and the size L M.

One gradient step decides: how far features and weights move, and how much outputs fluctuate.
Borders at r = sqrt(D)/(LM) (complete feature learning) and r = 1/sqrt(LM) (random outputs).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import limits
from limits.plots import BLUE, DASHED, GREEN, ORANGE

CITATION = (
    "Chizat: The hidden width of deep ResNets: tight error bounds and phase diagrams. "
    "arXiv:2509.10167 (2025). Phase diagram over the residual scale."
)

PHASES = ("vanishing", "complete", "lazy", "random", "explosive")
NUMBERS = ("feature_movement", "weight_movement", "output_fluctuation")
# From light to dark in the order of r.
_SHADES = ("#f1eef6", GREEN, "#bdc9e1", ORANGE, "#4d004b")


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    sizes : tuple of int
        Values of L M.
    deepest : int
        Largest depth; the depth is L = min(LM / 4, deepest).
    n_scales : int
        Residual scales r between 1e-5 and 10.
    embedding_dim, n_inputs : int
        D and N; inputs and targets are standard normal.
    n_paths : int
        Initialisations per point.
    """

    sizes: tuple[int, ...] = tuple(2**power for power in range(4, 17))
    deepest: int = 64
    n_scales: int = 37
    embedding_dim: int = 10
    n_inputs: int = 10
    n_paths: int = 8

    def __post_init__(self) -> None:
        bad = [size for size in self.sizes if size < 16 or size & (size - 1)]
        if bad or self.deepest & (self.deepest - 1):
            raise ValueError(f"sizes and deepest must be powers of two from 16 on, found {bad}.")


SCALES = {
    "smoke": Config(sizes=(16, 256, 4096), n_scales=25, n_paths=4),
    "laptop": Config(),
    "paper": Config(
        sizes=tuple(2**power for power in range(4, 19)), deepest=1024, n_scales=61, n_paths=20
    ),
}


def scales(config: Config) -> np.ndarray:
    """Return the residual scales r."""
    return np.logspace(-5, 1, config.n_scales)


def axes(config: Config) -> Mapping[str, Sequence[int]]:
    """One task for every L M."""
    return {"size": config.sizes}


def cost(config: Config, *, size: int) -> float:
    """Return how long a task takes, in units of the smallest."""
    return size


def task(
    config: Config,
    *,
    seed: int,
    size: int,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Measure the phase at every residual scale."""
    depth, width = min(size // 4, config.deepest), config.embedding_dim
    # The same data for every size.
    x, y = torch.randn(
        2, config.n_inputs, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    tried = scales(config)
    found = []
    for done, r in enumerate(tried):
        net = limits.MeanFieldResNet(
            width, size // depth, depth=depth, alpha=float(r * size / width**0.5),
            convention="initialisation",
        )  # fmt: skip
        found.append(limits.training_phase(net, x, y, n_paths=config.n_paths, seed=seed))
        if progress is not None:
            progress(done + 1, len(tried), "phases")
    numbers = {
        name: ("scale", np.array([getattr(each, name).value for each in found], dtype=np.float32))
        for name in NUMBERS
    }
    return xr.Dataset(
        {**numbers, "phase": ("scale", [PHASES.index(each.phase) for each in found])},
        coords={"scale": tried},
        attrs={"embedding_dim": width, "n_inputs": config.n_inputs, "n_paths": config.n_paths},
    )


def draw(dataset: xr.Dataset) -> Figure:
    """Draw the diagram, and what is measured against r in units of its two borders."""
    with limits.plots.style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(7.2, 2.9), layout="constrained", width_ratios=[1.25, 1, 1]
        )
        _draw_map(left, dataset)
        _draw_movement(middle, dataset)
        _draw_fluctuation(right, dataset)
    return figure


def _draw_map(ax: Axes, dataset: xr.Dataset) -> None:
    sizes, tried = dataset["size"].to_numpy(), dataset["scale"].to_numpy()
    ax.pcolormesh(
        sizes, tried, dataset["phase"].transpose("scale", "size"),
        cmap=ListedColormap(_SHADES), vmin=-0.5, vmax=4.5, shading="nearest", rasterized=True,
    )  # fmt: skip
    line = np.geomspace(sizes[0], sizes[-1], 50)
    root = dataset.attrs["embedding_dim"] ** 0.5
    ax.plot(line, root / line, **DASHED)
    ax.plot(line, line**-0.5, color="black", linestyle=(0, (1.4, 1.2)), linewidth=1.3)
    first, last = float(sizes[0]), float(sizes[-1])
    away, inside = last / 4, (last * first**2) ** (1 / 3)
    places = {
        "explosive": (inside * 4, 3.0, "white"),
        "random": (away, away**-0.5 * 2.2, "black"),
        "lazy": (away, root**0.5 * away**-0.75, "black"),
        "complete": (3 * inside, 0.55 * root / (3 * inside), "white"),
        "vanishing": (inside, 6e-4, "black"),
    }
    for phase, (x, y, colour) in places.items():
        # Along its narrow strip.
        slope = -37 if phase == "complete" else 0
        ax.text(x, y, phase, color=colour, fontsize=8, ha="center", va="center", rotation=slope)
    ax.set(xscale="log", yscale="log", xlabel="size $L\\,M$", ylabel="residual scale $r$")
    ax.set_title("measured phase")
    ax.text(0.03, 0.03, r"dashed: $\sqrt{D}/(LM)$, dotted: $1/\sqrt{LM}$", fontsize=6.5,
            transform=ax.transAxes)  # fmt: skip
    ax.grid(visible=False)


def _draw_movement(ax: Axes, dataset: xr.Dataset) -> None:
    for name, colour, marker, label in (
        ("feature_movement", BLUE, "o", r"features $u\cdot h$"),
        ("weight_movement", ORANGE, "s", r"backward $v\cdot b$"),
    ):
        alpha, values = _steady(dataset, name)
        ax.plot(
            alpha, values, marker, color=colour, markersize=2.2, alpha=0.6, linestyle="none",
            label=label,
        )  # fmt: skip
    best = float(_peak(dataset))
    line = np.logspace(-3, 2, 101)
    ax.plot(line, best * np.minimum(line, 1 / line), label=r"$\min(a,1/a)$ and $1/a$", **DASHED)
    ax.plot(line, best / line, **DASHED)
    ax.set(xscale="log", yscale="log", xlabel=r"$a=r\,LM/\sqrt{D}$")
    ax.set(xlim=(2e-3, 60), ylim=(best / 400, best * 500))
    ax.set_title("relative change in one step")
    ax.legend(loc="upper right", fontsize=6.5, handletextpad=0.3)


def _draw_fluctuation(ax: Axes, dataset: xr.Dataset) -> None:
    values = dataset["output_fluctuation"].transpose("size", "scale").to_numpy()
    scaled = dataset["scale"].to_numpy() * dataset["size"].to_numpy()[:, None] ** 0.5
    ax.plot(
        scaled.ravel(), values.ravel(), "o", color=BLUE, markersize=2.2, alpha=0.6,
        linestyle="none", label=f"all {len(scaled)} sizes",
    )  # fmt: skip
    line = np.logspace(np.log10(scaled.min()), np.log10(scaled.max()), 50)
    ax.plot(line, _constant(dataset) * line, label="slope 1", **DASHED)
    ax.axhspan(0.3, 3, color=ORANGE, alpha=0.15, linewidth=0)
    ax.text(scaled.min() * 1.5, 0.9, "random", fontsize=7, va="center")
    ax.set(xscale="log", yscale="log", xlabel=r"$r\,\sqrt{LM}$")
    ax.set_title("std of $h_L$ / RMS of $h_0$")
    ax.legend(loc="lower right")


def _steady(dataset: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return alpha and a movement where outputs do not fluctuate, all sizes in one."""
    part = dataset.transpose("size", "scale")
    alpha = part["scale"].to_numpy() * part["size"].to_numpy()[:, None]
    alpha = alpha / dataset.attrs["embedding_dim"] ** 0.5
    calm = part["output_fluctuation"].to_numpy() < 0.3
    return alpha[calm], part[name].to_numpy()[calm]


def _peak(dataset: xr.Dataset) -> float:
    """Return the factor before min(a, 1/a), from points away from its corner."""
    alpha, values = _steady(dataset, "feature_movement")
    away = np.abs(np.log10(alpha)) > 0.2
    return float(np.exp(np.log(values / np.minimum(alpha, 1 / alpha))[away].mean()))


def _constant(dataset: xr.Dataset) -> float:
    part = dataset["output_fluctuation"] / (dataset["scale"] * dataset["size"] ** 0.5)
    return float(part.where(dataset["output_fluctuation"] < 0.3).mean())


def borders(dataset: xr.Dataset) -> dict[str, float]:
    """Return the exponent of L M in the r of every border, NaN where few sizes cross it."""
    found = dataset["phase"].transpose("size", "scale").to_numpy()
    sizes = np.log(dataset["size"].to_numpy())
    middles = np.convolve(np.log(dataset["scale"].to_numpy()), [0.5, 0.5], "valid")
    exponents = {}
    for index, phase in enumerate(PHASES[1:], start=1):
        # A small network goes from complete to random at once.
        crossed = (found == index).any(axis=1) & (found[:, 0] < index)
        places = middles[(found[crossed] >= index).argmax(axis=1) - 1]
        line = np.polyfit(sizes[crossed], places, 1) if crossed.sum() > 1 else [np.nan]
        exponents[phase] = float(line[0])
    return exponents


def _expected(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the phase by measured borders, and where a point is a factor 1.5 from each."""
    part = dataset.transpose("size", "scale")
    r, size = part["scale"].to_numpy(), part["size"].to_numpy()[:, None]
    alpha = np.broadcast_to(r * size / dataset.attrs["embedding_dim"] ** 0.5, (len(size), len(r)))
    random = r * size**0.5
    expected = np.select(
        [random > 5, random > 0.5, alpha > 3.3, alpha > 0.3], [4, 3, 2, 1], default=0
    )
    gaps = [np.abs(np.log(random / 5)), np.abs(np.log(random / 0.5))]
    gaps += [np.abs(np.log(alpha / edge)) for edge in (0.3, 3.3)]
    return expected, np.min(gaps, axis=0) > np.log(1.5)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge borders and slopes against theory."""
    found = dataset["phase"].transpose("size", "scale").to_numpy()
    expected, clear = _expected(dataset)
    agreement = float((found == expected)[clear].mean())
    present = {PHASES[int(each)] for each in np.unique(found)}
    slopes = {}
    for name, chosen in (("feature_movement", -1), ("feature_movement", 1), ("weight_movement", 0)):
        alpha, values = _steady(dataset, name)
        kept = {-1: alpha < 0.8, 1: alpha > 1.2, 0: alpha > 0}[chosen] & (values > 0)
        slopes[name, chosen] = np.polyfit(np.log(alpha[kept]), np.log(values[kept]), 1)[0]
    rise, fall, written = slopes.values()
    calm = dataset["output_fluctuation"] / (dataset["scale"] * dataset["size"] ** 0.5)
    calm = calm.where(dataset["output_fluctuation"] < 0.3)
    spread = float(calm.std() / calm.mean())
    exponents = borders(dataset)
    theory = {"complete": -1.0, "lazy": -1.0, "random": -0.5, "explosive": -0.5}
    # Lazy training needs large sizes, which quick runs have too few of.
    judged = {name: value for name, value in exponents.items() if not np.isnan(value)}
    return (
        limits.Verdict(
            "borders of phases go like 1/(LM) and, to random and explosive, (LM)^(-1/2)",
            "exponents within 0.1 where two sizes and more cross, three borders at least",
            ", ".join(f"{name} from r ~ (LM)^{value:.3f}" for name, value in judged.items()),
            len(judged) > 2 and all(abs(judged[name] - theory[name]) < 0.1 for name in judged),
        ),
        limits.Verdict(
            "one constant a border serves all sizes (constants measured, not predicted)",
            "a = 0.3 and 3.3, r sqrt(LM) = 0.5 and 5: 90 % of the points a factor 1.5 away, "
            "all phases present",
            f"{100 * agreement:.0f} % of {int(clear.sum())} points, {len(present)} phases",
            agreement >= 0.9 and len(present) == len(PHASES),
        ),
        limits.Verdict(
            "features move most at r = sqrt(D)/(LM)",
            "slopes +1 and -1 in r on its two sides, within 0.1",
            f"{rise:+.3f} and {fall:+.3f}",
            bool(abs(rise - 1) < 0.1 and abs(fall + 1) < 0.1),
        ),
        limits.Verdict(
            "the weights v forget their initial values below and hardly move above",
            "slope -1 in r within 0.1",
            f"{written:+.3f}",
            bool(abs(written + 1) < 0.1),
        ),
        limits.Verdict(
            "outputs fluctuate by r sqrt(LM)",
            "ratio constant within 20 % while below 0.3",
            f"{float(calm.mean()):.3f} with a spread of {100 * spread:.0f} %",
            spread < 0.2,
        ),
    )
