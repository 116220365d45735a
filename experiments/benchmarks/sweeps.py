"""What the runner costs: overhead per task against a bare loop, and two workers against one.

Every number is a ratio or a difference of two things measured in the same run, one after the
other in turns, and reported as a median with its spread.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import limits

CITATION = "No paper: a measurement of this library."
TIMED = True
OVERHEAD = "overhead"
SCALING = "scaling"


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    tasks : int
        Tasks of the overhead measurement.
    task_milliseconds : float
        Computing time of each.
    busy_tasks : int
        Tasks of the scaling measurement.
    busy_milliseconds : float
        Computing time of each.
    repeats : int
        Alternations of the two things compared.
    """

    tasks: int = 1000
    task_milliseconds: float = 5.0
    busy_tasks: int = 16
    busy_milliseconds: float = 500.0
    repeats: int = 5


SCALES = {
    "smoke": Config(tasks=50, busy_tasks=4, busy_milliseconds=50.0, repeats=2),
    "laptop": Config(),
    "paper": Config(tasks=5000, busy_tasks=64, repeats=9),
}


@dataclass(frozen=True)
class Load:
    """Settings of the sweep that is timed."""

    n_tasks: int
    milliseconds: float


def spin(load: Load, *, seed: int, number: int) -> xr.Dataset:
    """Keep one core busy for a given processor time, so that a lost core shows."""
    until = process_time() + load.milliseconds / 1000
    value = float(seed % 1000)
    while process_time() < until:
        value = (value * 1.000001) % 1000
    return xr.Dataset({"value": ("entry", np.full(8, value)), "number_squared": number**2})


def numbers(load: Load) -> Mapping[str, Sequence[int]]:
    """Return the only axis."""
    return {"number": range(load.n_tasks)}


SPIN = SimpleNamespace(__name__="spin", axes=numbers, task=spin)


def axes(config: Config) -> Mapping[str, Sequence[str]]:
    return {"measurement": (OVERHEAD, SCALING)}


def task(config: Config, *, seed: int, measurement: str) -> xr.Dataset:
    measure = _overhead if measurement == OVERHEAD else _scaling
    rows = [measure(config, seed) for _ in range(config.repeats)]
    return xr.Dataset({"seconds": (("repeat", "what"), np.array(rows))})


def _overhead(config: Config, seed: int) -> tuple[float, float]:
    """Return seconds of the bare loop and of the runner, serial and with a folder."""
    load = Load(config.tasks, config.task_milliseconds)
    started = perf_counter()
    for number in numbers(load)["number"]:
        spin(load, seed=seed, number=number)
    bare = perf_counter() - started
    with TemporaryDirectory() as folder:
        started = perf_counter()
        limits.sweeps.run(SPIN, load, seed=seed, folder=Path(folder))
        return bare, perf_counter() - started


def _scaling(config: Config, seed: int) -> tuple[float, float]:
    """Return seconds with one and with two workers that have started before."""
    load = Load(config.busy_tasks, config.busy_milliseconds)
    seconds = []
    for workers in (1, 2):
        with limits.sweeps.executor_for(workers=workers) as executor:
            limits.sweeps.run(SPIN, Load(workers, 1.0), seed=seed, executor=executor)
            started = perf_counter()
            limits.sweeps.run(SPIN, load, seed=seed, executor=executor)
            seconds.append(perf_counter() - started)
    return seconds[0], seconds[1]


def overheads(dataset: xr.Dataset) -> np.ndarray:
    """Return milliseconds that the runner adds to a task, one number per repeat."""
    bare, ours = dataset["seconds"].sel(measurement=OVERHEAD).transpose("what", "repeat").to_numpy()
    return 1000 * (ours - bare) / _config(dataset)["tasks"]


def speedups(dataset: xr.Dataset) -> np.ndarray:
    """Return how much faster two workers are than one, one number per repeat."""
    one, two = dataset["seconds"].sel(measurement=SCALING).transpose("what", "repeat").to_numpy()
    return one / two


def _config(dataset: xr.Dataset) -> dict[str, float]:
    return json.loads(dataset.attrs["config"])


def draw(dataset: xr.Dataset) -> Figure:
    """Draw both measurements, a point per repeat and the bar as a dashed line."""
    with limits.plots.style():
        figure, panels = plt.subplots(1, 2, figsize=(6.4, 2.4), layout="constrained")
        for ax, values, bar, label in (
            (panels[0], overheads(dataset), 6.0, "overhead per task (ms)"),
            (panels[1], speedups(dataset), 1.7, "speed-up, 2 workers over 1"),
        ):
            ax.plot(values, np.zeros_like(values), "o", markerfacecolor="none", color="black")
            ax.plot(np.median(values), 0, "|", markersize=22, color="black", label="median")
            ax.axvline(bar, linestyle="--", color="0.4", label="bar")
            ax.set_xlim(left=0)
            ax.set_yticks([])
            ax.set_xlabel(label)
            ax.legend(loc="upper left", ncols=2)
    return figure


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge medians; what a smoke run measures is start-up, so it is judged loosely."""
    smoke = dataset.attrs["scale"] == "smoke"
    added, faster = np.median(overheads(dataset)), np.median(speedups(dataset))
    return (
        limits.Verdict(
            claim="runner, serial: added to a task of about 5 ms",
            asked="< 6 ms" if not smoke else "finite",
            measured=_spread(overheads(dataset), "ms"),
            passed=bool(np.isfinite(added) if smoke else added < 6),
        ),
        limits.Verdict(
            claim="two workers against one, processor-bound tasks",
            asked=">= 1.7" if not smoke else "finite",
            measured=_spread(speedups(dataset), "x"),
            passed=bool(np.isfinite(faster) if smoke else faster >= 1.7),
        ),
    )


def _spread(values: np.ndarray, unit: str) -> str:
    return f"{np.median(values):.2f} {unit} [{values.min():.2f}, {values.max():.2f}]"
