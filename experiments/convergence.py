"""Error of deep ResNets against their limits, on digit images: SDE, ODE, Young, weak error.

Networks and limits read the same weight path. I.i.d. Gaussian weights with residual scale
L^(-1/2) approach an SDE at order 1/2, smooth weights with scale 1/L an ODE at order 1, fractional
weights with scale L^-H a Young equation at order 2H - 1 in width 1. In law the SDE is approached
at order 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import nnls

import limits

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929. Theorems 4 and 9. "
    "Hu, Liu, Nualart: Rate of convergence and asymptotic error distribution of Euler "
    "approximation schemes for fractional diffusions. Annals of Applied Probability 26 (2016)."
)

PANELS = {
    "sde": "i.i.d. weights, scale $L^{-1/2}$: neural SDE",
    "ode": "smooth weights, scale $L^{-1}$: neural ODE",
    "young": "fractional weights, scale $L^{-H}$: Young",
    "weak": "i.i.d. weights, in law",
}
WEAK_REFERENCE = 8


@dataclass(frozen=True)
class Line:
    """One line of the figure."""

    panel: str
    name: str
    activation: str
    width_field: str
    corrected: bool = False


LINES = {
    "sde-tanh": Line("sde", "tanh", "tanh", "width"),
    "sde-linear": Line("sde", "linear", "identity", "width"),
    "ode-tanh": Line("ode", "tanh", "tanh", "width"),
    "ode-linear": Line("ode", "linear", "identity", "width"),
    "young-one": Line("young", "linear", "identity", "one"),
    "young-wide": Line("young", "tanh", "tanh", "young_width"),
    "young-corrected": Line("young", "tanh corrected", "tanh", "young_width", corrected=True),
    "weak-linear": Line("weak", "linear", "identity", "weak_width"),
}


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    width : int
        Size d of the hidden state of the SDE and ODE lines.
    depths : tuple of int
        Ladder of depths L.
    n_paths, ode_paths : int
        Independent weight draws of the SDE and ODE lines; errors of the latter hardly vary.
    n_inputs : int
        Digit images, the first of each class.
    length_scale : float
        Correlation length of the smooth weights in layer time.
    hurst : float
        Hurst index of the fractional weights, above 1/2.
    young_width, young_paths : int
        Width and draws of the wider Young lines; width 1 has eight times as many draws.
    weak_width, weak_paths : int
        Width and draws of the weak error.
    weak_depths : tuple of int
        Ladder of depths of the weak error.
    """

    width: int = 40
    depths: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512)
    n_paths: int = 256
    ode_paths: int = 64
    n_inputs: int = 10
    length_scale: float = 0.1
    hurst: float = 0.7
    young_width: int = 8
    young_paths: int = 256
    weak_width: int = 8
    weak_paths: int = 20000
    weak_depths: tuple[int, ...] = (4, 8, 16, 32, 64)

    def __post_init__(self) -> None:
        if not 1 <= self.n_inputs <= 10:
            raise ValueError(f"n_inputs must lie in 1 ... 10, found {self.n_inputs}.")
        if not 0.5 < self.hurst < 1:
            raise ValueError(f"hurst must lie in (1/2, 1) for a Young limit, found {self.hurst}.")


SCALES = {
    "smoke": Config(
        width=8, depths=(8, 16, 32, 64), n_paths=512, ode_paths=128, n_inputs=2, young_width=4,
        young_paths=512, weak_width=4, weak_paths=20000, weak_depths=(4, 8, 16),
    ),
    "laptop": Config(),
    "paper": Config(
        depths=(8, 16, 32, 64, 128, 256, 512, 1024), n_paths=2048, ode_paths=512, young_paths=2048,
        weak_paths=200000,
    ),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every line."""
    return {"line": tuple(LINES)}


def task(
    config: Config,
    *,
    seed: int,
    line: str,
    progress: limits.Progress | None = None,
) -> xr.Dataset:
    """Measure one line of the figure."""
    spec = LINES[line]
    width = 1 if spec.width_field == "one" else getattr(config, spec.width_field)
    weak = spec.panel == "weak"
    depths = config.weak_depths if weak else config.depths
    h0 = limits.embed(digits(config.n_inputs), width=width, seed=seed)
    study = limits.convergence_study(
        limits.ResNet(spec.activation, corrected=spec.corrected),
        _path(config, spec, width),
        depths=depths,
        n_paths=_n_paths(config, spec),
        seed=seed,
        h0=h0,
        error="weak" if weak else "strong",
        functional=_squared_norm if weak else None,
        reference=WEAK_REFERENCE * max(depths) if weak else None,
        p=1 if line == "young-one" else 2,
        progress=progress,
    )
    dataset = study.to_dataset().drop_vars("path_error")
    dataset["n_paths"], dataset["reference"] = study.path_errors.shape[1], study.reference
    exact = _exact(config, spec, study, h0)
    dataset["width"] = width
    dataset.attrs = {"n_inputs": config.n_inputs, "hurst": config.hurst}
    dataset["closed_form"] = ("depth", np.full(len(depths), np.nan) if exact is None else exact)
    return dataset


def digits(n_inputs: int) -> torch.Tensor:
    """Return the first image of each of the first classes, 64 pixels in [0, 1]."""
    data = limits.data.digits()
    rows = [int((data.train_classes == each).nonzero()[0]) for each in range(n_inputs)]
    return data.train_inputs[rows].double()


def _path(config: Config, spec: Line, width: int) -> limits.WeightPath:
    if spec.panel == "ode":
        return limits.SmoothPath(width, length_scale=config.length_scale)
    if spec.panel == "young":
        return limits.FractionalPath(width, hurst=config.hurst)
    return limits.BrownianPath(width)


def _n_paths(config: Config, spec: Line) -> int:
    young = config.young_paths * (8 if spec.width_field == "one" else 1)
    others = {"weak": config.weak_paths, "young": young, "ode": config.ode_paths}
    return others.get(spec.panel, config.n_paths)


def _squared_norm(h: torch.Tensor) -> torch.Tensor:
    return h.square().sum(dim=-1)


def _exact(
    config: Config, spec: Line, study: limits.ConvergenceStudy, h0: torch.Tensor
) -> np.ndarray | None:
    """Return the exact error, or its leading term for the scalar Young line."""
    depths = np.asarray(study.depths)
    if spec.panel == "weak":
        finest = limits.closed_forms.linear_second_moment(WEAK_REFERENCE * max(study.depths))
        gap = finest - limits.closed_forms.linear_second_moment(depths)
        return gap * float(h0.square().sum(dim=-1).mean())
    if spec.width_field == "one":
        scale = float(h0.abs().mean())
        return limits.closed_forms.young_linear_error(depths, config.hurst) * scale
    return study.closed_form


def draw(dataset: xr.Dataset) -> Figure:
    """Draw a panel for each kind of weights, and one for the weak error."""
    with limits.plots.style():
        figure, panels = plt.subplots(2, 2, figsize=(7.2, 6.2), layout="constrained")
        for ax, (panel, title) in zip(panels.flat, PANELS.items(), strict=True):
            for line, spec in LINES.items():
                if spec.panel == panel:
                    part = _line(dataset, line)
                    counts = f"width {int(part['width'])}, {int(part['n_paths'])} draws"
                    limits.plots.convergence(part, ax=ax, name=f"{spec.name}, {counts}")
            ax.set_title(title.replace("$L^{-H}$", f"$L^{{-H}}$, $H={dataset.attrs['hurst']:g}$"))
        _draw_two_terms(panels[1, 0], dataset)
        panels[1, 0].set_ylabel(r"strong error  $(\mathbb{E}|h_L-H_1|^p)^{1/p}$")
        panels[1, 1].set_ylabel(r"weak error  $|\mathbb{E}|h_L|^2-\mathbb{E}|H_1|^2|$")
        figure.supxlabel(
            f"{dataset.attrs['n_inputs']} digit images; bands of 95 %, narrower than most markers",
            fontsize=7.5,
            color="0.35",
        )
    return figure


def _line(dataset: xr.Dataset, line: str) -> xr.Dataset:
    part = dataset.sel(line=line)
    part = part.sel(depth=part["error"].notnull())
    if line == "young-one":
        part = part.assign_attrs(closed_form_name=r"leading term, $\frac{1}{2}e^{1/2}L^{1-2H}$")
    if line == "young-wide":
        part["expected_order"] = np.nan
    return part


def two_terms(line: xr.Dataset, hurst: float) -> tuple[float, float, float]:
    """Fit error^2 = A L^(2 - 4H) + C L^(1 - 4H); return A, C and the depth where they are equal.

    The first term is the scalar rate 2H - 1, the second the one that a wide network shows.
    """
    depths, squared = line["depth"].to_numpy().astype(float), line["error"].to_numpy() ** 2
    columns = np.stack([depths ** (2 - 4 * hurst), depths ** (1 - 4 * hurst)], axis=1)
    (a, c), _ = nnls(columns / squared[:, None], np.ones_like(squared))
    return float(a), float(c), float(c / a) if a > 0 else float("inf")


def _draw_two_terms(ax: Axes, dataset: xr.Dataset) -> None:
    line, hurst = _line(dataset, "young-wide"), dataset.attrs["hurst"]
    a, c, crossover = two_terms(line, hurst)
    depths = line["depth"].to_numpy().astype(float)
    ax.plot(
        depths,
        np.sqrt(a * depths ** (2 - 4 * hurst) + c * depths ** (1 - 4 * hurst)),
        color="black",
        linestyle=(0, (4, 1.2, 1, 1.2)),
        linewidth=1.1,
        label=f"$(A L^{{2-4H}} + C L^{{1-4H}})^{{1/2}}$, equal at $L\\approx${crossover:.0f}",
    )
    ax.set_ylim(bottom=ax.get_ylim()[0] / 3)
    ax.legend(loc="lower left", handlelength=2.4, labelspacing=0.35, fontsize=6.8)


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge orders against theorems, and errors against closed forms."""
    strong = ("sde-tanh", "sde-linear", "ode-tanh", "ode-linear", "young-one")
    orders = [_order_verdict(dataset, line, margin=0.03, widest=0.05) for line in strong]
    exact = []
    for line in ("sde-linear", "weak-linear"):
        part, claim = _line(dataset, line), f"{line}: closed form at every depth"
        numbers = (part[key] for key in ("error", "closed_form", "standard_error"))
        exact.append(limits.Verdict.of_closed_form(claim, *numbers))
    return (
        *orders,
        _order_verdict(dataset, "young-corrected", margin=0.12, widest=0.05),
        _steeper_verdict(dataset),
        _order_verdict(dataset, "weak-linear", margin=0.1, widest=0.2),
        *exact,
    )


def _order(part: xr.Dataset) -> limits.Order:
    numbers = (float(part[key]) for key in ("order", "order_low", "order_high", "order_constant"))
    return limits.Order(*numbers, tuple(int(depth) for depth in part["depth"]))


def _order_verdict(
    dataset: xr.Dataset, line: str, *, margin: float, widest: float
) -> limits.Verdict:
    part = _line(dataset, line)
    expected = float(part["expected_order"])
    return limits.Verdict.of_order(
        f"{line}: order", _order(part), expected, margin=margin, widest=widest
    )


def _steeper_verdict(dataset: xr.Dataset) -> limits.Verdict:
    corrected, plain = (_order(_line(dataset, f"young-{key}")) for key in ("corrected", "wide"))
    return limits.Verdict(
        claim="young: the correction helps",
        asked="corrected order above the plain one, intervals apart",
        measured=f"{corrected.value:.3f} against {plain.value:.3f}",
        passed=corrected.low > plain.high,
    )
