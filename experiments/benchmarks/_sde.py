"""Contests about SDE limits: Euler-Maruyama here, in torchsde and in diffrax."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torchsde

import limits
from limits.experiments.benchmarks._contest import Contest

__all__ = ["HAS_DIFFRAX", "diffrax_tree", "diffrax_unsafe", "matrix", "own_noise", "plain"]

HAS_DIFFRAX = find_spec("diffrax") is not None and find_spec("jax") is not None
_MATRIX_PATHS = 50


class NormSDE(torch.nn.Module):
    """dH = |relu(H)| / sqrt(d) dB as a user of torchsde writes it."""

    noise_type = "diagonal"
    sde_type = "ito"

    def f(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(y)

    def g(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        size = y.relu().norm(dim=-1, keepdim=True) / math.sqrt(y.shape[-1])
        return size.expand_as(y)


class MatrixSDE(torch.nn.Module):
    """dH = dX relu(H) with general noise, as a user of torchsde writes it."""

    noise_type = "general"
    sde_type = "ito"

    def f(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(y)

    def g(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        width = y.shape[-1]
        rows = torch.eye(width, dtype=y.dtype).unsqueeze(-1) / math.sqrt(width)
        return (rows * y.relu()[:, None, None, :]).flatten(2)


def _problem(width: int) -> tuple[limits.DepthLimit, torch.Tensor]:
    net, path = limits.ResNet("relu"), limits.BrownianPath(width)
    h0 = torch.randn(1, width, generator=torch.Generator().manual_seed(0))
    return limits.depth_limit(net, path, form="law"), h0


def _ours(width: int, depth: int, n_paths: int) -> Callable[[], object]:
    limit, h0 = _problem(width)

    def solve() -> limits.Trajectory:
        noise = limit.sample(depth=depth, n_paths=n_paths, seed=0, dtype=torch.float32)
        return limits.EulerMaruyama().solve(limit, h0, noise)

    return solve


def _contest(width: int, depth: int, n_paths: int, peer: Callable[[], object]) -> Contest:
    return Contest(_ours(width, depth, n_paths), peer, normals=n_paths * depth * width)


def plain(width: int, depth: int, n_paths: int) -> Contest:
    """Compare with torchsde and its default Brownian motion."""
    _, h0 = _problem(width)

    def peer() -> torch.Tensor:
        y0, ts = h0.expand(n_paths, -1), torch.tensor([0.0, 1.0])
        return torchsde.sdeint(NormSDE(), y0, ts, dt=1 / depth, method="euler")

    return _contest(width, depth, n_paths, peer)


def own_noise(width: int, depth: int, n_paths: int) -> Contest:
    """Compare with torchsde on the noise of this library."""
    limit, h0 = _problem(width)

    def peer() -> limits.Trajectory:
        noise = limit.sample(depth=depth, n_paths=n_paths, seed=0, dtype=torch.float32)
        return limits.TorchSDE(method="euler").solve(limit, h0, noise)

    return _contest(width, depth, n_paths, peer)


def matrix(width: int, depth: int) -> Contest:
    """Compare the matrix-driven form with torchsde's general noise."""
    net, path = limits.ResNet("relu"), limits.BrownianPath(width)
    h0 = torch.randn(1, width, generator=torch.Generator().manual_seed(0))
    limit = limits.depth_limit(net, path)

    def ours() -> limits.Trajectory:
        sample = path.sample(depth=depth, n_paths=_MATRIX_PATHS, seed=0, dtype=torch.float32)
        return limits.EulerMaruyama().solve(limit, h0, sample)

    def peer() -> torch.Tensor:
        y0, ts = h0.expand(_MATRIX_PATHS, -1), torch.tensor([0.0, 1.0])
        return torchsde.sdeint(MatrixSDE(), y0, ts, dt=1 / depth, method="euler")

    entries = _MATRIX_PATHS * depth * width**2
    return Contest(ours, peer, normals=entries, products=2 * entries)


def diffrax_tree(width: int, depth: int, n_paths: int) -> Contest:
    """Compare with diffrax and its virtual Brownian tree, compiled beforehand."""
    return _contest(width, depth, n_paths, _diffrax(width, depth, n_paths, tree=True))


def diffrax_unsafe(width: int, depth: int, n_paths: int) -> Contest:
    """Compare with diffrax and independent increments, compiled beforehand."""
    return _contest(width, depth, n_paths, _diffrax(width, depth, n_paths, tree=False))


def _diffrax(width: int, depth: int, n_paths: int, *, tree: bool) -> Callable[[], Any]:
    import diffrax
    import jax
    import jax.numpy as jnp
    import lineax

    def drift(t: Any, y: Any, args: Any) -> Any:
        return jnp.zeros_like(y)

    def diffusion(t: Any, y: Any, args: Any) -> Any:
        size = jnp.linalg.norm(jax.nn.relu(y)) / math.sqrt(width)
        return lineax.DiagonalLinearOperator(jnp.full(width, size))

    def solve(key: Any, y0: Any) -> Any:
        if tree:
            motion = diffrax.VirtualBrownianTree(0.0, 1.0, 0.5 / depth, (width,), key)
        else:
            motion = diffrax.UnsafeBrownianPath((width,), key)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, motion))
        adjoint = diffrax.DirectAdjoint()
        solution = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, 1.0, 1 / depth, y0, max_steps=depth + 1, adjoint=adjoint
        )
        return solution.ys[-1]

    batched = jax.jit(jax.vmap(solve))
    y0 = jnp.asarray(_problem(width)[1].expand(n_paths, -1).numpy())

    def peer() -> Any:
        return batched(jax.random.split(jax.random.key(0), n_paths), y0).block_until_ready()

    return peer
