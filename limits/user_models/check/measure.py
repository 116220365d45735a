"""The depth check: build a user's model at several depths, and measure what depth does to it."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from limits.checks import check_count, check_counts, check_progress, check_seed
from limits.exceptions import LimitsError, ShapeError
from limits.modes import recording
from limits.scalars import plain_numbers
from limits.user_models.branches.calls import Inputs
from limits.user_models.branches.naming import BranchChoice
from limits.user_models.check.factory import ModelFactory, ModelFamily
from limits.user_models.check.probes import Measurement, Probe, check_deterministic
from limits.user_models.check.result import DepthCheck
from limits.user_models.check.training_steps import MakeStep, own_random_numbers, train
from limits.user_models.weights.across_layers import weights_across_layers

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["depth_check"]

_SCALARS = (
    "change",
    "stream_change",
    "log_norm",
    "gradient_change",
    "gradient_log_norm",
    "update_size",
)
_FROZEN = ("frozen_sum", "frozen_size", "frozen_log_norm")
_PROFILES = ("stream", "contribution", "gradient")


@plain_numbers
@recording
def depth_check(
    make_model: ModelFactory,
    *,
    depths: Sequence[int] = (4, 8, 16, 32),
    inputs: Inputs | None = None,
    n_seeds: int = 5,
    betas: Sequence[float] | None = None,
    branch: BranchChoice | None = None,
    make_step: MakeStep | None = None,
    steps: int = 1,
    seed: int = 0,
    progress: Callable[[float, float, str], None] | None = None,
) -> DepthCheck:
    """Say what depth does to your network: ``identity``, ``limit``, ``explosion``, ``contraction``.

    The model is built at every depth and seed, its residual sums h_(k+1) = h_k + f_k(h_k) are
    found, and one forward and one backward pass measured. Three exponents in the number of
    branches L decide: the growth of |sum_k f_k| / |h_0|, the size of the branches L^-beta, and
    the coherence of the updates, |sum of unit updates at one frozen state| ~ L^gamma. The
    critical exponent is beta* = max(gamma, 1/2): 1/2 for independent layers of mean zero given h
    (diffusive updates, SDE-like limit), 1 for tied or smooth ones (coherent updates, ODE-like
    limit). Growth within L^(+-0.125) counts as a limit. In a normalised stream explosion means
    that the last branches dominate it (`DepthCheck.bounded`); where the stream shrinks or grows
    without branches, the growth of its norm decides.

    Parameters
    ----------
    make_model : callable
        ``make_model(depth)`` returns an ``nn.Module`` with more residual blocks at larger depth.
        Random initialisation must use torch's global generator, which is seeded for every model.
    depths : sequence of int
        At least three, over a factor of four, for a verdict.
    inputs : optional
        A batch, a tuple of arguments, a dict or a DataLoader; standard normal numbers that fit
        the first layer when left out.
    n_seeds : int
        Draws of the weights; intervals are over them.
    betas : sequence of float, optional
        Extra exponents to try: every branch times L^-beta. `DepthCheck.scanned_beta` is where
        growth turns into decay.
    branch : str, sequence of str or callable, optional
        Modules that return the branches, as in `limits.scale_residuals`; found when left out.
    make_step : callable, optional
        ``make_step(model, depth)`` returns a function without arguments that makes one training
        step. The check is repeated after `steps` of them, and the change of the last hidden state
        by the first one recorded.
    steps : int
        Training steps.
    seed : int
        Of everything that is drawn.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    DepthCheck
        ``.verdict`` (None where evidence is thin, with ``.reason``), ``.forward``, ``.backward``,
        ``.critical``, ``.kind``, ``.recommendation``, ``.to_dataset()``.

    Raises
    ------
    BranchError
        If there are no residual branches.
    LimitsError
        If the factory ignores its depth, the model is not deterministic, has no trainable
        parameters, or fails on its inputs. The message says what to change.

    References
    ----------
    Marion et al. (2025), Section 5, for the regimes; Yang et al., arXiv:2310.02244, for the
    learning rates; the design follows the coordinate check of the package mup, which is about
    width.

    Examples
    --------
    >>> import torch
    >>> def make_model(depth):
    ...     layer = torch.nn.TransformerEncoderLayer(
    ...         16, 2, 32, batch_first=True, norm_first=True
    ...     )
    ...     return torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    >>> check = depth_check(make_model, depths=(2, 4, 8), n_seeds=3)
    >>> check.branches
    (4, 8, 16)
    """
    chosen = _checked_depths(depths)
    check_seed(seed)
    check_count(n_seeds, "n_seeds")
    check_count(steps, "steps")
    _check_betas(betas)
    check_progress(progress)
    family = ModelFamily(make_model, seed=seed, inputs=inputs, branch=branch)
    tried = tuple(float(beta) for beta in betas or ())
    probes = {depth: family.probe(depth) for depth in chosen}
    family.check_counts({depth: probe.n_blocks for depth, probe in probes.items()})
    records: dict[tuple[int, int], _Record] = {}
    regularity: dict[str, dict[str, float | str]] = {}
    work = [(depth, draw) for depth in chosen for draw in range(n_seeds)]
    total, done = float(sum(depth for depth, _ in work)), 0.0
    for depth, draw in work:
        model = family.build(depth, draw)
        if depth == chosen[0]:
            family.check_draw(model, draw)
        if draw == 0:
            check_deterministic(probes[depth], model)
        if draw == 0 and depth == chosen[-1]:
            regularity = weights_across_layers(model, seed=seed)
        records[depth, draw] = _measure(
            model, depth, probes[depth], tried, make_step, steps, seed=seed, draw=draw
        )
        done += depth
        if progress:
            progress(done, total, f"depth {depth}, seed {draw}")
    dataset = _dataset(chosen, n_seeds, tried, records, probes)
    dataset.attrs |= family.attributes() | {
        "regularity": json.dumps(regularity),
        "stages": len({role.stage for role in probes[chosen[-1]].roles.values()}),
        "seed": seed,
        "steps": steps if make_step else 0,
    }
    return DepthCheck(dataset)


@dataclass(frozen=True)
class _Record:
    """Everything measured on one model: a reading and a frozen sum per phase."""

    readings: tuple[Measurement, ...]
    frozen: tuple[tuple[float, float, float], ...]
    scan: tuple[float, ...]
    feature_change: float


def _measure(
    model: nn.Module,
    depth: int,
    probe: Probe,
    betas: Sequence[float],
    make_step: MakeStep | None,
    steps: int,
    *,
    seed: int,
    draw: int,
) -> _Record:
    readings, frozen = [probe.read(model)], [probe.frozen(model)]
    scan = tuple(
        probe.read(model, scale=probe.n_blocks**-beta, gradients=False).change for beta in betas
    )
    feature_change = math.nan
    if make_step is not None:
        with own_random_numbers(seed, depth, draw):
            feature_change = train(model, depth, probe, make_step, steps)
        readings.append(probe.read(model))
        frozen.append(probe.frozen(model))
    return _Record(tuple(readings), tuple(frozen), scan, feature_change)


def _dataset(
    depths: Sequence[int],
    n_seeds: int,
    betas: Sequence[float],
    records: dict[tuple[int, int], _Record],
    probes: dict[int, Probe],
) -> "Dataset":
    from xarray import Dataset

    n_phases = len(next(iter(records.values())).readings)
    phases = ["initial", "trained"][:n_phases]
    longest = max(probe.n_blocks for probe in probes.values()) + 1
    dims, shape = ("phase", "depth", "seed"), (n_phases, len(depths), n_seeds)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (dims, np.full(shape, np.nan)) for name in (*_SCALARS, *_FROZEN)
    }
    for name in _PROFILES:
        variables[name] = (*dims, "layer"), np.full((*shape, longest), np.nan)
    for (depth, draw), record in records.items():
        for phase, (reading, frozen) in enumerate(zip(record.readings, record.frozen, strict=True)):
            place = phase, list(depths).index(depth), draw
            for name in _SCALARS:
                variables[name][1][place] = getattr(reading, name)
            for name in _PROFILES:
                values = getattr(reading, name)
                variables[name][1][place][: len(values)] = values
            for name, value in zip(_FROZEN, frozen, strict=True):
                variables[name][1][place] = value
    rows = [[records[depth, draw] for draw in range(n_seeds)] for depth in depths]
    if betas:
        scan = np.array([[record.scan for record in row] for row in rows])
        variables["scan_change"] = ("depth", "seed", "beta"), scan
    if n_phases > 1:
        changes = np.array([[record.feature_change for record in row] for row in rows])
        variables["feature_change"] = ("depth", "seed"), changes
    variables["branches"] = ("depth",), np.array([probes[depth].n_blocks for depth in depths])
    coords = {"phase": phases, "depth": list(depths), "seed": np.arange(n_seeds)}
    return Dataset(variables, coords=coords | ({"beta": list(betas)} if betas else {}))


def _is_integral(depth: object) -> bool:
    return isinstance(depth, float) and depth.is_integer()


def _checked_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """Return depths without repetitions, ascending; 4.0, as from a grid of numpy, is 4."""
    if not isinstance(depths, Iterable):
        raise ShapeError(
            f"depths must be a sequence of positive integers, found {depths!r}. Use for example "
            "depths=(8, 16, 32)."
        )
    whole = [int(depth) if _is_integral(depth) else depth for depth in depths]
    check_counts(whole, "depths")
    return tuple(sorted(set(whole)))


def _check_betas(betas: Sequence[float] | None) -> None:
    if betas is not None and not all(map(math.isfinite, betas)):
        raise LimitsError(
            f"betas must be finite numbers, found {tuple(betas)}. Use for example (0.0, 0.25, 0.5)."
        )
