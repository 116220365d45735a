"""Pairs of a deep and a shallow network that share their randomness, with both signs of it."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from limits._typing import State
from limits.equations.isotropic import Isotropic
from limits.errors.metrics import Functional, functional_values
from limits.kernels.isotropic import coupled_steps, has_steps
from limits.networks.resnet import ResNet
from limits.paths import WeightPath
from limits.randomness import Stream

__all__ = ["CouplingName", "IsotropicCoupling", "PairCoupling", "PathCoupling"]

CouplingName = Literal["isotropic", "path"]

_ROW_NORMALS = 2**12
"""Normals that a draw makes at once."""

_CHUNK_ENTRIES = 2**14
_COMPILED_ENTRIES = 2**16
_NUMBERS_OF_A_CALL = 2**25
_FEW = 16
_MANY = 2**12


class PairCoupling(Protocol):
    """Draws phi(deep) - phi(shallow), averaged over the draw X and its mirror image -X.

    Every law in the library is symmetric, so -X is as good a draw as X; the average of the two
    has no fluctuation of odd order in X, which is most of it where states move little.
    """

    @property
    def name(self) -> CouplingName:
        """How deep and shallow networks are coupled."""
        ...

    def chunk(self, depth: int) -> int:
        """Return how many draws are held in memory at once."""
        ...

    def differences(self, depth: int, coarse: int | None, first: int, count: int) -> Tensor:
        """Return phi(h_depth) - phi(h_coarse) for a range of draws, shape ``(draw,)``, float64.

        Without a coarse depth, phi(h_depth) alone.
        """
        ...


@dataclass(frozen=True)
class IsotropicCoupling:
    """Euler schemes of dH = c Sigma(H)^(1/2) dB + drift that share B.

    Parameters
    ----------
    equation : Isotropic
        The limit in law.
    functional : callable
        phi, from ``(path, input, width)`` to ``(path, input)``.
    h0 : Tensor
        Inputs, shape ``(input, width)``.
    label : str
        Names the streams.
    seed : int
        Seed of the streams.
    """

    equation: Isotropic
    functional: Functional
    h0: Tensor
    label: str
    seed: int

    name: CouplingName = "isotropic"

    def chunk(self, depth: int) -> int:
        """Return how many draws are held at once."""
        size = self.h0.numel()
        if not self._compiled:
            return max(1, _CHUNK_ENTRIES // size)
        return max(_FEW, min(_COMPILED_ENTRIES // size, _NUMBERS_OF_A_CALL // (size * depth)))

    @property
    def _compiled(self) -> bool:
        law = self.equation.law
        return law is not None and has_steps(law, self.h0.unsqueeze(0))

    def differences(self, depth: int, coarse: int | None, first: int, count: int) -> Tensor:
        """Return phi(h_depth) - phi(h_coarse), averaged over B and -B."""
        deep = self._start(count)
        shallow = None if coarse is None else self._start(count)
        law = self.equation.law
        if law is not None and self._compiled:
            pair = None if shallow is None else shallow.unflatten(0, (2, count))
            key = self._stream(depth).key
            coupled_steps(deep.unflatten(0, (2, count)), pair, law, key, depth=depth, path=first)
        else:
            self._step_by_step(deep, shallow, depth, coarse, first, count)
        values = self._values(deep)
        return values if shallow is None else values - self._values(shallow)

    def _step_by_step(
        self,
        deep: State,
        shallow: State | None,
        depth: int,
        coarse: int | None,
        first: int,
        count: int,
    ) -> None:
        noise, total = torch.empty_like(deep), torch.empty_like(deep)
        for index, drawn in enumerate(self._steps(depth, first, count)):
            noise[:count].copy_(drawn).mul_(1 / math.sqrt(depth))
            torch.neg(noise[:count], out=noise[count:])
            self.equation.step(deep, noise, 1 / depth, out=deep)
            if shallow is None or coarse is None:
                continue
            if index % 2:
                total.add_(noise)
                self.equation.step(shallow, total, 1 / coarse, out=shallow)
            else:
                total.copy_(noise)

    def _start(self, count: int) -> State:
        return self.h0.expand(2 * count, *self.h0.shape).clone()

    def _values(self, states: State) -> Tensor:
        return functional_values(self.functional, states).unflatten(0, (2, -1)).mean(0).cpu()

    def _stream(self, depth: int) -> Stream:
        return Stream(self.seed, f"{self.label}/infinite-depth/isotropic/depth={depth}")

    def _steps(self, depth: int, first: int, count: int) -> Iterator[Tensor]:
        """Yield standard normals step by step, float32, shape ``(draw, input, width)``."""
        stream = self._stream(depth)
        size = self.h0.numel()
        most = max(1, _ROW_NORMALS // size)
        for start in range(0, depth, most):
            drawn = stream.normals(
                first,
                count,
                size,
                start,
                n_layers=min(most, depth - start),
                device=self.h0.device,
            )
            yield from drawn.unflatten(2, self.h0.shape)


@dataclass(frozen=True)
class PathCoupling:
    """Networks of two depths that read one weight path.

    Parameters
    ----------
    net : ResNet
        The network.
    path : WeightPath
        The law of its weights.
    functional, h0, seed
        As in `IsotropicCoupling`.
    """

    net: ResNet
    path: WeightPath
    functional: Functional
    h0: Tensor
    seed: int

    name: CouplingName = "path"

    def chunk(self, depth: int) -> int:
        """Return how many draws are held at once."""
        return self.path.sample(depth=depth, n_paths=_MANY, seed=0).chunks()[0][1]

    def differences(self, depth: int, coarse: int | None, first: int, count: int) -> Tensor:
        """Return phi(h_depth) - phi(h_coarse), averaged over X and -X."""
        whole = self.path.sample(
            depth=depth,
            n_paths=first + count,
            seed=_level_seed(self.seed, depth),
            dtype=self.h0.dtype,
            device=self.h0.device,
        )
        sample = whole.part(first, count)
        states = self.h0.expand(count, -1, -1)
        depths = (depth,) if coarse is None else (depth, coarse)
        # A network with -c on X is the network with c on -X, its inner weights unchanged.
        signed = (self.net, replace(self.net, coefficient=-self.net.coefficient))
        steppers = {
            each: [net.stepper(states, sample.at_depth(each)) for net in signed] for each in depths
        }
        for layer in sample.coupled(depths, inner=self.net.vector_field.has_inner):
            for stepper in steppers[layer.depth]:
                stepper.step(layer)
        values = {
            each: sum(functional_values(self.functional, one.state()) for one in pair) / 2
            for each, pair in steppers.items()
        }
        first_values = cast("Tensor", values[depth])
        return (first_values if coarse is None else first_values - values[coarse]).cpu()


def _level_seed(seed: int, depth: int) -> int:
    """Return a seed of its own for every level, whatever the streams of a path depend on."""
    key = f"limits:{seed}:infinite-depth:{depth}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:16])
