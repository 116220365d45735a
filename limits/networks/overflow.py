"""Finding the layer at which a network overflowed."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limits.exceptions import NonFiniteStateError
from limits.paths import WeightPath, WeightSample
from limits.scaling import regime
from limits.trajectory import Trajectory

if TYPE_CHECKING:
    from limits.networks.resnet import ResNet

__all__ = ["check_finite"]


def check_finite(net: "ResNet", out: Trajectory, states: Tensor, sample: WeightSample) -> None:
    """Raise `NonFiniteStateError` with the layer, if a terminal state is not finite.

    The layer is found by a second pass over the first chunk that overflowed, so that networks
    that do not overflow pay nothing. A lazy draw that remembers nothing has no second pass.
    """
    bad = ~torch.isfinite(out.terminal).all(dim=-1).all(dim=-1)
    if not bool(bad.any()):
        return
    if sample.serves_once:
        raise NonFiniteStateError(_message(net, sample, "by the last layer", int(bad.sum())))
    first, count = next((f, c) for f, c in sample.chunks() if bool(bad[f : f + c].any()))
    stepper = net.stepper(states[first : first + count], sample)
    layers = sample.layers(first_path=first, n_paths=count, inner=stepper.block.has_inner)
    for layer in layers:
        stepper.step(layer)
        if not bool(torch.isfinite(stepper.h).all()):
            raise NonFiniteStateError(
                _message(net, sample, f"at layer {layer.index}", int(bad.sum()))
            )


def _message(net: "ResNet", sample: WeightSample, where: str, count: int) -> str:
    return (
        f"hidden state overflowed {where} of {sample.depth} in {count} of {sample.n_paths} paths "
        f"({_regime_note(net, sample.path)}). Expected below the critical exponent; pass "
        'nonfinite="keep" to record it.'
    )


def _regime_note(net: "ResNet", path: WeightPath) -> str:
    betas = torch.as_tensor(net.exponent(path), dtype=torch.float64)
    low, critical = float(betas.min()), path.critical_beta
    if betas.ndim:
        return f"smallest beta={low:g}, critical {critical:g}"
    return f"regime: {regime(low, path.index)}, beta={low:g}, critical {critical:g}"
