"""Increments of a lazy draw: sums of Gaussian matrices that answer questions."""

from typing import Any, Protocol

import torch
from torch import Tensor

from limits._typing import State

__all__ = ["LazyIncrement"]


class Answering(Protocol):
    """A batch of matrices, known by its products."""

    def mv(self, u: State) -> State:
        """Return W u."""
        ...

    def rmv(self, p: State) -> State:
        """Return W^T p."""
        ...


class LazyIncrement:
    """The sum of the matrices of one or several fine layers, times a number.

    A coarse increment is the sum of the fine ones inside its interval, so a question to it is
    one to each of them.

    Parameters
    ----------
    matrices : list
        Matrices of the fine layers.
    scale : float
        Common factor.
    """

    __slots__ = ("_matrices", "_scale")

    def __init__(self, matrices: list[Any], scale: float = 1.0) -> None:
        self._matrices: list[Answering] = matrices
        self._scale = scale

    def mv(self, u: State) -> State:
        """Return dX u."""
        return _Asked.apply(u, self, False) if u.requires_grad else self._ask(u, transposed=False)

    def rmv(self, p: State) -> State:
        """Return dX^T p."""
        return _Asked.apply(p, self, True) if p.requires_grad else self._ask(p, transposed=True)

    def scaled(self, factor: float) -> "LazyIncrement":
        """Return the operator ``factor * dX``."""
        return LazyIncrement(self._matrices, self._scale * factor)

    def plus(self, other: "LazyIncrement", *, owned: bool) -> "LazyIncrement":
        """Return the sum of two increments of equal scale."""
        if owned:
            self._matrices.extend(other._matrices)
            return self
        return LazyIncrement([*self._matrices, *other._matrices], self._scale)

    def _ask(self, u: State, *, transposed: bool) -> State:
        first, *others = self._matrices
        total = first.rmv(u) if transposed else first.mv(u)
        for matrix in others:
            total += matrix.rmv(u) if transposed else matrix.mv(u)
        return total if self._scale == 1 else total * self._scale


class _Asked(torch.autograd.Function):
    """A product whose gradient is a question to the transpose.

    Differentiating the sampling of an answer would give only the part of the matrix that has
    been asked for; the gradient needs W^T p, fresh normals included.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, increment: LazyIncrement, transposed: bool) -> Tensor:
        ctx.increment, ctx.transposed = increment, transposed
        return increment._ask(u.detach(), transposed=transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        increment: LazyIncrement = ctx.increment
        question = increment.rmv if not ctx.transposed else increment.mv
        return question(gradients[0]), None, None
