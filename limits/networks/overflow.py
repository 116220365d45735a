"""Finding the layer at which a network overflowed."""

from collections.abc import Callable

import torch
from torch import Tensor

from limits.exceptions import NonFiniteStateError
from limits.networks.propagate import Stepper
from limits.paths import WeightSample
from limits.scaling import regime
from limits.trajectory import Trajectory

__all__ = ["check_overflow"]


def check_overflow(
    out: Trajectory,
    sample: WeightSample,
    start: Callable[[int, int], Stepper],
    beta: float | Tensor,
) -> None:
    """Raise `NonFiniteStateError` with the layer, if a terminal state is not finite.

    The layer is found by a second pass over the first chunk that overflowed, so that networks
    that do not overflow pay nothing. A lazy draw that remembers nothing has no second pass.

    Parameters
    ----------
    out : Trajectory
        What the network made of the sample.
    sample : WeightSample
        The weights.
    start : callable
        ``start(first, count)`` returns a range of the paths before the first layer.
    beta : float or Tensor
        The exponent, for the message.
    """
    bad = ~torch.isfinite(out.terminal).all(dim=-1).all(dim=-1)
    if not bool(bad.any()):
        return
    if sample.serves_once:
        where = "by the last layer"
    else:
        first, count = next((f, c) for f, c in sample.chunks() if bool(bad[f : f + c].any()))
        where = _where(start(first, count), sample, first, count)
    raise NonFiniteStateError(
        f"hidden state overflowed {where} of {sample.depth} in {int(bad.sum())} of "
        f"{sample.n_paths} paths ({_regime_note(beta, sample)}). Expected below the critical "
        'exponent; pass nonfinite="keep" to record it.'
    )


def _where(stepper: Stepper, sample: WeightSample, first: int, count: int) -> str:
    inner = stepper.block.has_inner
    for layer in sample.layers(first_path=first, n_paths=count, inner=inner):
        stepper.step(layer)
        if not bool(torch.isfinite(stepper.h).all()):
            return f"at layer {layer.index}"
    return "by the last layer"


def _regime_note(beta: float | Tensor, sample: WeightSample) -> str:
    betas = torch.as_tensor(beta, dtype=torch.float64, device="cpu")
    low, critical = float(betas.min()), sample.path.critical_beta
    if betas.ndim:
        return f"smallest beta={low:g}, critical {critical:g}"
    return f"regime: {regime(low, sample.path.index)}, beta={low:g}, critical {critical:g}"
