"""Train one image classifier by stochastic gradient descent with momentum."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limits._typing import Progress
from limits.checks import check_count, check_positive, check_progress, check_seed
from limits.data import LabelledData
from limits.exceptions import LimitsError
from limits.modes import recording
from limits.parallel import Ticker
from limits.randomness import Stream
from limits.scalars import plain_numbers
from limits.training.batches import epoch_order

__all__ = ["Recipe", "TrainedClassifier", "train_classifier"]

_TEST_BATCH = 500


@plain_numbers
@dataclass(frozen=True)
class Recipe:
    """How to train: the settings of He et al. for CIFAR-10 unless told otherwise.

    Parameters
    ----------
    epochs, batch : int
        Passes over the training part, inputs per step.
    learning_rate, momentum, weight_decay : float
        Of the descent; the decay acts on all parameters.
    milestones : tuple of int
        Epochs from which on the learning rate is ten times smaller.
    crop : int
        Pixels of zeros around an image before it is cropped at random; 0 for none.
    flip : bool
        Whether images are mirrored at random.

    Raises
    ------
    LimitsError
        If a number is out of range.

    Examples
    --------
    >>> [Recipe().rate(epoch) for epoch in (0, 99, 100, 150)]
    [0.1, 0.1, 0.01, 0.001]
    """

    epochs: int = 200
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] = (100, 150)
    crop: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        check_count(self.epochs, "epochs")
        check_count(self.batch, "batch")
        check_positive(self.learning_rate, "learning_rate", 0.1)
        for value, name in ((self.momentum, "momentum"), (self.weight_decay, "weight_decay")):
            if not 0 <= value < 1:
                raise LimitsError(f"{name} must lie in [0, 1), found {value!r}. Use 0 for none.")
        if self.crop < 0 or any(each < 1 for each in self.milestones):
            raise LimitsError(
                f"crop must not be negative and milestones positive, found crop={self.crop} and "
                f"milestones={self.milestones}. Use 0 and () for none."
            )

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        passed = sum(epoch >= milestone for milestone in self.milestones)
        return self.learning_rate / 10**passed


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """What training found.

    Parameters
    ----------
    losses : Tensor
        Mean cross-entropy of every epoch's minibatches in nats, shape ``(epoch,)``, float64; NaN
        from the epoch of a divergence on.
    errors : Tensor
        Share of test inputs classified wrongly after every epoch, shape ``(epoch,)``, float64;
        NaN from the epoch of a divergence on.
    diverged_at : int or None
        Step (from 0) whose loss was not finite.
    test_losses : Tensor
        Mean cross-entropy of the test inputs after every epoch in nats, shape ``(epoch,)``,
        float64; NaN from the epoch of a divergence on.
    """

    losses: Tensor
    errors: Tensor
    diverged_at: int | None
    test_losses: Tensor


@plain_numbers
@recording
def train_classifier(
    model: torch.nn.Module,
    data: LabelledData,
    recipe: Recipe,
    *,
    seed: int,
    image: tuple[int, int, int] | None = None,
    progress: Progress | None = None,
) -> TrainedClassifier:
    """Train a module on cross-entropy, in place, and test it after every epoch.

    Parameters
    ----------
    model : torch.nn.Module
        From rows ``(input, features)``, such as flattened images, to ``(input, n_classes)``.
    data : LabelledData
        See `limits.data.standardised`.
    recipe : Recipe
        How to train.
    seed : int
        Of the order of the data and of crops and flips.
    image : tuple of int, optional
        Channels, rows and columns, needed to crop and flip.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Raises
    ------
    LimitsError
        If images are to be cropped or flipped and their shape was not given, or the parameters
        were made in inference mode.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016,
    Section 4.2.

    Examples
    --------
    >>> import limits
    >>> data = limits.data.standardised(limits.data.digits(), channels=1)
    >>> recipe = Recipe(epochs=2, milestones=(), crop=0, flip=False, learning_rate=0.01)
    >>> trained = train_classifier(torch.nn.Linear(64, 10), data, recipe, seed=0)
    >>> bool(trained.errors[-1] < 0.2)
    True
    """
    check_seed(seed)
    check_progress(progress)
    if (recipe.crop or recipe.flip) and (image is None or math.prod(image) != data.features):
        raise LimitsError(
            f"images cannot be cropped or flipped with image={image}: inputs have {data.features} "
            "features. Pass image=(channels, rows, columns), or a recipe with crop=0, flip=False."
        )
    if any(each.is_inference() for each in model.parameters()):
        raise LimitsError(
            f"the parameters of {type(model).__name__} were made in inference mode, in which no "
            "gradient can reach them. Make the model outside of torch.inference_mode()."
        )
    inputs, classes = data.train_inputs, data.train_classes.long()
    place = next(model.parameters()).device
    optimiser = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )  # fmt: skip
    batches = math.ceil(len(inputs) / recipe.batch)
    ticker = Ticker(recipe.epochs * batches, "training", progress)
    losses = torch.full((recipe.epochs, batches), float("nan"), dtype=torch.float64, device="cpu")
    tested = torch.full((2, recipe.epochs), float("nan"), dtype=torch.float64, device="cpu")
    for epoch in range(recipe.epochs):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(epoch)
        model.train()
        order = epoch_order(len(inputs), seed=seed, epoch=epoch)
        change = None
        if image is not None and (recipe.crop or recipe.flip):
            change = Augmentation(recipe, image, len(inputs), seed=seed, epoch=epoch)
        for number, rows in enumerate(order.split(recipe.batch)):
            seen = inputs[rows] if change is None else change(inputs, rows)
            loss = _step(model, optimiser, seen.to(place), classes[rows].to(place))
            ticker()
            if not math.isfinite(loss):
                step = epoch * batches + number
                return TrainedClassifier(losses.mean(dim=1), tested[0], step, tested[1])
            losses[epoch, number] = loss
        tested[:, epoch] = _tested(model, data)
    return TrainedClassifier(losses.mean(dim=1), tested[0], None, tested[1])


class Augmentation:
    """Shifts within a frame of zeros and mirrors every image at random, anew in every epoch."""

    def __init__(
        self, recipe: Recipe, image: tuple[int, int, int], count: int, *, seed: int, epoch: int
    ) -> None:
        self._crop, self._image = recipe.crop, image
        generator = Stream(seed, "training/augmentation").generator(epoch)
        reach = 2 * recipe.crop + 1
        self._down = torch.randint(reach, (count, 1, 1, 1), generator=generator, device="cpu")
        self._right = torch.randint(reach, (count, 1, 1, 1), generator=generator, device="cpu")
        mirrored = (
            torch.rand(count, 1, 1, 1, generator=generator, dtype=torch.float32, device="cpu") < 0.5
        )
        self._mirrored = mirrored & recipe.flip

    def __call__(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Return some of the inputs changed, shape ``(input, features)``."""
        channels, height, width = self._image
        framed = torch.nn.functional.pad(
            inputs[rows].view(-1, channels, height, width), (self._crop,) * 4
        )
        down = torch.arange(height, device="cpu").view(-1, 1) + self._down[rows]
        right = torch.arange(width, device="cpu") + self._right[rows]
        cropped = framed.gather(2, down.expand(-1, channels, -1, framed.shape[3]))
        cropped = cropped.gather(3, right.expand(-1, channels, height, -1))
        return torch.where(self._mirrored[rows], cropped.flip(3), cropped).flatten(1)


def _step(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, classes: Tensor
) -> float:
    """Take a step unless the loss is not finite, and return the loss before it."""
    value = torch.nn.functional.cross_entropy(model(inputs), classes)
    loss = value.item()
    if math.isfinite(loss):
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return loss


@torch.no_grad()
def _tested(model: torch.nn.Module, data: LabelledData) -> Tensor:
    """Return the share of test inputs classified wrongly, and their mean cross-entropy."""
    model.eval()
    place = next(model.parameters()).device
    totals = torch.zeros(2, dtype=torch.float64, device="cpu")
    parts = data.test_inputs.split(_TEST_BATCH), data.test_classes.long().split(_TEST_BATCH)
    for inputs, classes in zip(*parts, strict=True):
        outputs = model(inputs.to(place)).double().cpu()
        totals[0] += (outputs.argmax(dim=1) != classes).sum()
        totals[1] += torch.nn.functional.cross_entropy(outputs, classes, reduction="sum")
    return totals / len(data.test_classes)
