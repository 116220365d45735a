"""Train draws of the analysed networks: gradient descent on squares, and on minibatches."""

import torch
from torch import Tensor

from limits._typing import Progress
from limits.checks import check_count, check_positive
from limits.data import LabelledData
from limits.exceptions import ShapeError
from limits.parallel import Ticker
from limits.training.batches import epoch_order
from limits.training.post_relu.networks import AnalysedEnsemble

__all__ = ["descend_squares", "train_analysed"]


@torch.no_grad()
def descend_squares(
    nets: AnalysedEnsemble,
    inputs: Tensor,
    targets: Tensor,
    *,
    rate: float,
    steps: int,
    explosion: float = 1e6,
    progress: Progress | None = None,
) -> Tensor:
    """Descend sum |y - y*|^2 / 2 with its whole gradient, in place, and return the losses.

    Parameters
    ----------
    nets : AnalysedEnsemble
        The networks; a draw that diverges is recorded and left.
    inputs : Tensor
        Shape ``(input, features)``.
    targets : Tensor
        The y*, shape ``(input, outputs)``.
    rate : float
        Learning rate.
    steps : int
        Number of steps.
    explosion : float
        A loss above this, or one that is not finite, counts as divergence.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    Tensor
        Loss before every step and after the last, shape ``(path, steps + 1)``, float64; NaN
        after a divergence.

    Raises
    ------
    ShapeError
        If targets do not fit the outputs.

    References
    ----------
    Zhang et al. (2022), Section 4 (global convergence of gradient descent).

    Examples
    --------
    >>> import limits
    >>> nets = AnalysedEnsemble(
    ...     limits.BrownianPath(64), depth=16, n_paths=2, seed=0, features=8, outputs=1, tau=0.25
    ... )
    >>> losses = descend_squares(nets, torch.eye(8), torch.ones(8, 1), rate=1e-3, steps=200)
    >>> bool((losses[:, -1] < 0.1 * losses[:, 0]).all())
    True
    """
    _check_rates(rate, explosion, steps, "steps")
    ticker = Ticker(steps + 1, "gradient descent", progress)
    losses = torch.full((len(nets), steps + 1), float("nan"), dtype=torch.float64)
    alive = torch.arange(len(nets))
    for step in range(steps + 1):
        if len(alive):
            errors = nets.outputs(inputs)
            if errors.shape[1:] != targets.shape:
                raise ShapeError(
                    f"targets must have shape {tuple(errors.shape[1:])} (input, outputs), found "
                    f"{tuple(targets.shape)}. One-hot classes are one row an input."
                )
            errors = errors - targets.to(errors)
            found = errors.double().square().sum(dim=(1, 2)).cpu() / 2
            alive, left = _survivors(nets, losses, alive, found, step, explosion)
            if step < steps and len(alive):
                if left:
                    errors = nets.outputs(inputs) - targets.to(errors)
                nets.descend(errors, rate=rate)
        ticker()
    return losses


@torch.no_grad()
def train_analysed(
    nets: AnalysedEnsemble,
    data: LabelledData,
    *,
    rate: float,
    batch: int,
    epochs: int,
    seed: int,
    explosion: float = 1e6,
    progress: Progress | None = None,
) -> Tensor:
    """Train by stochastic gradient descent on cross-entropy, in place, and return the losses.

    Parameters
    ----------
    nets : AnalysedEnsemble
        The networks; a draw that diverges is recorded and left.
    data : LabelledData
        Only the training part is read; see `limits.data.unit_rows`.
    rate : float
        Learning rate, constant.
    batch : int
        Inputs per step; the last batch of an epoch may be smaller.
    epochs : int
        Passes over the data, each in a new order, another one for every draw.
    seed : int
        Of the orders.
    explosion : float
        A loss above this many nats, or one that is not finite, counts as divergence.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    Tensor
        Mean loss of every epoch's minibatches, each before the step on it, in nats, shape
        ``(path, epochs)``, float64; NaN from the epoch of a divergence on.

    References
    ----------
    Zhang et al. (2022), Section 5.

    Examples
    --------
    >>> import limits
    >>> data = limits.data.unit_rows(limits.data.digits())
    >>> nets = AnalysedEnsemble(
    ...     limits.BrownianPath(32), depth=4, n_paths=2, seed=0, features=64, outputs=10, tau=0.5
    ... )
    >>> losses = train_analysed(nets, data, rate=0.1, batch=64, epochs=2, seed=0)
    >>> bool((losses[:, 1] < losses[:, 0]).all())
    True
    """
    _check_rates(rate, explosion, epochs, "epochs")
    check_count(batch, "batch")
    inputs, classes, count = data.train_inputs, data.train_classes, len(data.train_inputs)
    hot = torch.nn.functional.one_hot(classes.long(), data.n_classes)
    batches = -(-count // batch)
    ticker = Ticker(epochs * batches, "training", progress)
    losses = torch.full((len(nets), epochs * batches), float("nan"), dtype=torch.float64)
    alive, step = torch.arange(len(nets)), 0
    for epoch in range(epochs):
        orders = torch.stack(
            [epoch_order(count, seed=seed, epoch=epoch, path=path) for path in range(len(losses))]
        )
        for rows in orders.split(batch, dim=1):
            if len(alive):
                alive = _step(nets, inputs, hot, rows, alive, losses, step, rate, explosion)
            step += 1
            ticker()
    return losses.view(len(losses), epochs, batches).mean(dim=2)


def _step(
    nets: AnalysedEnsemble,
    inputs: Tensor,
    hot: Tensor,
    rows: Tensor,
    alive: Tensor,
    losses: Tensor,
    step: int,
    rate: float,
    explosion: float,
) -> Tensor:
    """Record the losses of a minibatch, descend, and return the draws that are left."""
    while len(alive):
        chosen = rows[alive]
        logits = nets.outputs(inputs[chosen])
        log_shares = torch.log_softmax(logits, dim=-1)
        wanted = hot[chosen].to(logits)
        found = -(log_shares * wanted).sum(dim=-1).double().mean(dim=1).cpu()
        alive, left = _survivors(nets, losses, alive, found, step, explosion)
        if not left:
            nets.descend((log_shares.exp() - wanted) / chosen.shape[1], rate=rate)
            break
    return alive


def _survivors(
    nets: AnalysedEnsemble,
    losses: Tensor,
    alive: Tensor,
    found: Tensor,
    step: int,
    explosion: float,
) -> tuple[Tensor, bool]:
    """Record losses, leave the draws that diverged, and say whether there were any."""
    good = found <= explosion
    losses[alive[good], step] = found[good]
    if bool(good.all()):
        return alive, False
    chosen = torch.nonzero(good).flatten()
    nets.keep(chosen)
    return alive[chosen], True


def _check_rates(rate: float, explosion: float, count: int, name: str) -> None:
    check_positive(rate, "rate", 1e-3)
    check_positive(explosion, "explosion", 1e6)
    check_count(count, name)
