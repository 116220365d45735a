"""All depths of a study in one pass over a lazy draw, with nothing remembered between layers."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from limits._typing import Exponents, State
from limits.exceptions import LimitsError
from limits.parallel import check_wanted
from limits.paths.lazy.draw import LazySource
from limits.paths.lazy.gram_schmidt import combined, norms, split
from limits.paths.lazy.matrix import LazyMatrix
from limits.paths.sample import WeightSample

__all__ = ["Answer", "ladder_answers"]

_NORMALS_PER_PATH = 2**12
"""Numbers a path draws at once."""

Question = Callable[[int], tuple[State, Exponents]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the increment of one layer answered to the vector its depth had asked about.

    Parameters
    ----------
    depth, index : int
        The network's depth L and the layer's number k in 0 ... L - 1.
    product : Tensor
        dX_k u, shape ``(path, input, width)``.
    """

    depth: int
    index: int
    product: State


def ladder_answers(
    sample: WeightSample, depths: Sequence[int], question: Question, *, n_inputs: int
) -> Iterator[Answer]:
    """Yield the answers of every layer of every depth in one pass over the finest layers.

    A layer's question does not change while the fine layers inside its interval pass, so the
    vectors that a fine matrix is asked about, ordered from the shallowest network to the
    deepest, share most of their Gram-Schmidt basis with the layer before: about two directions
    are new. Fresh normals then give the answers to the basis, and sums of them over an interval,
    which are shared with the next shallower depth, those of a coarse layer.

    Memory is O(paths x depths x width), whatever the depth. Blocks with inner weights know what
    to ask at the end of an interval only: they need `WeightSample.coupled`.

    Parameters
    ----------
    sample : WeightSample
        A lazy draw that was not asked before and remembers nothing.
    depths : sequence of int
        Divisors of the drawn depth.
    question : callable
        ``question(depth)`` -> the vector that the depth's next layer asks about and the powers
        of two it is scaled down by, shape ``(path, input)``; called when the answers of the
        layers before have been yielded.
    n_inputs : int
        Inputs per depth.
    """
    sample.check_depths(depths)
    source = sample.source
    if sample.lazy is None or not isinstance(source, LazySource):
        raise LimitsError("a dense draw is read with sample.coupled(depths). Use lazy=True.")
    sample.lazy.spend(source.role, sample.first_path, sample.n_paths)
    ladder = _Ladder(sorted(set(depths)), source.depth, n_inputs)
    if ladder.alternates:
        yield from _in_pairs(sample, source, ladder, question)
        return
    for fine, normals in enumerate(_normals(sample, source, source.depth, ladder.size)):
        ladder.ask(fine, question)
        ladder.levels[-1].add(normals)
        yield from ladder.closed(fine, source.scale)


def _in_pairs(
    sample: WeightSample, source: LazySource, ladder: "_Ladder", question: Question
) -> Iterator[Answer]:
    """Draw for two fine layers at once, of which only the deepest network sees each alone.

    With normals x and y of two layers along the shallower networks' directions, these need the
    sum x + y only. The difference x - y, independent of it, is asked by the deepest network for
    one combination a layer: it is a lazy Gaussian matrix in its turn.
    """
    *shallower, deepest = ladder.levels
    above, n_inputs = deepest.first, deepest.last - deepest.first
    size = above + 4 * n_inputs
    for pair, normals in enumerate(_normals(sample, source, source.depth // 2, size)):
        rows = normals.unbind(1)
        differences = rows[above : above + 2 * n_inputs]
        difference = LazyMatrix(differences.__getitem__)
        for half, sign in enumerate((1, -1)):
            fine = 2 * pair + half
            ladder.ask(fine, question)
            start = above + (2 + half) * n_inputs
            own = rows[start : start + n_inputs]
            product = ladder.deepest_answer(rows[:above], own, difference, sign)
            yield Answer(deepest.depth, fine, product * (source.scale * math.sqrt(0.5)))
        for parent in deepest.parents:
            parent.add(normals[:, :above])
        yield from ladder.closed(2 * pair + 1, source.scale * math.sqrt(2), shallower)


@dataclass(slots=True)
class _Level:
    """One depth of the ladder.

    Parameters
    ----------
    depth, ratio : int
        The depth, and how many finest layers one of its layers consists of.
    first, last : int
        Its vectors among those of all depths.
    parents : list of _Level
        Shallower depths whose sums of normals this one's add up to.
    """

    depth: int
    ratio: int
    first: int
    last: int
    parents: "list[_Level]" = field(default_factory=list)
    total: Tensor | None = None
    owned: bool = False
    exponents: Tensor | None = None
    answers: list[Tensor] = field(default_factory=list)

    def add(self, normals: Tensor) -> None:
        """Add normals of the basis, ``(path, vector, 1, width)``, to the running sum."""
        mine = normals[:, : self.last]
        if self.total is None:
            self.total, self.owned = mine, False
        elif self.owned:
            self.total += mine
        else:
            self.total, self.owned = self.total + mine, True


class _Ladder:
    """The vectors that all depths ask about at once, and their common orthonormal basis."""

    def __init__(self, depths: Sequence[int], finest: int, n_inputs: int) -> None:
        self.levels = [
            _Level(depth, finest // depth, k * n_inputs, (k + 1) * n_inputs)
            for k, depth in enumerate(depths)
        ]
        self.size = size = len(depths) * n_inputs
        if depths[-1] != finest:
            # Nobody asks the finest layers themselves; they only collect normals.
            self.levels.append(_Level(finest, 1, size, size))
        for k, level in enumerate(self.levels[:-1]):
            child = next(each for each in self.levels[k + 1 :] if each.depth % level.depth == 0)
            child.parents.append(level)
        self._n_inputs = n_inputs
        nothing = torch.empty(0, dtype=torch.float32, device="cpu")
        self._vectors: list[Tensor] = [nothing] * size
        self._coefficients: list[Tensor] = [nothing] * size
        self._ratios: list[Tensor | None] = [None] * size
        self._directions: Tensor | None = None
        self._rows: Sequence[Tensor] = ()

    @property
    def alternates(self) -> bool:
        """Whether only the deepest network's vectors change between layers 2 k and 2 k + 1.

        And there are so many others that it pays to draw for both layers at once.
        """
        *shallower, deepest = self.levels
        even = all(level.ratio % 2 == 0 for level in shallower)
        return even and deepest.last > deepest.first > 2 * self._n_inputs

    def ask(self, fine: int, question: Question) -> None:
        """Bring the vectors and their basis up to the fine layer that comes next."""
        start = next(k for k, level in enumerate(self.levels) if fine % level.ratio == 0)
        changed = self.levels[start:]
        for level in reversed(changed):
            # Depths that do not divide one another: the basis moves inside an interval.
            self.settle(level)
        for level in changed:
            if level.last == level.first:
                continue
            if fine % level.ratio == 0:
                vectors, exponents = question(level.depth)
                self._vectors[level.first : level.last] = vectors.split(1, dim=1)
                if exponents is not level.exponents:
                    level.exponents = exponents
                    self._ratios = self._power_ratios()
            for number in range(level.first, level.last):
                self._place(number)

    def _power_ratios(self) -> list[Tensor | None]:
        """Return what the vector above must be multiplied by to be close, for every vector.

        Networks of different depths do not rescale their states at the same times.
        """
        ratios: list[Tensor | None] = [None] * len(self._vectors)
        for above, level in pairwise(self.levels):
            if above.exponents is None or level.exponents is None or level.first == level.last:
                continue
            shifts = above.exponents - level.exponents
            if bool(shifts.any()):
                powers = torch.exp2(shifts.to(self._vectors[0].dtype))[:, :, None]
                ratios[level.first : level.last] = powers.split(1, dim=1)
        return ratios

    def settle(self, level: _Level) -> None:
        """Turn the level's sum of normals into answers, and hand it on to shallower depths."""
        if level.total is None:
            return
        parts = [
            combined(level.total[:, : number + 1].unbind(1), self._coefficients[number].unbind())
            for number in range(level.first, level.last)
        ]
        sums = zip(level.answers, parts, strict=True) if level.answers else ()
        level.answers = [known + part for known, part in sums] or parts
        for parent in level.parents:
            parent.add(level.total)
        level.total = None

    def closed(
        self, fine: int, scale: float, levels: "Sequence[_Level] | None" = None
    ) -> Iterator[Answer]:
        """Yield the answers of the levels whose interval ends with a fine layer."""
        for level in reversed(self.levels if levels is None else levels):
            if (fine + 1) % level.ratio == 0:
                self.settle(level)
                if level.answers:
                    product = level.answers[0]
                    if self._n_inputs > 1:
                        product = torch.cat(level.answers, dim=1)
                    yield Answer(level.depth, fine // level.ratio, product * scale)
                    level.answers = []

    def deepest_answer(
        self, shared: Sequence[Tensor], own: Sequence[Tensor], difference: LazyMatrix, sign: int
    ) -> State:
        """Return sqrt(2) times the standardised answers of one layer of a pair."""
        deepest, above = self.levels[-1], len(shared)
        answers, combinations = [], []
        for number in range(deepest.first, deepest.last):
            row = self._coefficients[number]
            weights = [*row[:above].unbind(), *(row[above:] * math.sqrt(2)).unbind()]
            answers.append(combined([*shared, *own[: len(row) - above]], weights))
            combinations.append(row[:above, :, :, 0].permute(1, 2, 0).contiguous())
        product = answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)
        asked = combinations[0] if len(answers) == 1 else torch.cat(combinations, dim=1)
        return product.add_(difference.mv(asked), alpha=sign)

    def _place(self, number: int) -> None:
        """Find the direction that a vector adds to those before it, and its coefficients.

        States of neighbouring depths are close: what is split up is the difference to the same
        input's vector one depth above, of which most is new, so that one pass does.
        """
        vector, above = self._vectors[number], number - self._n_inputs
        if self._directions is None:
            self._directions = vector.new_zeros(len(self._vectors), *vector.shape)
            self._rows = self._directions.unbind()
        if number == 0:
            size = norms(vector)
            self._directions[0] = (vector / size).nan_to_num_(0.0)
            self._coefficients[0] = size[None]
            return
        near, start, ratio = None, None, self._ratios[number]
        if above >= 0:
            near, start = self._vectors[above], self._coefficients[above]
            if ratio is not None:
                near, start = near * ratio, start * ratio
        change = vector if near is None else vector - near
        stack = self._directions[:number]
        parts, direction, rest = split(change, norms(change), self._rows[:number], stack)
        if number + 1 < len(self._vectors):
            self._directions[number] = 0.0 if direction is None else direction
        row = torch.stack([*parts, rest if direction is not None else torch.zeros_like(rest)])
        if start is not None:
            row[: above + 1] += start
        self._coefficients[number] = row


def _normals(sample: WeightSample, source: LazySource, count: int, n_rows: int) -> Iterator[Tensor]:
    """Yield standard normals ``(path, row, 1, width)``, one layer or pair after the other."""
    stream = source.stream.child("ladder")
    size = n_rows * source.width
    held = max(1, _NORMALS_PER_PATH // size)
    for start in range(0, count, held):
        paths, layers = (sample.first_path, sample.n_paths), min(held, count - start)
        drawn = stream.normals(*paths, size, start, n_layers=layers, device=sample.device)
        for layer in drawn.unflatten(2, (n_rows, 1, source.width)):
            check_wanted()
            yield layer.to(sample.dtype)
