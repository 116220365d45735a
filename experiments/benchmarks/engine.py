"""Speed of the engine against its peers, in turns in one run, with what the hardware allows.

Every row compares this library with a peer that does the same work: another library, a plain
loop, or the bare drawing of the normals that the method cannot do without.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

import limits
from limits.experiments.benchmarks import _expectations, _paths, _sde
from limits.experiments.benchmarks._contest import Contest, peaks, rounds
from limits.plots import ORANGE

CITATION = (
    "Peers: torchsde (Li, Wong, Chen, Duvenaud, AISTATS 2020), diffrax (Kidger, PhD thesis, "
    "Oxford 2021)."
)
TIMED = True


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    width, depth, n_paths : int
        Of the network and SDE contests.
    wide : int
        Width of the wide layer.
    fractional_length : int
        Layers of the fractional paths.
    finest_tolerance : float
        Of the last infinite-depth expectation.
    repeats : int
        Rounds of every contest.
    threads : int
        torch threads.
    device : {"cpu", "cuda"}
        Where the contests take place; on CUDA those about SDEs only, and the rest by
        ``python -m experiments.benchmarks``.
    rows : tuple of str
        Which contests; all that are installed by default.
    """

    width: int = 40
    depth: int = 1024
    n_paths: int = 1000
    wide: int = 1000
    fractional_length: int = 1000
    finest_tolerance: float = 1e-4
    repeats: int = 5
    threads: int = 2
    device: Literal["cpu", "cuda"] = "cpu"
    rows: tuple[str, ...] = ()


SCALES = {
    "smoke": Config(
        width=8,
        depth=64,
        n_paths=64,
        wide=64,
        fractional_length=32,
        finest_tolerance=1e-3,
        repeats=1,
        threads=1,
    ),
    "laptop": Config(),
    "paper": Config(repeats=11),
}


@dataclass(frozen=True)
class Row:
    """A contest, what is claimed of it, and the least ratio of the peer's time to ours.

    On CUDA there are only the rows of `devices`; `threads` of torch where it is not the
    configured number.
    """

    claim: str
    bar: float
    build: Callable[[Config], Contest]
    needs_diffrax: bool = False
    devices: tuple[str, ...] = ("cpu",)
    threads: int | None = None


def _isotropic(config: Config) -> _sde.Isotropic:
    return _sde.Isotropic(config.width, config.depth, config.n_paths, config.device)


_CORES = os.cpu_count() or 1
_THREADS = sorted({*(2**k for k in range(_CORES.bit_length())), _CORES})
_BOTH = ("cpu", "cuda")

ROWS = {
    "em-torchsde": Row(
        "Euler-Maruyama, isotropic: torchsde",
        38,
        lambda c: _sde.plain(_isotropic(c)),
        devices=_BOTH,
    ),
    "em-torchsde-noise": Row(
        "Euler-Maruyama, isotropic: torchsde on our noise",
        5,
        lambda c: _sde.own_noise(_isotropic(c)),
        devices=_BOTH,
    ),
    "em-diffrax-tree": Row(
        "Euler-Maruyama, isotropic: diffrax, virtual tree",
        150,
        lambda c: _sde.diffrax_tree(_isotropic(c)),
        needs_diffrax=True,
        devices=_BOTH,
    ),
    "em-diffrax-unsafe": Row(
        "Euler-Maruyama, isotropic: diffrax, unsafe path",
        5,
        lambda c: _sde.diffrax_unsafe(_isotropic(c)),
        needs_diffrax=True,
        devices=_BOTH,
    ),
    "em-jax-scan": Row(
        "Euler-Maruyama, isotropic: jax, compiled scan",
        3,
        lambda c: _sde.jax_scan(_isotropic(c)),
        needs_diffrax=True,
        devices=_BOTH,
    ),
    "em-graph": Row(
        "Euler-Maruyama, isotropic: CUDA graph of a torch loop",
        5,
        lambda c: _sde.captured_loop(_isotropic(c)),
        devices=("cuda",),
    ),
    "em-normals": Row(
        "Euler-Maruyama, isotropic: drawing its normals",
        1 / 1.7,
        lambda c: _sde.normals_alone(_isotropic(c)),
    ),
    **{
        f"em-threads-{threads}": Row(
            f"Euler-Maruyama, isotropic, {threads} threads: best peer",
            3,
            lambda c: _sde.best_peer(_isotropic(c)),
            threads=threads,
        )
        for threads in _THREADS
    },
    "matrix-torchsde": Row(
        "matrix-driven SDE: torchsde, general noise",
        100,
        lambda c: _sde.matrix(c.width, c.depth),
    ),
    "normals": Row(
        "normals on all threads: one normal_ call",
        1.8,
        lambda c: _paths.normals(c.width, c.depth),
    ),
    "dense-forward": Row(
        "dense forward, fresh weights: drawing them",
        1 / 1.3,
        lambda c: _paths.dense_forward(c.width, c.depth),
    ),
    "dense-loop": Row(
        "dense forward, fresh weights: plain torch loop",
        4,
        lambda c: _paths.dense_loop(c.width, c.depth),
    ),
    "study-loop": Row(
        "study of coupled depths: plain torch loop",
        2,
        lambda c: _paths.study(c.width, _ladder(c.depth), c.n_paths),
    ),
    "lazy-wide": Row(
        "one forward layer of great width, lazy: dense",
        60,
        lambda c: _paths.wide_layer(c.wide, 64),
    ),
    "lazy-gradients": Row(
        "res-3 forward and backward, lazy: nn.Linear, autograd",
        150,
        lambda c: _paths.gradients(c.width, c.depth),
    ),
    "multilevel-1e-3": Row(
        "infinite-depth E|H| to 1e-3: plain Monte Carlo",
        1.5,
        lambda c: _expectations.multilevel(c.width, 1e-3),
    ),
    "multilevel-1e-4": Row(
        "infinite-depth E|H| to 1e-4: plain Monte Carlo",
        6,
        lambda c: _expectations.multilevel(c.width, c.finest_tolerance),
    ),
    "fractional": Row(
        "fractional noise: Davies-Harte entry by entry",
        20,
        lambda c: _paths.fractional(c.fractional_length),
    ),
    "fractional-draw": Row(
        "fractional noise: drawing its normals",
        1 / 4,
        lambda c: _paths.fractional_draw(c.fractional_length),
    ),
}


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    """One task for every contest of the device whose peer is installed."""
    rows = config.rows or tuple(name for name, row in ROWS.items() if config.device in row.devices)
    return {"row": [row for row in rows if _sde.HAS_DIFFRAX or not ROWS[row].needs_diffrax]}


def task(config: Config, *, seed: int, row: str) -> xr.Dataset:
    """Measure one contest."""
    torch.set_num_threads(ROWS[row].threads or config.threads)
    torch.manual_seed(seed)
    contest = ROWS[row].build(config)
    best = peaks(config.device)
    ours, peer = np.array(rounds(contest, config.repeats)).T
    return xr.Dataset(
        {
            "ours": ("repeat", ours, {"units": "s"}),
            "peer": ("repeat", peer, {"units": "s"}),
            "roofline": ((), best.seconds(contest), {"units": "s"}),
            "claim": ROWS[row].claim,
            "bar": ROWS[row].bar,
        }
    )


def _ladder(depth: int) -> tuple[int, ...]:
    return tuple(2**k for k in range(3, int(np.log2(depth)) + 1))


def ratios(dataset: xr.Dataset) -> xr.DataArray:
    """Return the peer's time over ours, per row and round."""
    return dataset["peer"] / dataset["ours"]


def draw(dataset: xr.Dataset) -> Figure:
    """Draw every round as a point, the median as a bar, and what was asked as a dashed line."""
    with limits.plots.style():
        rows = list(dataset["row"].values)
        figure, ax = plt.subplots(figsize=(7.2, 0.42 * len(rows) + 1.1), layout="constrained")
        for height, row in enumerate(reversed(rows)):
            part = dataset.sel(row=row)
            values = ratios(part).to_numpy()
            ax.plot(values, np.full_like(values, height), "o", markerfacecolor="none", color="0.3")
            ax.plot(np.median(values), height, "|", markersize=14, markeredgewidth=2, color="black")
            bar = float(part["bar"])
            ax.plot([bar, bar], [height - 0.4, height + 0.4], "--", color=ORANGE)
            text = _seconds(part)
            ax.annotate(text, (1.01, height), xycoords=("axes fraction", "data"), va="center")
        ax.set_xscale("log")
        ax.set_yticks(
            range(len(rows)), [str(dataset["claim"].sel(row=r).item()) for r in rows[::-1]]
        )
        ax.set_xlabel("time of the peer / time of limits (dashed: asked for)")
        ax.set_title("median ours / roofline", loc="right", fontsize=8)
    return figure


def _seconds(part: xr.Dataset) -> str:
    return f"{float(part['ours'].median()):.3g} s / {float(part['roofline']):.2g} s"


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the median ratio of every row; tiny sizes say nothing, so smoke asks for a number."""
    smoke = dataset.attrs["scale"] == "smoke"
    threads = json.loads(dataset.attrs["config"])["threads"]
    return tuple(_verdict(dataset.sel(row=row), threads, smoke) for row in dataset["row"].values)


def _verdict(part: xr.Dataset, threads: int, smoke: bool) -> limits.Verdict:
    values, bar = ratios(part).to_numpy(), float(part["bar"])
    median = float(np.median(values))
    return limits.Verdict(
        claim=str(part["claim"].item()),
        asked="a number" if smoke else f">= {bar:.3g}x",
        measured=(
            f"{median:.3g}x [{values.min():.3g}, {values.max():.3g}], {_seconds(part)} "
            f"(ours / roofline), {threads} threads"
        ),
        passed=bool(np.isfinite(median)) if smoke else median >= bar,
    )
