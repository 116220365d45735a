"""Test errors of the networks in practice, and what is asked of them on each data set."""

import numpy as np
import xarray as xr

import limits


def published(dataset: xr.Dataset) -> bool:
    """Return whether networks are the published ones, named by layers, on CIFAR-10."""
    return dataset.attrs["data"] == "CIFAR-10"


def errors(dataset: xr.Dataset, normalisation: str, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Return depths and the test errors in per cent ``(depth, draw)``; divergence is chance."""
    chosen = [
        name for name in dataset["network"].to_numpy()
        if name.startswith(f"{normalisation}/{scaling}/")
    ]  # fmt: skip
    values = dataset["last_error"].sel(network=chosen).transpose("network", "draw").to_numpy()
    values = np.where(np.isnan(values), dataset.attrs["chance"], values)
    return np.array([int(name.split("/")[2]) for name in chosen]), 100 * values


def digit_verdicts(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge whether tau trains where plain networks do not."""
    depths, scaled = errors(dataset, "batch", "tau")
    plain = errors(dataset, "batch", "plain")[1]
    deep = depths >= 30
    good, bad = np.median(scaled[deep], axis=1), np.median(plain[deep], axis=1)
    return (
        limits.Verdict(
            f"batch normalisation and tau = L^-1/2 at {named(dataset, depths[deep])}",
            "median test error below 10 %",
            f"{_medians(good)} % (all: {span(scaled[deep])})",
            bool(deep.any() and good.max() < 10),
        ),
        limits.Verdict(
            f"batch normalisation without tau at {named(dataset, depths[deep])}",
            "median test error at least 5 times worse",
            f"{_medians(bad)} % (all: {span(plain[deep])})",
            bool(deep.any() and (bad >= 5 * good).all()),
        ),
    )


def published_verdicts(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge tau by what the paper found: no worse at any depth, and better by more where deep."""
    depths, scaled = errors(dataset, "batch", "tau")
    good = np.median(scaled, axis=1)
    bad = np.median(errors(dataset, "batch", "plain")[1], axis=1)
    gap = bad - good
    return (
        limits.Verdict(
            f"batch normalisation and tau = L^-1/2 at {named(dataset, depths)}",
            "median test error not above that without tau",
            f"{_medians(good)} % against {_medians(bad)} %",
            bool((gap >= 0).all()),
        ),
        limits.Verdict(
            "batch normalisation: what tau gains grows with depth",
            f"a larger gap of the medians at {depths[-1]} layers than at {depths[0]}",
            ", ".join(f"{each:.2f}" for each in gap) + " %",
            bool(gap[-1] > gap[0]),
        ),
    )


def named(dataset: xr.Dataset, depths: np.ndarray) -> str:
    """Return depths as a claim has them."""
    listed = ", ".join(str(depth) for depth in depths)
    return f"{listed} layers" if published(dataset) else f"L = {listed}"


def _medians(values: np.ndarray) -> str:
    return ", ".join(f"{each:.1f}" for each in values)


def span(values: np.ndarray) -> str:
    """Return the smallest and the largest value."""
    return f"{values.min():.1f}-{values.max():.1f}" if values.size else "none"
