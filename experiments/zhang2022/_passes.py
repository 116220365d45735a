"""One pass forward and one back through the analysed network, and what each layer should do."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import limits

QUANTITIES = ("output", "gradient")


def both_ways(
    net: limits.ResNet, sample: limits.WeightSample, h0: Tensor, readouts: Tensor
) -> xr.Dataset:
    """Measure states and gradients of networks with one output; readouts are dLoss/dh_L.

    The gradient of |B h_L - y|^2 at h_L is 2 (B h_L - y) B^T, and ratios of gradients do not
    depend on the number in front.
    """
    out = net(h0, sample, keep="all")
    tau = sample.depth ** -float(net.exponent(sample.path))
    squares, least, largest = _compensated(out, tau)
    p = net.backward(out, sample, readouts, keep="terminal")
    # The input layer is a relu as well, through which a gradient passes where h_0 > 0.
    active = (h0 > 0).float()
    ends = [_log_of_active(p.log_norms[k], p.values[k], active) for k in (0, -1)]
    pairing = [_log_pairing(p, out, k) for k in (0, -1)]
    growth = out.log_norms[-1] - out.log_norms[0]
    bound = pairing[1] - ends[1] - out.log_norms[0].double()
    logs = torch.stack([2 * growth.double(), 2 * (ends[0] - ends[1])])
    return xr.Dataset(
        {
            "log_ratio": (("quantity", "draw"), logs[:, :, 0].float().numpy()),
            "mean_square": ("draw", squares),
            "least_gradient": ("draw", 2 * bound[:, 0].float().numpy()),
            "pairing_error": ("draw", (pairing[0] - pairing[1]).abs()[:, 0].numpy()),
            "gain": (("draw", "end"), np.stack([least, largest], axis=-1)),
        },
        coords={"quantity": list(QUANTITIES), "end": ["least", "largest"]},
    )


def _log_of_active(log_norm: Tensor, vector: Tensor, active: Tensor) -> Tensor:
    """Return the log of the norm of the active entries, whatever the size of the vector."""
    share = (vector * active).double().norm(dim=-1) / vector.double().norm(dim=-1)
    return log_norm.double() + share.log()


def _log_pairing(p: limits.Trajectory, out: limits.Trajectory, k: int) -> Tensor:
    """Return log|<p_k, h_k>|, the same at every layer because layers are homogeneous."""
    units = [torch.nn.functional.normalize(each.values[k].double(), dim=-1) for each in (p, out)]
    cosine = (units[0] * units[1]).sum(dim=-1).abs()
    return cosine.log() + p.log_norms[k].double() + out.log_norms[k].double()


def _compensated(out: limits.Trajectory, tau: float) -> tuple[np.ndarray, ...]:
    """Return an unbiased estimate of E|h_L|^2/|h_0|^2 - 1, and the ends of the gain of a layer.

    E|h_L|^2 - |h_0|^2 = E sum_k |h_k|^2 (ratio_k - 1), where the ratio of a layer given its input
    is exact: what a layer adds by chance is left out of the mean. The gain (ratio - 1) / tau^2
    lies between 1/2 and 1.
    """
    squares = np.exp(2 * (out.log_norms - out.log_norms[0]).double().numpy()[:-1, :, 0])
    total = np.zeros(squares.shape[1])
    least, largest = np.full(squares.shape[1], np.inf), np.zeros(squares.shape[1])
    for start in range(0, len(squares), 1000):
        states = out.values[start : start + 1000][: len(squares) - start, :, 0].double()
        units = torch.nn.functional.normalize(states, dim=-1).numpy()
        excess = limits.closed_forms.post_relu_ratio(units, tau) - 1
        total += (squares[start : start + 1000] * excess).sum(axis=0)
        least = np.minimum(least, excess.min(axis=0) / tau**2)
        largest = np.maximum(largest, excess.max(axis=0) / tau**2)
    return total, least, largest
