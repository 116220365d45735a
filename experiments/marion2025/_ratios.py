"""How far hidden states and gradients move between the two ends of a network, on log scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import limits

CITATION = (
    "Marion, Fermanian, Biau, Vert: Scaling ResNets in the large-depth regime. "
    "Journal of Machine Learning Research 26 (2025), arXiv:2206.06929."
)
FEATURES = 64
"""Numbers in an input, uniform on [0, 1]."""
_FAR = 20.0


@dataclass(frozen=True)
class Ratios:
    """Natural logarithms, shape ``(path, input)``, float64.

    Parameters
    ----------
    change : Tensor
        log(|h_L - h_0| / |h_0|), or log(|p_0 - p_L| / |p_L|) of gradients.
    growth : Tensor
        log(|h_L| / |h_0|), or log(|p_0| / |p_L|).
    """

    change: Tensor
    growth: Tensor


def ratios(start: Tensor, end: Tensor, log_start: Tensor, log_end: Tensor) -> Ratios:
    """Compare two vectors that the library's log norms describe even where `end` overflowed.

    Where the end is e^20 times as long as the start, the log of the difference equals that of
    the end within e^-20, whatever the directions; elsewhere both vectors are finite.
    """
    growth = log_end.double() - log_start.double()
    gap = torch.where((growth > _FAR).unsqueeze(-1), start, end).double() - start.double()
    near = gap.norm(dim=-1).log() - log_start.double()
    return Ratios(torch.where(growth > _FAR, growth, near), growth)


def hidden_ratios(out: limits.Trajectory) -> Ratios:
    """Compare h_L with h_0."""
    return ratios(out.values[0], out.values[-1], out.log_norms[0], out.log_norms[-1])


def gradient_ratios(p: limits.Trajectory) -> Ratios:
    """Compare p_0 with p_L."""
    return ratios(p.values[-1], p.values[0], p.log_norms[-1], p.log_norms[0])


def inputs(width: int, *, n_inputs: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Return h_0 = A x for inputs x uniform on [0, 1]^64, shape ``(input, width)``."""
    x = limits.Stream(seed, "inputs").uniforms(0, n_inputs, FEATURES)
    return limits.embed(x, width=width, seed=seed, dtype=dtype)


def readouts(width: int, *, n_paths: int, seed: int, dtype: torch.dtype) -> Tensor:
    """Return B^T for a network with one output, shape ``(path, 1, width)``.

    The gradient of |B h_L - y|^2 at h_L is 2 (B h_L - y) B^T, and ratios of gradients do not
    depend on the number in front.
    """
    return limits.Stream(seed, "readout").normals(0, n_paths, width).to(dtype).unsqueeze(1)


def measured(
    path: limits.WeightPath,
    *,
    depth: int,
    betas: Sequence[float],
    n_draws: int,
    seed: int,
    gradient: bool,
    dtype: torch.dtype = torch.float32,
    part: int = 64,
    progress: limits.Progress | None = None,
) -> tuple[Ratios, Ratios | None]:
    """Propagate one input per draw through res-3, with every exponent on the same weights.

    Returns
    -------
    tuple of Ratios
        Of hidden states and, if asked for, of gradients; shape ``(draw, beta)``.
    """
    h0 = inputs(path.width, n_inputs=n_draws, seed=seed, dtype=dtype).unsqueeze(1)
    cotangents = readouts(path.width, n_paths=n_draws, seed=seed, dtype=dtype)
    lazy = isinstance(path, limits.BrownianPath)
    # Exponents that share a lazy matrix make it answer more questions, which costs more than
    # another draw; a dense one is made once for all.
    groups = [(beta,) for beta in betas] if lazy else [tuple(betas)]
    hidden, gradients = [], []
    for first in range(0, n_draws, part):
        chosen = slice(first, min(first + part, n_draws))
        found = []
        for number, group in enumerate(groups):
            net = limits.ResNet("relu", block="res-3", beta=torch.tensor(group).double())
            # Every part is a draw of its own, so that what it holds is freed.
            sample = path.sample(
                depth=depth,
                n_paths=len(h0[chosen]),
                seed=(seed * len(groups) + number) * n_draws + first,
                dtype=dtype,
                lazy=lazy,
            )
            states = h0[chosen].expand(-1, len(group), -1)
            cotangent = cotangents[chosen].expand_as(states) if gradient else None
            found.append(_both_ends(net, sample, states, cotangent))
        hidden.append(joined([each[0] for each in found], dim=1))
        gradients += [joined([each[1] for each in found], dim=1)] if gradient else []
        if progress is not None:
            progress(chosen.stop, n_draws, "draws")
    return joined(hidden), joined(gradients) if gradient else None


def _both_ends(
    net: limits.ResNet, sample: limits.WeightSample, states: Tensor, cotangent: Tensor | None
) -> tuple[Ratios, Any]:
    out = net(states, sample, keep="terminal" if cotangent is None else "all")
    if cotangent is None:
        return hidden_ratios(out), None
    p = net.backward(out, sample, cotangent, keep="terminal")
    return hidden_ratios(out), gradient_ratios(p)


def joined(parts: Sequence[Ratios], *, dim: int = 0) -> Ratios:
    """Glue the ratios of consecutive draws, or of several exponents."""
    return Ratios(
        torch.cat([part.change for part in parts], dim),
        torch.cat([part.growth for part in parts], dim),
    )
