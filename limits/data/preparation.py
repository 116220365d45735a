"""What is done to inputs before they enter a network."""

from dataclasses import replace

import torch
from torch import Tensor

from limits.data.labelled import LabelledData
from limits.exceptions import LimitsError, ShapeError
from limits.scalars import plain_numbers

__all__ = ["spread_evenly", "standardised", "unit_rows", "validation_split"]


def unit_rows(data: LabelledData) -> LabelledData:
    """Return the data with the training mean removed and every input scaled to norm 1.

    Examples
    --------
    >>> from limits.data import digits
    >>> norms = unit_rows(digits()).train_inputs.norm(dim=1)
    >>> float(norms.min()), float(norms.max())
    (1.0, 1.0)
    """
    mean = data.train_inputs.mean(dim=0)
    tiny = torch.finfo(mean.dtype).tiny
    parts = [data.train_inputs - mean, data.test_inputs - mean]
    train, test = (each / each.norm(dim=1, keepdim=True).clamp_min(tiny) for each in parts)
    return replace(data, train_inputs=train, test_inputs=test)


@plain_numbers
def standardised(data: LabelledData, *, channels: int) -> LabelledData:
    """Return images whose channels have mean 0 and variance 1 over the training part.

    Parameters
    ----------
    data : LabelledData
        Flattened images, channel by channel.
    channels : int
        Number of channels: 1 for digits, 3 for CIFAR-10.

    Raises
    ------
    ShapeError
        If the channels do not share the features evenly. Use channels=1.

    Examples
    --------
    >>> from limits.data import digits
    >>> float(standardised(digits(), channels=1).train_inputs.var())
    1.0
    """
    if data.features % channels:
        raise ShapeError(
            f"{data.features} features are not {channels} channels of equal size. Use channels=1."
        )
    planes = data.train_inputs.view(len(data.train_inputs), channels, -1)
    mean = planes.mean(dim=(0, 2)).view(-1, 1)
    deviation = planes.std(dim=(0, 2)).view(-1, 1).clamp_min(torch.finfo(planes.dtype).tiny)

    def prepared(inputs: torch.Tensor) -> torch.Tensor:
        return ((inputs.view(len(inputs), channels, -1) - mean) / deviation).flatten(1)

    return replace(
        data,
        train_inputs=prepared(data.train_inputs),
        test_inputs=prepared(data.test_inputs),
    )


def spread_evenly(classes: Tensor, n_classes: int, share: float) -> Tensor:
    """Choose the same share of every class, spread evenly over its order, without a seed.

    Examples
    --------
    >>> spread_evenly(torch.tensor([0, 0, 1, 1, 0, 0]), 2, 0.5)
    tensor([ True, False,  True, False,  True, False])
    """
    chosen = torch.zeros(len(classes), dtype=torch.bool, device="cpu")
    for each in range(n_classes):
        rows = torch.nonzero(classes == each).flatten()
        places = torch.arange(len(rows) + 1, dtype=torch.float64, device="cpu")
        chosen[rows[torch.floor(places * share + 0.5).diff() > 0]] = True
    return chosen


@plain_numbers
def validation_split(data: LabelledData, *, share: float = 0.2) -> LabelledData:
    """Return the training part split once more: what is chosen by it has seen no test input.

    Every class gives the same share of its inputs, spread evenly over their order, so that the
    split needs no seed.

    Parameters
    ----------
    data : LabelledData
        Only its training part is read.
    share : float
        Share of the training part that becomes the test part of the result, in (0, 1).

    Raises
    ------
    LimitsError
        If `share` leaves a part empty. Use for example 0.2.

    Examples
    --------
    >>> from limits.data import digits
    >>> validation_split(digits())
    LabelledData('digits': 1151 training and 287 test inputs, 64 features, 10 classes)
    """
    held = spread_evenly(data.train_classes, data.n_classes, share if 0 < share < 1 else 0.0)
    if not 0 < int(held.sum()) < len(held):
        raise LimitsError(
            f"share={share!r} leaves {int(held.sum())} of {len(held)} training inputs to choose "
            "by. Use a share between 0 and 1 that leaves some in both parts, for example 0.2."
        )
    inputs, classes = data.train_inputs, data.train_classes
    return replace(
        data, train_inputs=inputs[~held], train_classes=classes[~held],
        test_inputs=inputs[held], test_classes=classes[held],
    )  # fmt: skip
