"""Which phase of training a mean-field network is in, measured on networks of finite size."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from limits._typing import Regime
from limits.checks import check_count, check_real
from limits.estimates import Estimate
from limits.exceptions import LimitsError, ShapeError
from limits.mean_field.inputs import as_batch, check_pairs
from limits.mean_field.resnet import MeanFieldResNet
from limits.modes import keeps_dtypes
from limits.scalars import plain_numbers

__all__ = ["PhaseName", "TrainingPhase", "phase_of", "training_phase"]

PhaseName = Literal["vanishing", "complete", "lazy", "random", "explosive"]

_REGIMES: dict[PhaseName, Regime] = {
    "vanishing": "identity",
    "complete": "limit",
    "lazy": "limit",
    "random": "limit",
    "explosive": "explosion",
}
# A fluctuation within a factor of about three of the input counts as of its order, and a
# movement does when it is at least a third of what a step of order one achieves at best.
_RANDOM_FROM = 0.3
_EXPLOSIVE_FROM = 3.0
_MOVES_FROM = 0.05


@dataclass(frozen=True)
class TrainingPhase:
    """A phase and the three numbers behind it, each relative to its size at initialisation.

    Parameters
    ----------
    phase : str
        ``"vanishing"``, ``"complete"``, ``"lazy"``, ``"random"`` or ``"explosive"``.
    feature_movement : Estimate
        RMS change of what neurons read, u . h_0, by one gradient step, over the RMS of u . h_0.
    weight_movement : Estimate
        The same for what they write, v . b with b the gradient at the output.
    output_fluctuation : Estimate
        Standard deviation of h_L over initialisations over the RMS of h_0.
    """

    phase: PhaseName
    feature_movement: Estimate
    weight_movement: Estimate
    output_fluctuation: Estimate

    @property
    def regime(self) -> Regime:
        """The phase in the library's words for what depth does.

        Vanishing initial weights leave the identity; complete and lazy training have an ODE for
        limit, random training an SDE: ``"limit"`` all three.
        """
        return _REGIMES[self.phase]


@plain_numbers
def phase_of(
    feature_movement: float, weight_movement: float, output_fluctuation: float
) -> PhaseName:
    """Return the phase of three relative sizes; see `training_phase`.

    Examples
    --------
    >>> phase_of(0.18, 0.4, 0.01), phase_of(0.006, 12.0, 1e-3), phase_of(0.006, 0.01, 0.1)
    ('complete', 'vanishing', 'lazy')
    """
    numbers = (feature_movement, weight_movement, output_fluctuation)
    if not all(isinstance(each, int | float) for each in numbers):
        raise LimitsError(
            f"a phase is told by three real numbers, found {numbers}. Pass relative sizes, for "
            "example phase_of(0.18, 0.4, 0.01)."
        )
    if not all(map(math.isfinite, numbers)) or output_fluctuation > _EXPLOSIVE_FROM:
        return "explosive"
    if output_fluctuation > _RANDOM_FROM:
        return "random"
    if feature_movement >= _MOVES_FROM:
        return "complete"
    return "vanishing" if weight_movement >= 2 * _MOVES_FROM else "lazy"


@plain_numbers
@keeps_dtypes
@torch.no_grad()
def training_phase(
    net: MeanFieldResNet, inputs: Tensor, targets: Tensor, *, n_paths: int, seed: int
) -> TrainingPhase:
    """Measure the phase of a network's training by one gradient step from initialisation.

    In the residual scale r = alpha sqrt(D) / (LM), with the rates of the convention
    ``"initialisation"``:

    * vanishing, r << sqrt(D)/(LM): v forgets its initial value, which moves u by O(alpha) only;
    * complete, r ~ sqrt(D)/(LM): u and v both move by their own size, the largest local updates;
    * lazy, sqrt(D)/(LM) << r << (LM)^(-1/2): both move by O(1/alpha), outputs by O(1);
    * random, r ~ (LM)^(-1/2): outputs fluctuate by O(1) from one initialisation to another,
      as the solution of an SDE;
    * explosive, r >> (LM)^(-1/2).

    Parameters
    ----------
    net : MeanFieldResNet
        The network, of the convention ``"initialisation"``: rates differ in the other one.
    inputs, targets : Tensor
        Data of order-one entries, shape ``(input, features)`` and ``(input, outputs)``.
    n_paths : int
        Initialisations, at least two.
    seed : int
        Of the initialisations.

    Returns
    -------
    TrainingPhase
        The phase, what was measured, and the name of the regime used elsewhere in the library.

    Raises
    ------
    LimitsError
        If there are fewer than two paths, or the network is of the convention ``"residual"``,
        in whose rates u moves the further the smaller alpha is. Build the network with
        ``convention="initialisation"``.

    References
    ----------
    Chizat, "The hidden width of deep ResNets", arXiv:2509.10167 (2025), phase diagram.

    Examples
    --------
    >>> x = torch.eye(4, dtype=torch.float64) * 2
    >>> net = MeanFieldResNet(4, 64, depth=16, alpha=0.01, convention="initialisation")
    >>> found = training_phase(net, x, x.roll(1, 0), n_paths=4, seed=0)
    >>> found.phase, found.regime
    ('vanishing', 'identity')
    """
    check_count(n_paths, "n_paths")
    if n_paths < 2:
        raise LimitsError("a fluctuation needs at least two paths, found n_paths=1. Use 8.")
    if net.scaling.convention != "initialisation":
        raise LimitsError(
            'the phases are those of the learning rates of convention="initialisation", found '
            f'convention="{net.scaling.convention}". Use MeanFieldResNet(..., '
            f'alpha={net.scaling.alpha:g}, convention="initialisation"), which draws the same '
            "functions."
        )
    for tensor, name in ((inputs, "inputs"), (targets, "targets")):
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"{name} must be a tensor, found {type(tensor).__name__}. Use "
                f"torch.as_tensor({name}, dtype=torch.float64)."
            )
        check_real(tensor, name)
    weights = net.sample(n_paths=n_paths, seed=seed, dtype=inputs.dtype)
    check_pairs(
        as_batch(inputs, weights, net.features or weights.width, "inputs"),
        as_batch(targets, weights, net.outputs or weights.width, "targets"),
    )
    out = net(inputs, weights)
    start, end = out.values[0], out.terminal
    gradient = net.read(end, weights) - targets
    if weights.readout is not None:
        gradient = gradient @ weights.readout.mT
    after = net.descend(inputs, targets, weights, steps=1, nonfinite="keep").weights
    features = _movement(weights.u, after.u, start)
    written = _movement(weights.v, after.v, gradient)
    # With embeddings of their own, paths differ from the start.
    moved = end - start
    spread = (moved - moved.mean(dim=0)).square().mean(dim=(1, 2)) * n_paths / (n_paths - 1)
    fluctuation = _root_of_mean(spread / start.square().mean())
    numbers = (features, written, fluctuation)
    return TrainingPhase(phase_of(*(each.value for each in numbers)), *numbers)


def _movement(before: Tensor, after: Tensor, read: Tensor) -> Estimate:
    """Return RMS((after - before) . read) / RMS(before . read)."""
    change, size = read.new_zeros(len(read)), read.new_zeros(len(read))
    for old, new in zip(before, after, strict=True):
        change += torch.bmm(read, new - old).square().sum(dim=(1, 2))
        size += torch.bmm(read, old).square().sum(dim=(1, 2))
    return _root_of_mean(change / size)


def _root_of_mean(squares: Tensor) -> Estimate:
    if not bool(torch.isfinite(squares).all()):
        return Estimate(math.inf, math.inf, len(squares))
    return Estimate.of_power_mean(squares.sqrt().cpu(), 2)
