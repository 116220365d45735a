"""What was measured on every model of a depth check, laid out as one dataset."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from limits.user_models.check.choosing.layer_names import layer_patterns
from limits.user_models.check.choosing.multiplying import Chosen
from limits.user_models.check.watching.observer import norm_of
from limits.user_models.check.watching.probes import FrozenMeasurement, Measurement, Probe

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["Measured", "laid_out", "weight_sizes"]

_SCALARS = (
    "change", "stream_change", "log_norm", "gradient_change", "gradient_log_norm", "update_size",
)  # fmt: skip
_FROZEN = ("frozen_sum", "frozen_size", "frozen_log_norm")
_PROFILES = ("stream", "contribution", "gradient")


@dataclass(frozen=True)
class Measured:
    """Everything measured on one model: by phase, then by stream."""

    readings: tuple[dict[int, Measurement], ...]
    frozen: tuple[dict[int, FrozenMeasurement], ...]
    scan: tuple[dict[int, float], ...]
    feature_change: dict[int, float]
    weights: dict[str, tuple[float, int]]
    n_parameters: int


def weight_sizes(model: nn.Module) -> dict[str, tuple[float, int]]:
    """Return the sum of squares of the entries of every weight, and their number.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight.data = torch.full((2, 2), 0.5)
    >>> weight_sizes(layer)
    {'weight': (1.0, 4)}
    """
    return {
        name: (float(norm_of(parameter.detach())) ** 2, parameter.numel())
        for name, parameter in model.named_parameters()
        if not parameter.is_meta and parameter.is_floating_point()
    }


def laid_out(
    records: Mapping[tuple[int, int], Measured],
    probes: Mapping[int, Probe],
    chosen: Chosen,
    *,
    betas: Sequence[float],
) -> "Dataset":
    """Lay records out: ``(stream_name, phase, depth, seed)``, without the first where it is one.

    Parameters
    ----------
    records : mapping
        By depth and draw.
    probes : mapping
        By depth.
    chosen : Chosen
        Their streams.
    betas : sequence of float
        Exponents that were tried.
    """
    from xarray import Dataset, concat

    longest = max(max(probe.counts.values()) for probe in probes.values()) + 1
    parts = [
        _one(records, probes, number, longest, betas=betas).assign(
            branches=("depth", np.array([chosen.totals[depth][number] for depth in probes]))
        )
        for number in range(len(chosen.streams))
    ]
    if len(parts) == 1:
        found: Dataset = parts[0]
    else:
        found = concat(parts, dim="stream_name").assign_coords(stream_name=list(chosen.streams))
    depths = list(probes)
    draws = sorted({draw for _, draw in records})
    names, sizes = _weight_sizes(records, depths, draws)
    parameters = [records[depth, draws[0]].n_parameters for depth in depths]
    return found.assign_coords(weight=names).assign(
        weight_size=(("weight", "depth", "seed"), sizes),
        parameters=("depth", np.array(parameters)),
        fitted=("depth", np.array([depth not in chosen.single for depth in depths])),
    )


def _weight_sizes(
    records: Mapping[tuple[int, int], Measured], depths: list[int], draws: list[int]
) -> tuple[list[str], np.ndarray]:
    """Return the root mean square of weights over layers, ``(weight, depth, seed)``."""
    pattern = layer_patterns([records[depth, draws[0]].weights for depth in depths])
    squares: dict[tuple[str, int, int], float] = defaultdict(float)
    counts: dict[tuple[str, int, int], int] = defaultdict(int)
    for (depth, draw), record in records.items():
        for name, (square, count) in record.weights.items():
            squares[pattern(name), depth, draw] += square
            counts[pattern(name), depth, draw] += count
    names = sorted({name for name, _, _ in counts})
    sizes = np.full((len(names), len(depths), len(draws)), np.nan)
    for (name, depth, draw), count in counts.items():
        place = names.index(name), depths.index(depth), draws.index(draw)
        sizes[place] = math.sqrt(squares[name, depth, draw] / count)
    return names, sizes


def _one(
    records: Mapping[tuple[int, int], Measured],
    probes: Mapping[int, Probe],
    stream: int,
    longest: int,
    *,
    betas: Sequence[float],
) -> "Dataset":
    """Lay out one stream."""
    from xarray import Dataset

    depths = list(probes)
    n_seeds = len({draw for _, draw in records})
    n_phases = len(next(iter(records.values())).readings)
    phases = ["initial", "trained"][:n_phases]
    counts = [probe.counts[stream] for probe in probes.values()]
    dims, shape = ("phase", "depth", "seed"), (n_phases, len(depths), n_seeds)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (dims, np.full(shape, np.nan)) for name in (*_SCALARS, *_FROZEN)
    }
    for name in (*_PROFILES, "frozen_contribution"):
        variables[name] = (*dims, "layer"), np.full((*shape, longest), np.nan)
    group = np.full((len(depths), longest), -1)
    for (depth, draw), record in records.items():
        for phase, (reading, frozen) in enumerate(zip(record.readings, record.frozen, strict=True)):
            place = phase, depths.index(depth), draw
            for names, found in (
                ((*_SCALARS, *_PROFILES), reading[stream]),
                ((*_FROZEN, "frozen_contribution"), frozen[stream]),
            ):
                for name in names:
                    values = getattr(found, name)
                    target = variables[name][1][place]
                    variables[name][1][place] = _filled(target, values)
    for place, probe in enumerate(probes.values()):
        group[place] = _filled(group[place], probe.groups(stream))
    rows = [[records[depth, draw] for draw in range(n_seeds)] for depth in depths]
    if betas:
        scan = np.array([[[each[stream] for each in r.scan] for r in row] for row in rows])
        variables["scan_change"] = ("depth", "seed", "beta"), scan
    if n_phases > 1:
        changes = np.array([[r.feature_change[stream] for r in row] for row in rows])
        variables["feature_change"] = ("depth", "seed"), changes
    variables["multiplying"] = ("depth",), np.array(counts)
    variables["group"] = ("depth", "layer"), group
    normalised = [bool(set(probe.stages(stream)) & probe.normalised) for probe in probes.values()]
    stages = [len(probe.stages(stream)) for probe in probes.values()]
    variables["stages"] = ("depth",), np.array(stages)
    variables["normalised"] = ("depth",), np.array(normalised)
    coords = {"phase": phases, "depth": depths, "seed": np.arange(n_seeds)}
    return Dataset(variables, coords=coords | ({"beta": list(betas)} if betas else {}))


def _filled(target: np.ndarray, values: float | Sequence[float]) -> np.ndarray:
    """Put values at the front of a row, or a number in its place."""
    if isinstance(values, float | int):
        return np.asarray(values)
    row = target.copy()
    row[: len(values)] = values
    return row
