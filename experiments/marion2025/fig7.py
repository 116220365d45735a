"""Which residual scale fits which regularity: output, gradient and the border, beta against H.

Every cell is measured: log norms are kept by powers of two, so nothing overflows. A row of the
published heatmaps, all exponents at one H, shares its weights and is one task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.stats import norm

import limits
from limits.experiments.marion2025 import _heatmaps
from limits.experiments.marion2025._published import PublishedPath, variance
from limits.experiments.marion2025._ratios import CITATION as CITATION
from limits.experiments.marion2025._ratios import (
    Ratios,
    gradient_ratios,
    hidden_ratios,
    inputs,
    joined,
    ratios,
    readouts,
)

_DTYPE = torch.float32
_CLEAR = 0.25
"""Distance in beta at which a network of the largest depth has left the border."""

_SLOW = 1.0
"""Distance in beta from max(H, 1/2) at which states move by 1e-3 to 1e-2 of themselves: what the
prediction of the border leaves out is of second order in that."""

_PRECISION = 0.02
"""Largest standard error of a border at which it is judged: a tenth of what the predictions at the
published depths differ by from max(H, 1/2) at most."""


@dataclass(frozen=True)
class Config:
    """What is computed.

    Parameters
    ----------
    hursts : tuple of float
        Hurst indices H.
    n_betas : int
        Exponents from 0 to 1.3.
    depth, shallow : int
        Depth L of the heatmaps, and the depth it is compared with for the growth exponent.
    width : int
        Size d of the hidden state.
    n_nets, n_inputs : int
        Networks and inputs of a cell of the heatmaps.
    growth_nets, border_nets : int
        Networks of the growth exponent, and of the border where states move little.
    published : bool
        Compute the output for H > 1/2 on the weights of the published generator as well.
    """

    hursts: tuple[float, ...] = tuple(np.linspace(0.05, 0.97, 51).round(4).tolist())
    n_betas: int = 70
    depth: int = 1000
    shallow: int = 250
    width: int = 40
    n_nets: int = 5
    n_inputs: int = 10
    growth_nets: int = 24
    border_nets: int = 128
    published: bool = True

    def __post_init__(self) -> None:
        if self.depth % self.shallow or self.depth <= self.shallow:
            raise ValueError(
                f"depth={self.depth} must be a larger multiple of shallow={self.shallow}"
            )


SCALES = {
    "smoke": Config(
        hursts=(0.1, 0.3, 0.5, 0.7, 0.9), n_betas=14, depth=256, shallow=64, width=8, n_nets=4,
        n_inputs=4, growth_nets=64, border_nets=256,
    ),
    "laptop": Config(
        hursts=tuple(np.linspace(0.05, 0.97, 24).round(4).tolist()), n_betas=36, n_nets=3,
        n_inputs=4,
    ),
    "paper": Config(),
}  # fmt: skip


def axes(config: Config) -> Mapping[str, Sequence[float]]:
    return {"hurst": config.hursts}


def task(
    config: Config, *, seed: int, hurst: float, progress: limits.Progress | None = None
) -> xr.Dataset:
    """Measure a row of the heatmaps, all exponents at one H."""
    report = progress or _ignore
    path = limits.FractionalPath(config.width, hurst=hurst)
    output, gradient = _row(config, path, seed, gradient=True)
    report(4, 8, "heatmaps")
    growth = _changes(config, path, seed, betas(config), config.growth_nets, _DTYPE)
    slow = max(hurst, 0.5) + _SLOW
    crept = _changes(config, path, seed, np.array([slow]), config.border_nets, torch.float64)
    report(7, 8, "border")
    found = {"output": output, "gradient": gradient}
    published = config.published and hurst > 0.5
    if published:
        found["published"], _ = _row(
            config, PublishedPath(config.width, hurst=hurst), seed, gradient=False
        )
    else:
        found["published"] = np.full_like(output, np.nan)
    return xr.Dataset(
        {name: ("beta", values.mean(axis=0)) for name, values in found.items()}
        | {
            "saturated": (
                ("quantity", "beta"),
                [(~np.isfinite(found[name])).sum(axis=0) for name in ("output", "gradient")],
            ),
            "growth": (("statistic", "beta"), _mean_and_error(_exponents(config, growth))),
            "border": (
                "statistic",
                _pooled_exponent(config, crept[..., 0]) + np.array([slow, 0.0]),
            ),
            "moved": float(np.exp(crept).mean()),
            "published_variance": variance(config.depth, hurst),
        },
        coords={
            "beta": betas(config),
            "quantity": ["output", "gradient"],
            "statistic": ["value", "standard_error"],
        },
        attrs={
            "depths": [config.shallow, config.depth],
            "nets": [config.n_nets, config.n_inputs, config.growth_nets, config.border_nets],
            "width": config.width,
        },
    )


def betas(config: Config) -> np.ndarray:
    """Return the exponents tried."""
    return np.linspace(0, 1.3, config.n_betas).round(6)


def _row(
    config: Config, path: limits.WeightPath, seed: int, *, gradient: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 ratios of output and gradient, shape ``(net and input, beta)``."""
    tried = torch.from_numpy(betas(config)).repeat_interleave(config.n_inputs)
    net = limits.ResNet("relu", block="res-3", beta=tried)
    sample = path.sample(depth=config.depth, n_paths=config.n_nets, seed=seed, dtype=_DTYPE)
    x = inputs(config.width, n_inputs=config.n_inputs, seed=seed, dtype=_DTYPE)
    out = net(x.repeat(config.n_betas, 1), sample)
    hidden = _per_beta(config, hidden_ratios(out))
    if not gradient:
        return hidden, np.empty(0)
    cotangent = readouts(config.width, n_paths=config.n_nets, seed=seed, dtype=_DTYPE)
    p = net.backward(out, sample, cotangent.expand_as(out.terminal), keep="terminal")
    return hidden, _per_beta(config, gradient_ratios(p))


def _per_beta(config: Config, found: Ratios) -> np.ndarray:
    logs = (found.change / np.log(10)).unflatten(1, (config.n_betas, config.n_inputs))
    return logs.transpose(1, 2).flatten(0, 1).numpy()


def _changes(
    config: Config, path: limits.WeightPath, seed: int, tried: np.ndarray, n_nets: int,
    dtype: torch.dtype,
) -> np.ndarray:  # fmt: skip
    """Return log(|h_L - h_0| / |h_0|) at the two depths, shape ``(depth, net, beta)``.

    Both networks read the same weights in one pass.
    """
    net = limits.ResNet("relu", block="res-3", beta=torch.from_numpy(tried))
    sample = path.sample(depth=config.depth, n_paths=n_nets, seed=seed, dtype=dtype)
    x = inputs(config.width, n_inputs=1, seed=seed, dtype=dtype)
    depths = (config.shallow, config.depth)
    found: dict[int, list[Ratios]] = {depth: [] for depth in depths}
    for first, count in sample.chunks():
        h0 = x.expand(count, len(tried), -1).contiguous()
        steppers = {depth: net.stepper(h0, sample.at_depth(depth)) for depth in depths}
        for layer in sample.coupled(depths, first_path=first, n_paths=count, inner=True):
            steppers[layer.depth].step(layer)
        for depth, stepper in steppers.items():
            log_end = stepper.h.norm(dim=-1).log() + stepper.exponents * np.log(2)
            found[depth].append(ratios(h0, stepper.state(), h0.norm(dim=-1).log(), log_end))
    return np.stack([joined(found[depth]).change.numpy() for depth in depths])


def _exponents(config: Config, changes: np.ndarray) -> np.ndarray:
    """Return d log|h_L - h_0| / d log L between the two depths, shape ``(net, beta)``."""
    return (changes[1] - changes[0]) / np.log(config.depth / config.shallow)


def _pooled_exponent(config: Config, changes: np.ndarray) -> np.ndarray:
    """Return half the exponent of the mean square over nets, and its jackknife standard error."""
    squares = np.exp(2 * changes)
    n, span = squares.shape[1], 2 * np.log(config.depth / config.shallow)
    whole = np.log(squares[1].sum() / squares[0].sum()) / span
    others = squares.sum(axis=1, keepdims=True) - squares
    left_out = np.log(others[1] / others[0]) / span
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return np.array([whole, error])


def _mean_and_error(values: np.ndarray) -> np.ndarray:
    return np.stack([values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))])


def _ignore(done: int, total: int, label: str) -> None:
    pass


draw = _heatmaps.draw


def check(dataset: xr.Dataset) -> tuple[limits.Verdict, ...]:
    """Judge the border, the regimes beside it and that every cell is a measurement."""
    verdicts = [
        _border_verdict(dataset),
        *(_regime_verdict(dataset, name) for name in ("output", "gradient")),
    ]
    if bool(dataset["published"].notnull().any()):
        verdicts.append(_generator_verdict(dataset))
    return tuple(verdicts)


def _border_verdict(dataset: xr.Dataset) -> limits.Verdict:
    """Judge the border of states that move little, in the standard errors of the mean square."""
    hursts, expected = dataset["hurst"].to_numpy(), _heatmaps.expected_borders(dataset)
    found, errors = (
        dataset["border"].sel(statistic=name).to_numpy() for name in ("value", "standard_error")
    )
    near = (hursts >= 0.1) & (hursts <= 0.95)
    judged = ((found - expected) / errors)[near]
    shallow, deep = dataset.attrs["depths"]
    together, most = float(judged.mean() * len(judged) ** 0.5), _most(len(judged) + 1)
    enough = bool(errors[near].max() <= _PRECISION)
    return limits.Verdict(
        "border: beta at which E|h_L - h_0|^2 is the same at "
        f"L = {shallow} and {deep} while states move little, against its prediction at these "
        "depths, H in [0.1, 0.95]",
        f"every H, and all together, within {most:.1f} standard errors, 99 % for the figure; "
        f"standard errors of at most {_PRECISION:g}",
        f"{judged.min():+.1f} to {judged.max():+.1f} at {len(judged)} values of H, together "
        f"{together:+.1f}; largest standard error {errors[near].max():.3f}, states moved by "
        f"{float(dataset['moved'].max()):.1e} at most; {dataset.attrs['nets'][3]} nets",
        enough and bool(max(abs(judged).max(), abs(together)) <= most),
        decided=enough,
        changed="The zero of the mean log growth of large changes was compared with this "
        "prediction, of small ones, with a third of its distance from max(H, 1/2) as an error that "
        "was added after two seeds had failed.",
    )


def _most(judged: int) -> float:
    """Return how many standard errors the largest of so many scores stays below, 99 of 100."""
    return float(norm.isf(0.005 / judged))


def _regime_verdict(dataset: xr.Dataset, name: str) -> limits.Verdict:
    distance = dataset["beta"] - np.maximum(dataset["hurst"], 0.5)
    values = dataset[name]
    below, above = distance < -_CLEAR, distance > _CLEAR
    wrong = int((below & (values < 0)).sum() + (above & (values > 0)).sum())
    judged = int((below | above).sum())
    return limits.Verdict(
        f"{name}: ratio above 1 below the border, below 1 above it",
        f"in every cell more than {_CLEAR:g} away from the border",
        f"{judged - wrong} of {judged}",
        wrong == 0,
    )


def _generator_verdict(dataset: xr.Dataset) -> limits.Verdict:
    variances = dataset["published_variance"]
    wrong = dataset["hurst"].where((dataset["hurst"] > 0.5) & (variances > 1.2), drop=True)
    part = dataset.sel(hurst=wrong)
    gap = (part["published"] - part["output"]).where(part["beta"] < part["hurst"])
    middle = float(gap.median())
    return limits.Verdict(
        "published generator: networks below the border explode earlier",
        "median gain in log10 above 0.1 where its variance exceeds 1.2",
        f"{middle:.2f} at {wrong.size} values of H",
        middle > 0.1,
    )
