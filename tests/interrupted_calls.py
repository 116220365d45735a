"""Calls that last for minutes, interrupted: ``python -m tests.interrupted_calls THREADS KIND ...``.

Each is asked for far more than a second's work. A while after it has begun the process gets
SIGINT, as from Ctrl-C; printed are the seconds until the exception arrives where the call was
made, and the number of threads that torch, and a new thread, may use then.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

import limits
from limits.training import Configuration, Recipe

F64 = torch.float64
WAIT = 1.5
TANH, RES3 = limits.ResNet("tanh"), limits.ResNet("relu", block="res-3")
SMOOTH, BROWNIAN = limits.SmoothPath(16, length_scale=0.02), limits.BrownianPath(16)
H0 = torch.ones(1, 16, dtype=F64)


def draw(path: limits.WeightPath = BROWNIAN, depth: int = 2**18, n_paths: int = 640, **more: Any):
    return path.sample(depth=depth, n_paths=n_paths, seed=0, **more)


def solved(solver: Any, net: limits.ResNet = TANH, sample: Any = None, form: str = "path") -> Any:
    sample = draw() if sample is None else sample
    return solver.solve(limits.depth_limit(net, sample.path, form=form), H0, sample)


def of_law(net: limits.ResNet, path: limits.WeightPath = BROWNIAN) -> Any:
    limit = limits.depth_limit(net, path, form="law")
    return limits.EulerMaruyama().solve(limit, H0, limit.sample(depth=2**18, n_paths=6400, seed=0))


def gradient(h0: torch.Tensor) -> Any:
    net, sample = TANH, draw(depth=2**13)
    out = net(h0, sample, keep="all")
    for _ in range(1000):
        net.backward(out, sample, torch.ones_like(out.terminal), keep="terminal")


def study(net: limits.ResNet = TANH, path: limits.WeightPath = BROWNIAN, **more: Any) -> Any:
    kw = {"depths": (8, 16, 32, 64, 128, 256), "n_paths": 10**6, "seed": 0} | more
    return limits.convergence_study(net, path, **kw)


def expectation(path: limits.WeightPath = BROWNIAN, **more: Any) -> Any:
    kw = {"h0": H0, "tolerance": 1e-6, "seed": 0, "budget": 1e15} | more
    return limits.infinite_depth_expectation(TANH, path, lambda h: h.norm(dim=-1), **kw)


def ensemble() -> Any:
    chosen = [Configuration(limits.BrownianPath(32), 1e-3, seed=seed) for seed in range(8)]
    return limits.training.train_ensemble(chosen, limits.data.digits(), depth=64, epochs=10**4)


def analysed() -> Any:
    nets = limits.training.AnalysedEnsemble(
        limits.BrownianPath(64), depth=64, n_paths=8, seed=0, features=64, outputs=10, tau=0.1
    )
    data = limits.data.unit_rows(limits.data.digits())
    return limits.training.train_analysed(nets, data, rate=0.1, batch=64, epochs=10**4, seed=0)


def squares() -> Any:
    nets = limits.training.AnalysedEnsemble(
        limits.BrownianPath(64), depth=64, n_paths=8, seed=0, features=64, outputs=10, tau=0.1
    )
    x, y = torch.eye(64), torch.eye(64)[:, :10]
    return limits.training.descend_squares(nets, x, y, rate=1e-6, steps=10**6)


def classifier() -> Any:
    model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    data = limits.data.standardised(limits.data.digits(), channels=1)
    recipe = Recipe(epochs=10**5, milestones=(), crop=0, flip=False, learning_rate=1e-4)
    return limits.training.train_classifier(model, data, recipe, seed=0)


def mean_field() -> Any:
    net, x = limits.MeanFieldResNet(10, 256, depth=64), torch.eye(10, dtype=F64)
    return net.descend(x, x, net.sample(n_paths=16, seed=0), steps=10**5, learning_rate=1e-3)


def phase() -> Any:
    net = limits.MeanFieldResNet(64, 2048, depth=256, convention="initialisation")
    x = torch.eye(64, dtype=F64)
    return limits.mean_field.training_phase(net, x, x, n_paths=4, seed=0)


def transport() -> Any:
    solver = limits.mean_field.ParticleTransport(particles=2**15, nodes=8, replicates=8)
    x = torch.eye(8, dtype=F64)
    return solver.solve(limits.MeanODE(8), x, -x, steps=10**5, seed=0, learning_rate=1e-3)


def lazy_limit() -> Any:
    x = torch.eye(8, dtype=F64)
    return limits.mean_field.LazyLimit("tanh").descend(x, -x, steps=10**4, learning_rate=1e-3)


def large_width(activation: str) -> Any:
    x = torch.eye(8, dtype=F64)
    limit = limits.mean_field.LargeWidthLimit(activation, particles=2**14)
    return limit.descend(x, -x, steps=10**5, seed=0, learning_rate=1e-3)


class Residual(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = torch.nn.Linear(64, 64)

    def forward(self, x):
        return x + self.branch(x)


def checked() -> Any:
    def make(depth: int) -> torch.nn.Module:
        return torch.nn.Sequential(*(Residual() for _ in range(depth)))

    x = torch.ones(4, 64)
    return limits.depth_check(make, depths=(64, 128, 256, 512), inputs=x, n_seeds=100)


def regularity() -> Any:
    weights = torch.randn(4096, 64, 64)
    for _ in range(1000):
        limits.weight_regularity(weights)


def foreign() -> Any:
    class Geometric:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, y):
            return 0.1 * y

        def g(self, t, y):
            return 0.5 * y

    equation = limits.from_torchsde(Geometric())
    noise = equation.sample(depth=2**18, n_paths=4000, seed=0, channels=16)
    return limits.EulerMaruyama().solve(equation, H0, noise)


PERSISTENT = limits.FractionalPath(16, hurst=0.7)
CALLS: dict[str, Callable[[], Any]] = {
    "network": lambda: TANH(H0, draw()),
    "network, inner": lambda: RES3(H0, draw()),
    "network, lazy": lambda: TANH(H0, draw(depth=20000, lazy=True)),
    "network, fractional": lambda: TANH(H0, draw(PERSISTENT, depth=2**13, n_paths=10**4)),
    "network, smooth": lambda: TANH(H0, draw(SMOOTH, depth=2**14, n_paths=4000)),
    "network, own activation": lambda: limits.ResNet(torch.sin)(H0, draw(depth=2**16)),
    "network, wide": lambda: TANH(
        torch.ones(1, 2048, dtype=F64), draw(limits.BrownianPath(2048), depth=256, n_paths=64)
    ),
    "network, autograd": lambda: TANH(H0.clone().requires_grad_(), draw(depth=2**14)),
    "tangent": lambda: TANH.tangent(H0, H0, draw()),
    "backward": lambda: gradient(H0),
    "increments": lambda: [draw(depth=2**14, n_paths=64).increments for _ in range(1000)],
    "euler": lambda: solved(limits.EulerMaruyama()),
    "euler, lazy": lambda: solved(limits.EulerMaruyama(), sample=draw(depth=20000, lazy=True)),
    "isotropic": lambda: of_law(TANH),
    "law of res-3": lambda: of_law(RES3),
    "law of gelu": lambda: of_law(limits.ResNet("gelu", block="res-2")),
    "torchsde": lambda: solved(limits.TorchSDE()),
    "foreign": foreign,
    "dopri5": lambda: solved(limits.TorchDiffEq(), sample=draw(SMOOTH, depth=64, n_paths=4000)),
    "rk4": lambda: solved(limits.TorchDiffEq("rk4"), sample=draw(SMOOTH, depth=2**14)),
    "midpoints": lambda: solved(
        limits.MidpointExtrapolation(), sample=draw(SMOOTH, depth=64, n_paths=4000)
    ),
    "euler, ode": lambda: solved(limits.EulerMaruyama(), sample=draw(SMOOTH, depth=2**16)),
    "study": study,
    "study, uniform": lambda: study(error="uniform"),
    "study, lazy": lambda: study(lazy=True, n_paths=20000),
    "study, smooth": lambda: study(path=SMOOTH, n_paths=20000),
    "study, young": lambda: study(path=PERSISTENT, n_paths=20000),
    "expectation": expectation,
    "expectation, path": lambda: expectation(coupling="path", tolerance=1e-4),
    "expectation, young": lambda: expectation(path=PERSISTENT),
    "ensemble": ensemble,
    "analysed": analysed,
    "squares": squares,
    "classifier": classifier,
    "mean field": mean_field,
    "phase": phase,
    "transport": transport,
    "lazy limit": lazy_limit,
    "large width": lambda: large_width("tanh"),
    "large width, exact": lambda: large_width("identity"),
    "depth check": checked,
    "regularity": regularity,
}


def interrupted(kind: str) -> tuple[float, int, int]:
    """Return the seconds until a call came back, and threads of torch here and in a new thread."""
    told: list[float] = []

    def stop() -> None:
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(WAIT, stop)
    timer.start()
    try:
        CALLS[kind]()
    except KeyboardInterrupt:
        after = time.monotonic() - told[0]
        seen: list[int] = []
        newcomer = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        newcomer.start()
        newcomer.join()
        return after, torch.get_num_threads(), seen[0]
    timer.cancel()
    raise SystemExit(f"{kind} was over before it was interrupted")


def main(threads: int, kinds: list[str]) -> None:
    # Whoever runs tests in the background may have it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    json.dump({kind: interrupted(kind) for kind in kinds}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
