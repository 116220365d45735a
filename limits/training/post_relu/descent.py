"""Train draws of the analysed networks: gradient descent on squares, and on minibatches."""

import torch
from torch import Tensor

from limits._typing import Progress
from limits.checks import check_count, check_finite, check_positive, check_progress
from limits.data import LabelledData
from limits.exceptions import ShapeError
from limits.parallel import Ticker
from limits.scalars import plain_numbers
from limits.training.batches import epoch_order
from limits.training.post_relu.networks import AnalysedEnsemble

__all__ = ["descend_squares", "train_analysed"]


@plain_numbers
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
    ShapeError, DTypeError, NonFiniteStateError
        If targets do not fit the outputs, or data are no finite real numbers.

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
    check_count(steps, "steps")
    for tensor, name in ((inputs, "the tensor inputs"), (targets, "the tensor targets")):
        check_finite(tensor, name)
    descent = _Descent(nets, rate=rate, explosion=explosion, steps=steps + 1)
    check_progress(progress)
    ticker = Ticker(steps + 1, "gradient descent", progress)
    for step in range(steps + 1):
        if len(descent.alive):
            errors = nets.outputs(inputs)
            if errors.shape[1:] != targets.shape:
                raise ShapeError(
                    f"targets must have shape {tuple(errors.shape[1:])} (input, outputs), found "
                    f"{tuple(targets.shape)}. One-hot classes are one row an input."
                )
            errors = errors - targets.to(errors)
            found = errors.double().square().sum(dim=(1, 2)).cpu() / 2
            left = descent.record(step, found)
            if step < steps and len(descent.alive):
                if left:
                    errors = nets.outputs(inputs) - targets.to(errors)
                nets.descend(errors, rate=rate)
        ticker()
    return descent.losses


@plain_numbers
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
    check_count(epochs, "epochs")
    check_count(batch, "batch")
    inputs, classes, count = data.train_inputs, data.train_classes, len(data.train_inputs)
    hot = torch.nn.functional.one_hot(classes.long(), data.n_classes)
    batches, n_paths = -(-count // batch), len(nets)
    descent = _Descent(nets, rate=rate, explosion=explosion, steps=epochs * batches)
    check_progress(progress)
    ticker = Ticker(epochs * batches, "training", progress)
    step = 0
    for epoch in range(epochs):
        orders = torch.stack(
            [epoch_order(count, seed=seed, epoch=epoch, path=path) for path in range(n_paths)]
        )
        for rows in orders.split(batch, dim=1):
            descent.on_minibatch(step, inputs, hot, rows)
            step += 1
            ticker()
    return descent.losses.view(n_paths, epochs, batches).mean(dim=2)


class _Descent:
    """Draws that descend in step: their losses, and which of them have not diverged."""

    def __init__(
        self, nets: AnalysedEnsemble, *, rate: float, explosion: float, steps: int
    ) -> None:
        check_positive(rate, "rate", 1e-3)
        check_positive(explosion, "explosion", 1e6)
        self.nets, self.rate, self.explosion = nets, rate, explosion
        shape = (len(nets), steps)
        self.losses = torch.full(shape, float("nan"), dtype=torch.float64, device="cpu")
        self.alive = torch.arange(len(nets), device="cpu")

    def record(self, step: int, found: Tensor) -> bool:
        """Record losses, leave the draws that diverged, and say whether there were any."""
        good = found <= self.explosion
        self.losses[self.alive[good], step] = found[good]
        if bool(good.all()):
            return False
        chosen = torch.nonzero(good).flatten()
        self.nets.keep(chosen)
        self.alive = self.alive[chosen]
        return True

    def on_minibatch(self, step: int, inputs: Tensor, hot: Tensor, rows: Tensor) -> None:
        """Record the losses of a minibatch and take a step on it with the draws that are left."""
        left = True
        while left and len(self.alive):
            chosen = rows[self.alive]
            logits = self.nets.outputs(inputs[chosen])
            log_shares = torch.log_softmax(logits, dim=-1)
            wanted = hot[chosen].to(logits)
            left = self.record(step, -(log_shares * wanted).sum(dim=-1).double().mean(dim=1).cpu())
            if not left:
                slope = (log_shares.exp() - wanted) / chosen.shape[1]
                self.nets.descend(slope, rate=self.rate)
