"""One tanh example with frozen embeddings, and how far trained networks are from its limit."""

import numpy as np
import torch
import xarray as xr

import limits
from limits.experiments.chizat2025._judging import CERTAIN, student_quantile

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
    """Return the error of Gaussian embeddings alone: L and M infinite, D as it is.

    To first order it is linear in the Gram matrix of the embeddings, whose moments are known:
    the mean square of the linear part is exact, and draws say by what factor it is off.
    """
    width = weights.embedding.shape[-1]
    around = _slopes(limit, seed)
    columns = torch.cat((weights.embedding, weights.readout.mT), dim=1)
    grams = columns @ columns.mT / width
    gaps = torch.stack([_gap(gram, limit, seed) for gram in grams]) - _gap(_ORTHOGONAL, limit, seed)
    excess = (grams - _ORTHOGONAL)[:, (0, 1, 0), (0, 1, 1)]
    linear = (excess @ around).square().sum(dim=1)
    exact = float((around.square().sum(dim=1) * torch.tensor([2.0, 2.0, 1.0])).sum()) / width
    squares = gaps.square().sum(dim=1)
    factor = float(squares.mean() / linear.mean())
    root, n = (factor * exact) ** 0.5, len(squares)
    noise = float((squares - factor * linear).std() / linear.mean()) / n**0.5
    return limits.Estimate(root, noise / factor / 2 * root, n)


_ORTHOGONAL = torch.eye(2, dtype=torch.float64)


def _gap(gram: torch.Tensor, limit: limits.LimitDescent, seed: int) -> torch.Tensor:
    """Return the state's error at one Gram matrix; of one seed the solver's own error is shared."""
    solver = limits.LargeWidthLimit("tanh", particles=512, replicates=2, nodes=7)
    values, vectors = torch.linalg.eigh(gram)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    steps = len(limit.outputs) - 1
    found = solver.descend(INPUT, TARGET, steps=steps, seed=seed, gram=gram)
    return found.states[-1, -1, 0] - root @ limit.states[-1, -1, 0]


def _slopes(limit: limits.LimitDescent, seed: int) -> torch.Tensor:
    """Return the gap's derivatives in the entries (0, 0), (1, 1) and both (0, 1) of the Gram."""
    slopes, size = [], 0.02
    for a, b in ((0, 0), (1, 1), (0, 1)):
        turned = torch.zeros(2, 2, dtype=torch.float64)
        turned[a, b] = turned[b, a] = size
        ends = [_gap(_ORTHOGONAL + sign * turned, limit, seed) for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / (2 * size))
    return torch.stack(slopes)


def of_extrapolated(dataset: xr.Dataset, limit: np.ndarray) -> limits.Verdict:
    """Judge the mean of the example's networks, the bias 1/L of depth taken out by half of it."""
    nets = dataset.sel(scan="outputs")["output"].transpose("net_depth", "step", "net").to_numpy()
    n = nets.shape[-1]
    shallow, deep = nets[:, 1:].mean(axis=-1)
    noise = nets[:, 1:].std(axis=-1, ddof=1) / n**0.5
    errors = np.hypot(noise[0], 2 * noise[1])
    distances = np.abs(2 * deep - shallow - limit[1:]) / errors
    allowed = student_quantile(n, CERTAIN, len(distances))
    share = (errors / np.abs(limit[1:])).max()
    depths = dataset["net_depth"].to_numpy()
    return limits.Verdict(
        f"networks with orthogonal embeddings scatter around it (L = {depths[0]} and {depths[1]} "
        "extrapolated)",
        f"mean of all steps within {allowed:.1f} standard errors (99.9 %), these below 1 % of it",
        f"at most {distances.max():.1f} of up to {share:.2%}, {n} networks",
        bool(distances.max() <= allowed and share < 0.01),
        decided=bool(share < 0.01 or distances.max() > allowed),
    )


def at_two_depths(
    width: int, hidden_width: int, depth: int, *, n_nets: int, steps: int, seed: int
) -> torch.Tensor:
    """Return outputs of the example at half the depth and at all of it, ``(depth, step, net)``."""
    outputs = []
    for number, layers in enumerate((depth // 2, depth)):
        net = limits.MeanFieldResNet(
            width, hidden_width, depth=layers, features=1, outputs=1, embeddings="orthogonal"
        )
        # Of one seed the shallow networks would have the deep ones' weights.
        outputs.append(train(net, steps=steps, n_paths=n_nets, seed=seed + number)[0])
    return torch.stack(outputs)
