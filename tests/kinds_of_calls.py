"""Calls of the library by the names of their parts, for `tests.random_calls`."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import limits

F32, F64 = torch.float32, torch.float64


class InPlace:
    """A user's block whose methods act in place on what they are handed."""

    has_inner, homogeneous = False, False

    def field(self, h: Tensor, inner: object) -> Tensor:
        return h.sin_()

    def pushed(self, h: Tensor, q: Tensor, inner: object) -> Tensor:
        return q.mul_(h.cos_())

    def pulled(self, h: Tensor, p: Tensor, inner: object) -> Tensor:
        return p.mul_(h.cos_())


def trained(width: int, dtype: torch.dtype) -> limits.TrainedPath:
    t = torch.arange(16, dtype=F64)[:, None, None] / 16
    weights = torch.sin(6 * t + torch.arange(width)) * torch.eye(width, dtype=F64) + t / 3
    return limits.TrainedPath(weights.to(dtype), index=1.0, inner=weights.flip(0).to(dtype))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


PATHS: dict[str, Callable[[int], limits.WeightPath]] = {
    "brownian": limits.BrownianPath,
    "lazy": limits.BrownianPath,
    "uniform": limits.IIDPath,
    "rademacher": lambda width: limits.IIDPath(width, law="rademacher"),
    "persistent": lambda width: limits.FractionalPath(width, hurst=0.7),
    "rough": lambda width: limits.FractionalPath(width, hurst=np.float32(0.3)),
    "rbf": lambda width: limits.SmoothPath(width, length_scale=0.3),
    "matern": lambda width: limits.SmoothPath(width, kernel="matern-5/2"),
    "trained": lambda width: trained(width, F64),
    "trained in bfloat16": lambda width: trained(width, torch.bfloat16),
}
ACTIVATIONS: dict[str, Any] = {
    "identity": "identity", "relu": "relu", "tanh": "tanh", "gelu": "gelu",
    "sin": torch.sin, "softplus": torch.nn.functional.softplus, "square": torch.square,
    "in place": torch.nn.SiLU(inplace=True), "step": lambda x: (x > 0).to(x),
    "parameter": torch.nn.LeakyReLU(0.1, inplace=True),
}  # fmt: skip
BLOCKS: dict[str, Any] = {
    "res-1": "res-1", "res-2": "res-2", "res-3": "res-3", "post-relu": "post-relu",
    "bias": limits.Inner(limits.as_activation("tanh"), bias=0.5), "in place": InPlace(),
}  # fmt: skip
INPUTS = ("shared", "own", "one row for all", "transposed", "signed zeros", "huge", "tiny", "nan")
MODES: dict[str, Callable[[], Any]] = {
    "grad": torch.enable_grad,
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype": lambda: default_dtype(torch.bfloat16),
}
SEEDS = (0, 1, 2**31, 2**64 + 3, 10**40, np.uint8(255), np.int64(7), -1)


@dataclass(frozen=True)
class Call:
    """One call, by the names in the tables above and in `ASKED`."""

    asked: str = "network"
    path: str = "brownian"
    activation: str = "tanh"
    block: str = "res-1"
    width: int = 3
    depth: int = 4
    n_paths: int = 3
    n_inputs: int = 2
    seed: Any = 0
    inputs: str = "shared"
    beta: float | tuple[float, ...] | None = None
    coefficient: float = 1.0
    corrected: bool = False
    keep: str = "terminal"
    nonfinite: str = "raise"
    dtype: torch.dtype = F64
    dtype_of_inputs: torch.dtype = F64
    mode: str = "grad"
    recorded: bool = False
    error: str = "strong"

    def net(self) -> limits.ResNet:
        beta = torch.tensor(self.beta) if isinstance(self.beta, tuple) else self.beta
        return limits.ResNet(
            ACTIVATIONS[self.activation], block=BLOCKS[self.block], beta=beta,
            coefficient=self.coefficient, corrected=self.corrected,
        )  # fmt: skip

    def draw(self) -> limits.WeightSample:
        path = PATHS[self.path](self.width)
        if isinstance(path, limits.TrainedPath):
            return path.sample(depth=self.depth, dtype=self.dtype)
        return path.sample(
            depth=self.depth, n_paths=self.n_paths, seed=self.seed, dtype=self.dtype,
            lazy=self.path == "lazy",
        )  # fmt: skip

    def h0(self) -> Tensor:
        """Return inputs of which every path has its own, but for two kinds."""
        paths = 1 if self.path.startswith("trained") else self.n_paths
        count = self.n_inputs * self.width
        every = torch.sin(torch.arange(1, paths * count + 1, dtype=F64) * 1.7)
        own = every.reshape(paths, self.n_inputs, self.width)
        dtype = self.dtype_of_inputs
        reach = torch.finfo(dtype)
        match self.inputs:
            case "shared":
                return own[0].to(dtype)
            case "one row for all":
                return own[:1, :1].to(dtype).expand(own.shape)
            case "transposed":
                return own.to(dtype).transpose(0, 2).contiguous().transpose(0, 2)
            case "signed zeros":
                return torch.where(own > 0, own * 0, -0.0).to(dtype)
            case "huge":
                return own.to(dtype) * reach.max / 4
            case "tiny":
                return own.to(dtype) * reach.tiny
            case "nan":
                return own.to(dtype).index_fill(-1, torch.tensor(0), math.nan)
        return own.to(dtype)


@dataclass(frozen=True)
class Answer:
    """Tensors whose axes are (time, path, ...), and those that know of no paths."""

    of_paths: tuple[Tensor, ...] = ()
    pooled: tuple[Tensor, ...] = ()
    of_parts: bool = True

    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.of_paths, *self.pooled)

    def paths(self, first: int, count: int) -> "Answer":
        return Answer(tuple(each[:, first : first + count] for each in self.of_paths))


def of(*outs: limits.Trajectory) -> Answer:
    return Answer(tuple(each for out in outs for each in (out.values, out.log_norms)))


def network(c: Call, draw: Any, h0: Tensor) -> limits.Trajectory:
    return c.net()(h0, draw, keep=c.keep, nonfinite=c.nonfinite)


def solved(solver: Any, form: str = "path") -> Callable[[Call, Any, Tensor], Answer]:
    def solve(c: Call, draw: Any, h0: Tensor) -> Answer:
        limit = limits.depth_limit(c.net(), draw.path, form=form)
        if limit.form == "law":
            draw = limit.sample(depth=c.depth, n_paths=draw.n_paths, seed=c.seed, dtype=c.dtype)
        found = of(solver.solve(limit, h0, draw, keep=c.keep))
        # Noise has no parts.
        return replace(found, of_parts=limit.form == "path")

    return solve


def tangent(c: Call, draw: Any, h0: Tensor) -> Answer:
    return of(*c.net().tangent(h0, h0.flip(-1), draw, keep=c.keep))


def backward(c: Call, draw: Any, h0: Tensor) -> Answer:
    out = network(c, draw, h0)
    return of(c.net().backward(out, draw, torch.ones_like(out.terminal), keep=c.keep))


def strong(c: Call, draw: Any, h0: Tensor) -> Answer:
    out, other = network(c, draw, h0), c.net()(h0, draw.at_depth(1), nonfinite=c.nonfinite)
    found = limits.strong_error(out, other, p=1)
    weak = limits.weak_error(out, other, functional=lambda h: h.square_().sum(dim=-1))
    spreads = (found.standard_error, weak.standard_error) if found.n > 1 else ()
    return numbers(found.value, weak.value, *spreads)


def study(c: Call, draw: Any, h0: Tensor) -> Answer:
    found = limits.convergence_study(
        c.net(), draw.path, depths=(1, 2, 4), n_paths=draw.n_paths, seed=c.seed, h0=h0,
        reference=8, dtype=c.dtype, lazy=c.path == "lazy", chunk=1 + c.depth, error=c.error,
        functional=soft if c.error == "weak" else None,
    )  # fmt: skip
    # Of few paths with heavy tails an order has no bounds, and says so by infinite ones.
    bounds = (found.order.low, found.order.high)
    assert math.isfinite(bounds[0]) == math.isfinite(bounds[1]), bounds
    fitted = torch.tensor((found.order.value, *filter(math.isfinite, bounds)), dtype=F64)
    return Answer((torch.from_numpy(found.path_errors),), (fitted,), of_parts=False)


def expectation(c: Call, draw: Any, h0: Tensor) -> Answer:
    found = limits.infinite_depth_expectation(
        c.net(), draw.path, lambda h: h.square_().sum(dim=-1), h0=h0, tolerance=1.0, seed=c.seed,
        dtype=c.dtype, budget=1e5,
    )  # fmt: skip
    return numbers(found.value, found.standard_error, found.bias)


def soft(h: Tensor) -> Tensor:
    """A functional that acts in place, of a function whose last bits depend on vectors."""
    return torch.nn.functional.softplus(h.neg_()).sum(dim=-1)


def numbers(*values: float) -> Answer:
    return Answer(pooled=(torch.tensor(values, dtype=F64),))


ASKED: dict[str, Callable[[Call, Any, Tensor], Answer]] = {
    "network": lambda c, draw, h0: of(network(c, draw, h0)),
    "backward": backward,
    "tangent": tangent,
    "euler": solved(limits.EulerMaruyama()),
    "euler, law": solved(limits.EulerMaruyama(), "law"),
    "torchsde": solved(limits.TorchSDE()),
    "rk4": solved(limits.TorchDiffEq("rk4")),
    "midpoints": solved(limits.MidpointExtrapolation(rtol=1e-2, atol=1e-3)),
    "bosh3": solved(limits.TorchDiffEq("bosh3", rtol=1e-3, atol=1e-3)),
    "closed form": solved(limits.ClosedForm()),
    "errors": strong,
    "study": study,
    "expectation": expectation,
    "increments": lambda c, draw, h0: Answer((draw.increments, draw.layer_weights)),
}
STATES = (
    "network",
    "backward",
    "tangent",
    "euler",
    "euler, law",
    "torchsde",
    "rk4",
    "bosh3",
    "midpoints",
    "closed form",
)
MAY_OVERFLOW = ("network", "backward", "tangent", "errors")
