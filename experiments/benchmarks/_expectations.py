"""Contests about infinite-depth expectations: multilevel against plain Monte Carlo."""

import math

import torch

import limits
from limits.experiments.benchmarks._contest import Contest

__all__ = ["multilevel"]

_PILOT = 4096
_MOST_PATHS = 20_000
_BIAS_SHARE = 1 / 3


def multilevel(width: int, tolerance: float) -> Contest:
    """Compare with plain Monte Carlo of the same error, at its own best depth.

    Plain Monte Carlo is told for nothing what it could not know: how its bias and variance
    depend on depth. Its standard error is two thirds of the tolerance and its bias one third,
    the split of least cost. Of its many paths a part is timed.
    """
    net, path = limits.ResNet("relu"), limits.BrownianPath(width)
    h0 = torch.full((1, width), 1 / math.sqrt(width), dtype=torch.float64)
    limit = limits.depth_limit(net, path, form="law")

    def ours() -> limits.InfiniteDepthExpectation:
        return limits.infinite_depth_expectation(
            net, path, norm, h0=h0, tolerance=tolerance, seed=0
        )

    estimate = ours()
    first = estimate.levels[0]
    bias_at_one = abs(first.mean - estimate.value) * first.depth
    depth = max(1, math.ceil(bias_at_one / (_BIAS_SHARE * tolerance)))
    variance = float(norm(_plain(limit, h0, min(depth, 64), _PILOT)).var())
    n_paths = math.ceil(variance / ((1 - _BIAS_SHARE) * tolerance) ** 2)
    timed = min(n_paths, _MOST_PATHS)

    def peer() -> torch.Tensor:
        return norm(_plain(limit, h0, depth, timed)).mean()

    return Contest(ours, peer, share=timed / n_paths, normals=estimate.evaluations * width / 2)


def norm(h: torch.Tensor) -> torch.Tensor:
    """Return |h|."""
    return h.norm(dim=-1)


def _plain(limit: limits.DepthLimit, h0: torch.Tensor, depth: int, n_paths: int) -> torch.Tensor:
    noise = limit.sample(depth=depth, n_paths=n_paths, seed=1)
    return limits.EulerMaruyama().solve(limit, h0, noise).terminal
