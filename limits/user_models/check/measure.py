"""The depth check: build a user's model at several depths, and measure what depth does to it."""

import importlib
import json
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from limits.checks import check_count, check_counts, check_progress, check_seed
from limits.exceptions import LimitsError, ShapeError
from limits.modes import recording
from limits.scalars import plain_numbers
from limits.user_models.branches.calls import Inputs
from limits.user_models.branches.naming import BranchChoice
from limits.user_models.check.factory import ModelFactory, ModelFamily
from limits.user_models.check.records import Measured, laid_out, weight_sizes
from limits.user_models.check.result import DepthCheck
from limits.user_models.check.training_steps import MakeStep, own_random_numbers, train
from limits.user_models.check.watching.probes import Probe
from limits.user_models.weights.across_layers import weights_across_layers

__all__ = ["depth_check"]


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
    probes = family.probes(chosen)
    records: dict[tuple[int, int], Measured] = {}
    regularity: dict[str, dict[str, float | str]] = {}
    work = [(depth, draw) for depth in chosen for draw in range(n_seeds)]
    total, done = float(sum(depth for depth, _ in work)), 0.0
    for depth, draw in work:
        model = family.build(depth, draw)
        if depth == chosen[0]:
            family.check_draw(model, draw)
        if draw == 0 and depth == chosen[-1]:
            regularity = weights_across_layers(model, seed=seed)
        records[depth, draw] = _measure(
            model, depth, probes[depth], tried, make_step, steps, seed=seed, draw=draw
        )
        done += depth
        if progress:
            progress(done, total, f"depth {depth}, seed {draw}")
    found = family.chosen
    dataset = laid_out(records, probes, found, betas=tried)
    own = importlib.import_module("limits").__version__
    dataset.attrs |= family.attributes() | {
        "regularity": json.dumps(regularity),
        "stages": json.dumps(
            [len(probes[chosen[-1]].stages(number)) for number in range(len(found.streams))]
        ),
        "seed": seed,
        "steps": steps if make_step else 0,
        "versions": f"limits {own}, torch {torch.__version__}",
    }
    return DepthCheck(dataset)


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
) -> Measured:
    readings, frozen = [probe.read(model)], [probe.frozen(model)]
    weights = weight_sizes(model)
    scan = tuple(_changes_at(probe, model, beta) for beta in betas)
    feature_change = dict.fromkeys(probe.counts, math.nan)
    if make_step is not None:
        with own_random_numbers(seed, depth, draw):
            feature_change = train(model, depth, probe, make_step, steps)
        readings.append(probe.read(model))
        frozen.append(probe.frozen(model))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Measured(tuple(readings), tuple(frozen), scan, feature_change, weights, n_parameters)


def _changes_at(probe: Probe, model: nn.Module, beta: float) -> dict[int, float]:
    """Return what the branches of every stream add up to if they are multiplied by L^-beta."""
    longest = max(probe.counts.values())
    found = probe.read(model, scale=longest**-beta, gradients=False)
    return {stream: reading.change for stream, reading in found.items()}


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
