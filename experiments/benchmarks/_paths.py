"""Contests about weights: drawing, reading, lazily answering, and correlated across layers."""

import cmath
import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import limits
from limits.experiments.benchmarks._contest import Contest

__all__ = [
    "dense_forward",
    "dense_loop",
    "fractional",
    "fractional_draw",
    "gradients",
    "normals",
    "study",
    "wide_layer",
]

_PATHS = 50
_FRACTIONAL_PATHS = 3200
_PLAIN_PATHS = 8
_HURST = 0.7


def normals(width: int, depth: int) -> Contest:
    """Compare drawing on all threads, some paths each, with one ``normal_`` call."""
    size, n_paths = depth * width, 128
    stream = limits.Stream(0, "benchmark")
    pool = ThreadPoolExecutor(torch.get_num_threads())

    def ours() -> list[torch.Tensor]:
        return list(pool.map(lambda first: stream.normals(first, 16, size), range(0, n_paths, 16)))

    def peer() -> torch.Tensor:
        return torch.empty(n_paths, size).normal_()

    return Contest(ours, peer, normals=n_paths * size)


def dense_forward(width: int, depth: int) -> Contest:
    """Compare a forward pass with fresh weights with drawing as many normals and nothing else."""
    net, path = limits.ResNet("relu"), limits.BrownianPath(width)
    h0 = torch.ones(1, width)
    block = torch.empty(_PATHS, 8, width, width)

    def ours() -> limits.Trajectory:
        return net(h0, path.sample(depth=depth, n_paths=_PATHS, seed=0, dtype=torch.float32))

    def peer() -> None:
        for _ in range(depth // 8):
            block.normal_()

    entries = _PATHS * depth * width**2
    return Contest(ours, peer, normals=entries, products=2 * entries)


def dense_loop(width: int, depth: int) -> Contest:
    """Compare the same forward pass with a plain loop: `randn`, and one product a layer."""
    contest = dense_forward(width, depth)
    start, scale = torch.ones(_PATHS, 1, width), (width * depth) ** -0.5

    def peer() -> torch.Tensor:
        h = start
        for _ in range(depth):
            h = torch.baddbmm(h, h.relu(), torch.randn(_PATHS, width, width), alpha=scale)
        return h

    return Contest(contest.ours, peer, normals=contest.normals, products=contest.products)


def study(width: int, depths: tuple[int, ...], n_paths: int) -> Contest:
    """Compare a study of coupled depths with a loop that adds up the deepest one's increments."""
    net, path = limits.ResNet("tanh"), limits.BrownianPath(width)
    deepest, spans = depths[-1], [depths[-1] // depth for depth in depths]
    h0 = torch.ones(1, width, dtype=torch.float64)

    def ours() -> limits.ConvergenceStudy:
        return limits.convergence_study(
            net, path, depths=depths[:-1], reference=deepest, n_paths=n_paths, seed=0, h0=h0
        )

    def peer() -> list[torch.Tensor]:
        states = [torch.ones(n_paths, 1, width) for _ in spans]
        sums = [torch.zeros(n_paths, width, width) for _ in spans]
        for layer in range(1, deepest + 1):
            # Increments of the longest span are sums of those of the next, and so on.
            sums[-1].normal_()
            for place in reversed(range(len(spans))):
                if layer % spans[place]:
                    break
                h = states[place]
                scale = (width * deepest) ** -0.5
                states[place] = torch.baddbmm(h, h.tanh(), sums[place], alpha=scale)
                if place:
                    sums[place - 1] += sums[place]
                # The last sum is drawn anew.
                if place < len(spans) - 1:
                    sums[place].zero_()
        return states

    drawn = n_paths * deepest * width**2
    return Contest(ours, peer, normals=drawn)


def wide_layer(width: int, layers: int) -> Contest:
    """Compare a forward pass of a wide res-1 network, lazy and dense, four paths."""
    net, path = limits.ResNet("relu"), limits.BrownianPath(width)
    h0 = torch.ones(1, width)

    def run(*, lazy: bool) -> Callable[[], limits.Trajectory]:
        return lambda: net(
            h0, path.sample(depth=layers, n_paths=4, seed=0, dtype=torch.float32, lazy=lazy)
        )

    return Contest(run(lazy=True), run(lazy=False), normals=4 * layers * width)


def gradients(width: int, depth: int) -> Contest:
    """Compare forward and backward of res-3 with a loop of ``nn.Linear`` and autograd."""
    net, path = limits.ResNet("relu", block="res-3"), limits.BrownianPath(width)
    h0 = torch.ones(1, width)
    share = 1 / _PATHS

    def ours() -> limits.Trajectory:
        sample = path.sample(depth=depth, n_paths=_PATHS, seed=0, dtype=torch.float32, lazy=True)
        out = net(h0, sample, keep="all")
        return net.backward(out, sample, out.terminal, keep="terminal")

    def peer() -> torch.Tensor:
        h = h0.clone().requires_grad_()
        out, scale = h, depth**-0.5
        for _ in range(depth):
            inner, outer = (torch.nn.Linear(width, width, bias=False) for _ in range(2))
            for each in (inner, outer):
                torch.nn.init.normal_(each.weight, std=width**-0.5)
            out = out + scale * outer(torch.relu(inner(out)))
        out.square().sum().backward()
        return h

    return Contest(ours, peer, share=share, normals=_PATHS * depth * 4 * width)


def fractional(length: int) -> Contest:
    """Compare fractional noise with a Davies-Harte generator written entry by entry."""
    path = limits.FractionalPath(1, hurst=_HURST)

    def ours() -> torch.Tensor:
        return path.sample(depth=length, n_paths=_FRACTIONAL_PATHS, seed=0).increments

    def peer() -> list[list[float]]:
        return [_davies_harte(length) for _ in range(_PLAIN_PATHS)]

    drawn = 2 * length * _FRACTIONAL_PATHS
    return Contest(ours, peer, share=_PLAIN_PATHS / _FRACTIONAL_PATHS, normals=drawn)


def fractional_draw(length: int) -> Contest:
    """Compare fractional noise with drawing its normals and nothing else."""
    buffer = torch.empty(_FRACTIONAL_PATHS, 2 * length)
    contest = fractional(length)
    return Contest(contest.ours, buffer.normal_, normals=contest.normals)


def _covariance(lag: int) -> float:
    power = 2 * _HURST
    return ((lag + 1) ** power - 2 * lag**power + abs(lag - 1) ** power) / 2


def _davies_harte(length: int) -> list[float]:
    """Return one path of fractional noise by circulant embedding, one Python number at a time."""
    row = [_covariance(lag) for lag in range(length + 1)]
    circulant = row + row[-2:0:-1]
    size = len(circulant)
    eigenvalues = np.fft.fft(circulant)
    spectrum: list[complex] = [0j] * size
    for k in range(length + 1):
        root = cmath.sqrt(eigenvalues[k].real / size)
        if k in (0, length):
            spectrum[k] = root * random.gauss(0, 1)
        else:
            spectrum[k] = root * complex(random.gauss(0, 1), random.gauss(0, 1)) / math.sqrt(2)
            spectrum[size - k] = spectrum[k].conjugate()
    return [value.real for value in np.fft.fft(spectrum)[:length]]
