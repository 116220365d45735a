"""A sweep of short tasks that tests kill and resume; run as ``python -m tests.survivor``."""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray

from limits.randomness import Stream
from limits.sweeps import run
from limits.sweeps.executors import executor_for


@dataclass(frozen=True)
class Config:
    widths: tuple[int, ...] = (4, 8, 16)
    draws: int = 10
    pause: float = 0.0


def axes(config):
    return {"width": list(config.widths), "draw": list(range(config.draws))}


def task(config, *, seed, width, draw, progress):
    progress(1, 2, "half way")
    # The variable is no field of Config, so that a slow run asks the same as a fast one.
    time.sleep(float(os.environ.get("SURVIVOR_SECONDS", config.pause)))
    normals = Stream(seed, "survivor").normals(0, 1, 4096, 0)[0].double()
    # A sum over many numbers depends on the number of torch threads, so it would tell.
    product = torch.outer(normals[:64], normals).sum()
    # So does a product of numpy on the number of BLAS threads.
    square = normals.reshape(64, 64).numpy()
    values = (width * normals[:8]).numpy()
    return xarray.Dataset(
        {
            "value": ("entry", values),
            "total": float(product),
            "power": float(np.linalg.matrix_power(square, 5).sum()),
            "name": f"w{width}",
        }
    )


def cost(config, *, width, draw):
    return width


def survivor():
    """Return this module under its importable name."""
    import tests.survivor

    return tests.survivor


def without_times(dataset):
    """Return a dataset without the one attribute that differs between equal runs."""
    return dataset.drop_attrs(deep=False).assign_attrs(
        {key: value for key, value in dataset.attrs.items() if key != "seconds_per_task"}
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--draws", type=int, default=Config.draws)
    arguments = parser.parse_args()
    config = Config(draws=arguments.draws)
    options = {"folder": arguments.folder, "notify": sys.stdout.write}
    with executor_for(workers=arguments.workers) as executor:
        dataset = run(survivor(), config, seed=0, executor=executor, **options)
    sys.stdout.write(f"finished {np.isfinite(dataset.total).all().item()}\n")


if __name__ == "__main__":
    main()
