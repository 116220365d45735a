"""One neuron that starts alike in several layers, and small networks beside a large one."""

from collections.abc import Sequence

import torch

import limits


def start_alike(
    weights: limits.MeanFieldWeights, layers: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start the first neuron of these layers at one place, and return it.

    One neuron among M, in a tenth of the layers: outputs move by a tenth of a single neuron.
    """
    u, v = weights.u[0, 0, :, 0].clone(), weights.v[0, 0, :, 0].clone()
    weights.u[layers, :, :, 0], weights.v[layers, :, :, 0] = u, v
    return u, v


def followed(
    solution: limits.MeanODESolution,
    start: tuple[torch.Tensor, torch.Tensor],
    layers: Sequence[int],
    depth: int,
) -> torch.Tensor:
    """Return where the limit takes u of that place at these layers, ``(step, layer, width)``."""
    times = (torch.tensor(layers, dtype=torch.float64) + 0.5) / depth
    u, v = (each.expand(len(layers), -1) for each in start)
    return solution.transport(u, v, times)[:, :, 0]


def small_distances(
    net: limits.MeanFieldResNet,
    n_paths: int,
    x: torch.Tensor,
    y: torch.Tensor,
    start: tuple[torch.Tensor, torch.Tensor],
    solution: limits.MeanODESolution,
    *,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return distances of small networks' outputs, and of one neuron in each, to the limit's."""
    weights = net.sample(n_paths=n_paths, seed=seed)
    layer = net.depth // 2
    weights.u[layer, :, :, 0], weights.v[layer, :, :, 0] = start
    out = net.descend(
        x,
        y,
        weights,
        steps=len(solution.losses) - 1,
        keep=solution.steps,
        track=[layer],
        in_place=True,
    )
    gaps = (out.outputs - solution.outputs.unsqueeze(1)).square().mean(dim=(2, 3)).sqrt()
    particle = followed(solution, start, [layer], net.depth)
    apart = out.tracked[:, 0, :, 0] - particle
    return gaps, apart.square().mean(dim=(0, 2)).sqrt()
