"""Contests about SDE limits: Euler-Maruyama here, in torchsde and in diffrax."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torchsde

import limits
from limits.experiments.benchmarks._contest import Contest, seconds_of

__all__ = [
    "HAS_DIFFRAX",
    "Isotropic",
    "best_peer",
    "captured_loop",
    "diffrax_tree",
    "diffrax_unsafe",
    "jax_scan",
    "matrix",
    "normals_alone",
    "own_noise",
    "plain",
]

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


@dataclass(frozen=True)
class Isotropic:
    """The isotropic limit of a relu network, and where it is solved."""

    width: int
    depth: int
    n_paths: int
    device: str = "cpu"

    @property
    def limit(self) -> limits.DepthLimit:
        net, path = limits.ResNet("relu"), limits.BrownianPath(self.width)
        return limits.depth_limit(net, path, form="law")

    @property
    def h0(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, self.width, generator=generator).to(self.device)

    def noise(self) -> limits.NoiseSample:
        return self.limit.sample(
            depth=self.depth,
            n_paths=self.n_paths,
            seed=0,
            dtype=torch.float32,
            device=self.device,
        )

    def ours(self) -> limits.Trajectory:
        return limits.EulerMaruyama().solve(self.limit, self.h0, self.noise())

    def against(self, peer: Callable[[], object]) -> Contest:
        return Contest(self.ours, peer, normals=self.n_paths * self.depth * self.width)


def plain(problem: Isotropic) -> Contest:
    """Compare with torchsde and its default Brownian motion."""
    h0 = problem.h0

    def peer() -> torch.Tensor:
        y0 = h0.expand(problem.n_paths, -1)
        ts = torch.tensor([0.0, 1.0], device=problem.device)
        return torchsde.sdeint(NormSDE(), y0, ts, dt=1 / problem.depth, method="euler")

    return problem.against(peer)


def own_noise(problem: Isotropic) -> Contest:
    """Compare with torchsde on the noise of this library."""
    solver = limits.TorchSDE(method="euler")
    return problem.against(lambda: solver.solve(problem.limit, problem.h0, problem.noise()))


def normals_alone(problem: Isotropic) -> Contest:
    """Compare with drawing the same normals into memory that is used again, on as many threads.

    A call draws enough to hide what it costs to call.
    """
    stream, layers = limits.Stream(0, "alone"), 128
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads)
    share = -(-problem.n_paths // threads)

    def draw(first: int) -> None:
        paths = min(share, problem.n_paths - first)
        memory = torch.empty(layers, 64, problem.width)
        for path in range(first, first + paths, 64):
            count = min(64, first + paths - path)
            for layer in range(0, problem.depth, layers):
                drawn = memory[: min(layers, problem.depth - layer), :count]
                stream.normals(path, count, problem.width, layer, n_layers=len(drawn), out=drawn)

    return problem.against(lambda: list(pool.map(draw, range(0, problem.n_paths, share))))


def best_peer(problem: Isotropic) -> Contest:
    """Compare with the fastest of a torch loop and, where installed, jax and diffrax."""
    peers = [_loop(problem)]
    if HAS_DIFFRAX:
        peers += [_scan(problem), _diffrax(problem, tree=False)]
    for peer in peers:
        peer()
    return problem.against(min(peers, key=seconds_of))


def captured_loop(problem: Isotropic) -> Contest:
    """Compare with a CUDA graph of the torch loop."""
    loop, graph, side = _loop(problem), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(side):
        loop()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        loop()
    return problem.against(graph.replay)


def jax_scan(problem: Isotropic) -> Contest:
    """Compare with a compiled scan in jax."""
    return problem.against(_scan(problem))


def diffrax_tree(problem: Isotropic) -> Contest:
    """Compare with diffrax and its virtual Brownian tree, compiled beforehand."""
    return problem.against(_diffrax(problem, tree=True))


def diffrax_unsafe(problem: Isotropic) -> Contest:
    """Compare with diffrax and independent increments, compiled beforehand."""
    return problem.against(_diffrax(problem, tree=False))


def _loop(problem: Isotropic) -> Callable[[], object]:
    start = problem.h0.expand(problem.n_paths, -1)
    scale = (problem.width * problem.depth) ** -0.5

    def loop() -> torch.Tensor:
        h = start
        for _ in range(problem.depth):
            h = h + h.relu().norm(dim=-1, keepdim=True) * scale * torch.randn_like(start)
        return h

    return loop


def _scan(problem: Isotropic) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    scale = (problem.width * problem.depth) ** -0.5

    def step(h: Any, key: Any) -> Any:
        size = jnp.linalg.norm(jax.nn.relu(h), axis=-1, keepdims=True) * scale
        return h + size * jax.random.normal(key, h.shape), None

    solve = jax.jit(lambda keys, y0: jax.lax.scan(step, y0, keys)[0])
    y0 = jnp.asarray(problem.h0.cpu().expand(problem.n_paths, -1).numpy())
    return lambda: solve(jax.random.split(jax.random.key(0), problem.depth), y0).block_until_ready()


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


def _diffrax(problem: Isotropic, *, tree: bool) -> Callable[[], Any]:
    # Errors that are looked for at every step cost more than the step.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    import diffrax
    import jax
    import jax.numpy as jnp
    import lineax

    width, depth = problem.width, problem.depth

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
        solution = diffrax.diffeqsolve(
            terms,
            diffrax.Euler(),
            0.0,
            1.0,
            None,
            y0,
            stepsize_controller=diffrax.StepTo(ts=jnp.linspace(0.0, 1.0, depth + 1)),
            max_steps=depth + 1,
            adjoint=diffrax.DirectAdjoint(),
        )
        return solution.ys[-1]

    batched = jax.jit(jax.vmap(solve))
    y0 = jnp.asarray(problem.h0.cpu().expand(problem.n_paths, -1).numpy())

    def peer() -> Any:
        return batched(jax.random.split(jax.random.key(0), problem.n_paths), y0).block_until_ready()

    return peer
