"""The numbers that the figures are drawn from, to be judged without computing them anew."""

from functools import cache
from pathlib import Path

import xarray as xr

from limits.sweeps import load_dataset, run
from limits.sweeps.experiment import Experiment

DATA = Path(__file__).parents[2] / "figures" / "data"


def file_of(name: str) -> Path | None:
    """Return the committed numbers of an experiment, at laptop scale or else at paper scale."""
    files = (DATA / f"{name}{scale}.nc" for scale in ("", "-paper"))
    return next((file for file in files if file.is_file()), None)


@cache
def _loaded(name: str) -> xr.Dataset:
    file = file_of(name)
    assert file is not None, f"{DATA} has no numbers of {name}"
    return load_dataset(file)


@cache
def at_smoke_scale(experiment: Experiment) -> xr.Dataset:
    """Return the numbers of an experiment at its smallest scale; for thorough tests only."""
    return run(experiment, experiment.SCALES["smoke"], seed=0)


def stored(name: str) -> xr.Dataset:
    """Return a copy of the committed numbers of an experiment, to be broken at will."""
    return _loaded(name).copy(deep=True)
