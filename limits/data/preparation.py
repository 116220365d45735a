"""What is done to inputs before they enter a network."""

from dataclasses import replace

import torch

from limits.data.labelled import LabelledData
from limits.exceptions import ShapeError
from limits.scalars import plain_numbers

__all__ = ["standardised", "unit_rows"]


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
