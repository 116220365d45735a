"""Train many networks at once: configurations that differ in scaling, weights and learning rate."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from limits._typing import Progress
from limits.activations import Activation, as_activation
from limits.checks import (
    check_beta,
    check_count,
    check_dtype,
    check_positive,
    check_progress,
    check_seed,
)
from limits.data import LabelledData
from limits.exceptions import LimitsError, ShapeError
from limits.parallel import Ticker, map_chunks
from limits.scalars import plain_numbers
from limits.training.ensemble.epochs import Trainer, TrainingPlan
from limits.training.ensemble.result import Configuration, TrainedEnsemble
from limits.training.ensemble.stacked_networks import padded_width

__all__ = ["train_ensemble"]

# What a chunk of configurations may hold: states of all layers, weights and two moments.
_CHUNK_BYTES = 2**29
_FEWEST_TOGETHER = 8


@plain_numbers
def train_ensemble(
    configurations: Sequence[Configuration],
    data: LabelledData,
    *,
    depth: int,
    epochs: int,
    batch: int = 128,
    activation: str | Callable[[Tensor], Tensor] | Activation = "relu",
    step_epochs: int | None = 5,
    gamma: float = 0.1,
    train_embedding: bool = True,
    train_readout: bool = True,
    explosion: float = 1e6,
    keep_weights: bool = False,
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> TrainedEnsemble:
    """Train res-1 networks B h_L, h_{k+1} = h_k + L^-beta V_k s(h_k), h_0 = A x, side by side.

    Cross-entropy, Adam (0.9, 0.999, 1e-8), learning rate times `gamma` every `step_epochs`
    epochs; no biases. Every configuration gets what it would get alone, as a
    `limits.ResNetModule` of its path, beta and seed under torch.optim.Adam with the same
    batches, up to rounding. One that diverges is recorded and left; the others do not notice.

    Parameters
    ----------
    configurations : sequence of Configuration
        What to train. All paths have one width.
    data : LabelledData
        Training and test part; see `limits.data`.
    depth : int
        Number of layers L.
    epochs : int
        Passes over the training part, each in a new order.
    batch : int
        Inputs per step; the last batch of an epoch may be smaller.
    activation : str or callable
        The s.
    step_epochs : int, optional
        The learning rate falls after so many epochs; never when None.
    gamma : float
        Factor by which it falls.
    train_embedding, train_readout : bool
        Whether A and B are trained, as in the published runs, or stay as they were drawn.
    explosion : float
        A loss above this many nats, or one that is not finite, counts as divergence.
    keep_weights : bool
        Whether the result holds the trained weights.
    dtype : torch.dtype
        float32 or float64.
    chunk : int, optional
        Configurations that advance together; by default as many as half a GiB holds, in as many
        chunks as torch may use threads.
    checkpoint_every : int, optional
        Keep the states of every so many layers only and compute the others again, which
        costs a third more time. By default all, or every sqrt(L)-th where memory asks for it.
    progress : callable, optional
        Called as ``progress(done, total, label)``; counts steps of configurations.

    Returns
    -------
    TrainedEnsemble
        Losses, accuracies, divergences and, on demand, weights.

    Raises
    ------
    LimitsError
        If there is nothing to train, widths differ, or a number is out of range.

    References
    ----------
    Marion et al., "Scaling ResNets in the large-depth regime", JMLR 26 (2025), Section 6.

    Examples
    --------
    >>> import limits
    >>> path = limits.BrownianPath(8)
    >>> tried = [limits.Configuration(path, rate, beta=0.5) for rate in (1e-3, 1e-2)]
    >>> trained = train_ensemble(tried, limits.data.digits(), depth=16, epochs=1)
    >>> trained.losses.shape
    torch.Size([2, 12])
    """
    chosen = tuple(configurations)
    width = _check_configurations(chosen)
    check_dtype(dtype)
    for value, name in ((depth, "depth"), (epochs, "epochs"), (batch, "batch")):
        check_count(value, name)
    for value, name in ((chunk, "chunk"), (checkpoint_every, "checkpoint_every")):
        if value is not None:
            check_count(value, name)
    if step_epochs is not None:
        check_count(step_epochs, "step_epochs")
    check_positive(gamma, "gamma", 0.1)
    check_progress(progress)
    plan = TrainingPlan(
        data, depth, epochs, min(batch, len(data.train_inputs)), as_activation(activation),
        step_epochs or epochs, gamma, (train_embedding, train_readout), explosion, keep_weights,
        dtype, checkpoint_every,
    )  # fmt: skip
    size, plan.segment = _sizes(plan, width, len(chosen), chunk, checkpoint_every)
    ranges = [(i, min(size, len(chosen) - i)) for i in range(0, len(chosen), size)]
    ticker = Ticker(len(chosen) * plan.steps, "training", progress)
    parts = map_chunks(
        lambda first, count: Trainer(plan, chosen[first : first + count]).run(ticker), ranges
    )
    weights = torch.cat([each.weights for each in parts]) if keep_weights else None
    return TrainedEnsemble(
        chosen,
        torch.cat([each.losses for each in parts]),
        tuple(step for each in parts for step in each.diverged_at),
        torch.cat([each.accuracy for each in parts]),
        weights,
        depth,
        torch.cat([each.test_loss for each in parts]),
    )


def _sizes(
    plan: TrainingPlan, width: int, count: int, chunk: int | None, segment: int | None
) -> tuple[int, int]:
    """Return how many configurations advance together and how many layers' states are held."""
    wide, item = padded_width(width, plan.activation), plan.dtype.itemsize
    state, layer = item * plan.batch * wide, 3 * item * wide**2

    def fitting(held: int) -> int:
        states = held + math.ceil(plan.depth / held) + 2
        return max(1, _CHUNK_BYTES // (states * state + plan.depth * layer))

    if segment is None:
        enough = fitting(plan.depth) >= min(_FEWEST_TOGETHER, chunk or count)
        segment = plan.depth if enough else math.isqrt(plan.depth - 1) + 1
    if chunk is None:
        shared = math.ceil(count / min(torch.get_num_threads(), count))
        chunk = min(shared, fitting(segment))
    return chunk, segment


def _check_configurations(chosen: tuple[Configuration, ...]) -> int:
    if not chosen or not all(isinstance(each, Configuration) for each in chosen):
        raise LimitsError(
            f"there is nothing to train among {len(chosen)} objects. Pass a list of "
            "limits.Configuration(path, learning_rate, beta=..., seed=...)."
        )
    for each in chosen:
        check_positive(each.learning_rate, "learning_rate", 1e-3)
        check_beta(each.beta)
        check_seed(each.seed)
    widths = sorted({each.path.width for each in chosen})
    if len(widths) > 1:
        raise ShapeError(
            f"configurations have the widths {widths}, and only networks of one width advance "
            "together. Train each width in a call of its own."
        )
    return widths[0]
