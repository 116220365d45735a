"""Whole passes through a lazy draw in compiled loops, which read and add to what is known of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor

from limits.kernels.dense import LayerRule, Rung
from limits.kernels.lazy import Matter, Tolerance, ask_back, ask_forth, ask_with_tangents
from limits.paths.lazy.draw import LazySource
from limits.paths.lazy.gram_schmidt import ENOUGH, RANK_TOLERANCE
from limits.paths.sample import WeightSample

__all__ = ["LazyPasses"]


@dataclass(frozen=True)
class LazyPasses:
    """Passes of one network through the matrices of a lazy draw.

    Parameters
    ----------
    outer, inner : LazySource
        The draw; `inner` is None for blocks without inner weights.
    first_path : int
        Number of the path with which states begin.
    """

    outer: LazySource
    inner: LazySource | None
    first_path: int

    @classmethod
    def of(cls, sample: WeightSample, *, inner: bool, alone: bool) -> "LazyPasses | None":
        """Return the passes through a sample, None where kernels do not serve it.

        Several networks ask one after the other, which a draw that forgets does not allow.
        """
        sources = sample.source, sample.inner.source if inner else None
        outer, within = (each if isinstance(each, LazySource) else None for each in sources)
        if outer is None or sample.device.type != "cpu" or not (alone or outer.draw.remembers):
            return None
        return cls(outer, within, sample.first_path)

    def work_of(self, rungs: Sequence[Rung]) -> int:
        """Return about how many numbers one path could draw in the time that its pass takes."""
        inputs = sum(len(rung.factor) for rung in rungs)
        roles = 1 if self.inner is None else 2
        return roles * inputs * self.outer.depth * (4 * self.outer.width + 100)

    def advance(
        self, values: Tensor, exponents: Tensor, rule: LayerRule, rungs: Sequence[Rung],
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Advance networks of several depths, one after the other."""
        begin = 0
        for rung in rungs:
            part = slice(begin, begin + rung.kept)
            inputs, begin = len(rung.factor), begin + rung.kept
            with self._asking(rung, first, count, values, right=inputs) as matters:
                ask_forth(
                    values[part], exponents[part], *matters, rule, rung,
                    (first, count, self.first_path), drawn_depth=self.outer.depth, reach=reach,
                    tolerance=_tolerance(values), between=between,
                )  # fmt: skip

    def pull(
        self, values: Tensor, exponents: Tensor, states: Tensor, rule: LayerRule, rung: Rung,
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Take cotangents back."""
        inputs = len(rung.factor)
        with self._asking(rung, first, count, values, left=inputs, again=inputs) as matters:
            ask_back(
                values, exponents, states, *matters, rule, rung, (first, count, self.first_path),
                drawn_depth=self.outer.depth, reach=reach, tolerance=_tolerance(values),
                between=between,
            )  # fmt: skip

    def push(
        self, values: Tensor, exponents: Tensor, rule: LayerRule, rungs: tuple[Rung, Rung],
        first: int, count: int, *, reach: int, between: Callable[[], None],
    ) -> None:  # fmt: skip
        """Advance states and tangents together."""
        rows = 2 * len(rungs[0].factor)
        with self._asking(rungs[0], first, count, values, right=rows) as matters:
            ask_with_tangents(
                values, exponents, *matters, rule, rungs, (first, count, self.first_path),
                drawn_depth=self.outer.depth, reach=reach, tolerance=_tolerance(values),
                between=between,
            )  # fmt: skip

    @contextmanager
    def _asking(
        self, rung: Rung, first: int, count: int, like: Tensor, *, right: int = 0, left: int = 0,
        again: int = 0,
    ) -> Iterator[tuple[Matter, Matter | None]]:  # fmt: skip
        """Keep others from some paths, and have room for rows.

        `again` is how many right rows of inner matrices a backward pass needs where rounding makes
        a question that was asked before look like a new one.
        """
        draw, place = self.outer.draw, self.first_path + first
        with ExitStack() as stack:
            matters: list[Matter | None] = []
            for source, more in ((self.outer, 0), (self.inner, again)):
                if source is None:
                    matters.append(None)
                elif draw.remembers:
                    store = draw.store(source.role)
                    stack.enter_context(store.asking(place, count, right=right + more, left=left))
                    matters.append(
                        Matter(
                            right=store.right,
                            left=store.left,
                            counts=store.counts,
                            remembers=True,
                            key=source.stream.key,
                            scale=source.scale,
                        )
                    )
                else:
                    draw.spend(source.role, place, count)
                    matters.append(
                        Matter.forgetful(
                            source.stream.key,
                            source.scale,
                            rows=right + left + more,
                            layers=source.depth // rung.depth,
                            width=source.width,
                            like=like,
                        )
                    )
            outer, inner = matters
            if outer is not None:
                yield outer, inner


def _tolerance(values: Tensor) -> Tolerance:
    return Tolerance(RANK_TOLERANCE[values.dtype], ENOUGH)
