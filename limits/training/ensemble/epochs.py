"""The training loop of a chunk of configurations."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits.activations import Activation
from limits.data import LabelledData
from limits.parallel import Ticker
from limits.scaling import residual_scale
from limits.training.batches import Batches
from limits.training.ensemble.result import Configuration
from limits.training.ensemble.stacked_networks import Adam, Ensemble
from limits.training.resnet_module import initial_layers, uniform_matrix

__all__ = ["Trainer", "TrainingPlan"]

_TEST_BATCH = 256


@dataclass
class TrainingPlan:
    """What all configurations share."""

    data: LabelledData
    depth: int
    epochs: int
    batch: int
    activation: Activation
    step_epochs: int
    gamma: float
    trained: tuple[bool, bool]
    explosion: float
    keep_weights: bool
    dtype: torch.dtype
    segment: int | None

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * math.ceil(len(self.data.train_inputs) / self.batch)


class Trainer:
    """Trains the configurations of one chunk."""

    def __init__(self, plan: TrainingPlan, chosen: tuple[Configuration, ...]) -> None:
        self.plan, count, width = plan, len(chosen), chosen[0].path.width
        rates = [each.learning_rate for each in chosen]
        self.rates = torch.tensor(rates, dtype=torch.float64, device="cpu")
        self.alive = torch.arange(count, device="cpu")
        self.chosen = chosen
        self.batches = Batches(
            plan.data, seeds=[each.seed for each in chosen], batch=plan.batch, dtype=plan.dtype
        )
        self.losses = torch.full((count, plan.steps), float("nan"), dtype=plan.dtype, device="cpu")
        self.accuracy = torch.full((count,), float("nan"), dtype=torch.float64, device="cpu")
        self.test_loss = self.accuracy.clone()
        self.diverged_at: list[int | None] = [None] * count
        kept = count if plan.keep_weights else 0
        self.weights = torch.empty(kept, plan.depth, width, width, dtype=plan.dtype, device="cpu")

    @torch.no_grad()
    def run(self, ticker: Ticker) -> "Trainer":
        """Train, measure the accuracy, and return itself."""
        self.net = _ensemble(self.plan, self.chosen)
        step = 0
        for epoch in range(self.plan.epochs):
            factor = self.plan.gamma ** (epoch // self.plan.step_epochs)
            for rows in self.batches.epoch(epoch):
                if len(self.alive):
                    self._step(step, rows, factor)
                step += 1
                ticker(len(self.chosen))
        if len(self.alive):
            self._test(step)
        if self.plan.keep_weights and len(self.alive):
            self.weights[self.alive] = self.net.weights
        del self.net
        return self

    def _step(self, step: int, rows: Tensor, factor: float) -> None:
        losses = self.net.losses(*self.batches.of(rows))
        self.losses[self.alive, step] = losses
        good = losses <= self.plan.explosion
        if not bool(good.all()):
            self._leave(~good, step)
            if not len(self.alive):
                return
            self.net.losses(*self.batches.of(rows))
        self.net.descend(self.rates[self.alive] * factor)

    def _leave(self, bad: Tensor, step: int) -> None:
        """Record that configurations diverged and go on without them."""
        if self.plan.keep_weights:
            self.weights[self.alive[bad]] = self.net.weights[bad]
        for position in self.alive[bad].tolist():
            self.diverged_at[position] = step
        chosen = torch.nonzero(~bad).flatten()
        self.alive = self.alive[chosen]
        if len(chosen):
            self.net.keep(chosen)
            self.batches.keep(chosen)

    def _test(self, step: int) -> None:
        right = torch.zeros(len(self.alive), dtype=torch.float32, device="cpu")
        missed = torch.zeros(len(self.alive), dtype=torch.float64, device="cpu")
        finite = torch.ones(len(self.alive), dtype=torch.bool, device="cpu")
        data = self.plan.data
        parts = data.test_inputs.to(self.plan.dtype).split(_TEST_BATCH)
        for inputs, classes in zip(parts, data.test_classes.split(_TEST_BATCH), strict=True):
            logits = self.net.logits(inputs.unsqueeze(0))
            finite &= torch.isfinite(logits).all(dim=-1).all(dim=-1)
            right += (logits.argmax(dim=-1) == classes).sum(dim=-1)
            shares = torch.log_softmax(logits.double(), dim=-1)
            rows = classes.long().view(1, -1, 1).expand(len(logits), -1, 1)
            missed -= shares.gather(-1, rows).sum(dim=(1, 2))
        self.accuracy[self.alive] = right.double() / len(data.test_classes)
        self.test_loss[self.alive] = missed / len(data.test_classes)
        if not bool(finite.all()):
            self.accuracy[self.alive[~finite]] = float("nan")
            self.test_loss[self.alive[~finite]] = float("nan")
            self._leave(~finite, step)


def _ensemble(plan: TrainingPlan, chosen: tuple[Configuration, ...]) -> Ensemble:
    """Draw what the configurations begin with, once for those of equal path and seed."""
    data, width = plan.data, chosen[0].path.width
    drawn = {
        (each.path, each.seed): initial_layers(
            each.path, depth=plan.depth, seed=each.seed, dtype=plan.dtype
        )
        for each in {(each.path, each.seed): each for each in chosen}.values()
    }
    ends = {
        seed: (
            uniform_matrix(width, data.features, seed=seed, name="embedding", dtype=plan.dtype),
            uniform_matrix(data.n_classes, width, seed=seed, name="readout", dtype=plan.dtype),
        )
        for seed in {each.seed for each in chosen}
    }
    scales = [residual_scale(plan.depth, each.exponent) for each in chosen]
    return Ensemble(
        torch.stack([drawn[each.path, each.seed] for each in chosen]),
        torch.stack([ends[each.seed][0] for each in chosen]),
        torch.stack([ends[each.seed][1] for each in chosen]),
        torch.tensor(scales, dtype=torch.float64, device="cpu"),
        activation=plan.activation,
        segment=plan.segment or plan.depth,
        trained=plan.trained,
        adam=Adam(),
    )
