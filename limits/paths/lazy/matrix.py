"""Gaussian matrices that are never formed: they answer questions, and remember their answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from limits.paths.lazy.gram_schmidt import combined, norms, split

__all__ = ["Answered", "LazyMatrix", "Rows"]


class Rows:
    """Orthonormal directions that were asked, and what the matrix answered to them.

    On paths where a question adds no direction its row is zero, so that shapes do not depend on
    the data; rows that are zero on all paths are left out.

    Parameters
    ----------
    known : Tensor, optional
        Rows to begin with, ``(row, path, 2, 1, width)``: directions and answers.

    Attributes
    ----------
    directions, answers : list of Tensor
        Each of shape ``(path, 1, width)``.
    """

    __slots__ = ("_begin", "_stacks", "answers", "directions")

    def __init__(self, known: Tensor | None = None) -> None:
        self.directions: list[Tensor] = []
        self.answers: list[Tensor] = []
        self._stacks: tuple[Tensor, Tensor] | None = None
        self._begin = 0
        if known is not None:
            self._stacks = known[:, :, 0], known[:, :, 1]
            self.directions, self.answers = (list(each.unbind()) for each in self._stacks)
            self._begin = len(known)

    def append(self, direction: Tensor, answer: Tensor) -> None:
        """Add a row."""
        self.directions.append(direction)
        self.answers.append(answer)
        self._stacks = None

    def stacks(self) -> tuple[Tensor, Tensor]:
        """Return directions and answers, ``(row, path, 1, width)``, or the one row itself."""
        if len(self.directions) == 1:
            return self.directions[0], self.answers[0]
        if self._stacks is None:
            self._stacks = torch.stack(self.directions), torch.stack(self.answers)
            # The rows live on as parts of the stack, not beside it.
            self.directions, self.answers = (list(each.unbind()) for each in self._stacks)
        return self._stacks

    def added(self) -> list[tuple[Tensor, Tensor]]:
        """Return the rows that were added, directions with answers."""
        chosen = slice(self._begin, None)
        return list(zip(self.directions[chosen], self.answers[chosen], strict=True))


class Answered:
    """What a batch of matrices was asked, and answered, on both sides."""

    __slots__ = ("count", "left", "right")

    def __init__(self, right: Rows | None = None, left: Rows | None = None) -> None:
        self.count = 0
        self.right = Rows() if right is None else right
        self.left = Rows() if left is None else left


class LazyMatrix:
    """A batch of matrices W with i.i.d. Gaussian entries, known by what they answered.

    Given orthonormal right directions Q with Y = W Q and left directions P with Z = W^T P, the
    block (I - P P^T) W (I - Q Q^T) is independent of everything that was asked, whatever the
    questions depended on. So W q for a new unit vector q orthogonal to Q is
    P Z^T q + (I - P P^T) xi with fresh normals xi: the law is exact, at O(width) per question.

    Every question of one vector uses up the normals of one number, whether it needs them or not.

    Parameters
    ----------
    normals : callable
        ``normals(number)`` -> the normals of a question, ``(path, 1, width)``, with the standard
        deviation of the entries. Width is that of the answer.
    answered : Answered, optional
        What was asked before; new questions are added to it.

    Examples
    --------
    >>> def numbers(question: int) -> Tensor:
    ...     return torch.full((1, 1, 4), 1.0 + question, dtype=torch.float64)
    >>> matrix = LazyMatrix(numbers)
    >>> x, p = torch.eye(4, dtype=torch.float64)[None, :2].split(1, dim=1)
    >>> float((matrix.mv(x) * p).sum()) == float((matrix.rmv(p) * x).sum())
    True
    """

    __slots__ = ("_answered", "_normals")

    def __init__(self, normals: Callable[[int], Tensor], answered: Answered | None = None) -> None:
        self._normals = normals
        self._answered = Answered() if answered is None else answered

    def mv(self, u: Tensor) -> Tensor:
        """Return W u, for u of shape ``(path, input, width)``."""
        return self._ask(u, self._answered.right, self._answered.left)

    def rmv(self, p: Tensor) -> Tensor:
        """Return W^T p, for p of shape ``(path, input, width)``."""
        return self._ask(p, self._answered.left, self._answered.right)

    def _ask(self, u: Tensor, own: Rows, other: Rows) -> Tensor:
        if u.shape[1] == 1:
            return self._ask_one(u, own, other)
        return torch.cat([self._ask_one(each, own, other) for each in u.split(1, dim=1)], dim=1)

    def _ask_one(self, u: Tensor, own: Rows, other: Rows) -> Tensor:
        number = self._answered.count
        self._answered.count += 1
        size = norms(u)
        if own.directions:
            parts, direction, rest = split(u, size, own.directions, own.stacks()[0])
            told = combined(own.answers, parts)
            if direction is None:
                return told
        else:
            told, rest = None, size
            direction = u / size
        # What is not finite must not be remembered, the zero vector over its norm included.
        direction.nan_to_num_(0.0)
        answer = _conditioned(self._normals(number), direction, other)
        own.append(direction, answer)
        return answer * rest if told is None else torch.addcmul(told, answer, rest)


def _conditioned(normals: Tensor, direction: Tensor, other: Rows) -> Tensor:
    """Return the answer to a new direction, given the answers to those of the other side."""
    if not other.directions:
        return normals
    known, answers = other.stacks()
    gaps = torch.addcmul(answers * direction, known, normals, value=-1).sum(dim=-1, keepdim=True)
    for row, gap in zip(other.directions, gaps.unbind() if gaps.ndim > 3 else (gaps,), strict=True):
        normals = torch.addcmul(normals, row, gap)
    return normals
