"""The order in which training data are seen: a function of the seed and the epoch only."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from limits.data import LabelledData
from limits.randomness import Stream

__all__ = ["Batches", "epoch_order"]


def epoch_order(n_inputs: int, *, seed: int, epoch: int, path: int = 0) -> Tensor:
    """Return the permutation of the training inputs in one epoch, another one for every path.

    Examples
    --------
    >>> sorted(epoch_order(4, seed=0, epoch=0).tolist())
    [0, 1, 2, 3]
    """
    generator = Stream(seed, "training/order").generator(epoch, path)
    return torch.randperm(n_inputs, generator=generator, device="cpu")


class Batches:
    """Minibatches for configurations with seeds; one copy where all seeds are the same."""

    def __init__(
        self, data: LabelledData, *, seeds: Sequence[int], batch: int, dtype: torch.dtype
    ) -> None:
        self._inputs, self._classes = data.train_inputs.to(dtype), data.train_classes.long()
        self._seeds = sorted(set(seeds))
        self._rows = torch.tensor(
            [self._seeds.index(seed) for seed in seeds], dtype=torch.int64, device="cpu"
        )
        self._batch = batch

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the configurations only."""
        self._rows = self._rows[chosen]

    def epoch(self, number: int) -> Iterator[Tensor]:
        """Iterate over rows of the data, shape ``(seed, input)``; the last batch may be short."""
        count = len(self._inputs)
        orders = [epoch_order(count, seed=seed, epoch=number) for seed in self._seeds]
        return iter(torch.stack(orders).split(self._batch, dim=1))

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs ``(configuration or 1, input, features)`` and classes of a batch."""
        chosen = rows if len(rows) == 1 else rows[self._rows]
        return self._inputs[chosen], self._classes[chosen]
