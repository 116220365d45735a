"""One tanh example with frozen embeddings, and how far trained networks are from its limit."""

import torch

import limits

CITATION = (
    "Chaintron, Chizat, Maass: ResNets of all shapes and sizes: convergence of training "
    "dynamics in the large-scale limit. arXiv:2603.18168 (2026)."
)

INPUT = torch.tensor([[1.5]], dtype=torch.float64)
TARGET = torch.tensor([[1.0]], dtype=torch.float64)


def limit_of(steps: int, seed: int) -> limits.LimitDescent:
    """Return the limit L, M, D -> infinity."""
    solver = limits.LargeWidthLimit("tanh", particles=2**14, nodes=12)
    return solver.descend(INPUT, TARGET, steps=steps, seed=seed)


def train(
    net: limits.MeanFieldResNet,
    *,
    steps: int,
    n_paths: int,
    seed: int,
) -> tuple[torch.Tensor, torch.Tensor, limits.MeanFieldWeights]:
    """Return outputs of all steps, hidden states after the last, and the initial weights."""
    weights = net.sample(n_paths=n_paths, seed=seed)
    out = net.descend(INPUT, TARGET, weights, steps=steps, keep=range(steps + 1), in_place=True)
    return out.outputs[..., 0, 0], net(INPUT, out.weights).terminal[:, 0], weights


def bias_of(errors: torch.Tensor) -> limits.Estimate:
    """Return the size of what all networks' signed errors share."""
    n = len(errors)
    return limits.Estimate(abs(float(errors.mean())), float(errors.std()) / n**0.5, n)


def root_of(squares: torch.Tensor) -> limits.Estimate:
    """Return the root of a mean with its standard error."""
    mean, n = float(squares.mean()), len(squares)
    root = max(mean, 0.0) ** 0.5
    return limits.Estimate(root, float(squares.std()) / n**0.5 / max(2 * root, 1e-12), n)


def embedding_error(
    weights: limits.MeanFieldWeights, limit: limits.LimitDescent, *, seed: int
) -> limits.Estimate:
    """Return the error of Gaussian embeddings alone: L and M infinite, D as it is."""
    steps = len(limit.outputs) - 1
    solver = limits.LargeWidthLimit("tanh", particles=512, replicates=2, nodes=7)
    squares = []
    for columns in torch.cat((weights.embedding, weights.readout.mT), dim=1):
        gram = columns @ columns.mT / columns.shape[1]
        values, vectors = torch.linalg.eigh(gram)
        root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
        at_dimension = solver.descend(INPUT, TARGET, steps=steps, seed=seed, gram=gram)
        gap = at_dimension.states[-1, -1, 0] - root @ limit.states[-1, -1, 0]
        squares.append(gap.square().sum())
    return root_of(torch.stack(squares))
