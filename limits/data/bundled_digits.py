"""The digits that come with scikit-learn: 1797 images of 8 x 8 pixels."""

import torch

from limits.data.labelled import LabelledData
from limits.data.preparation import spread_evenly
from limits.exceptions import LimitsError
from limits.scalars import plain_numbers

__all__ = ["digits"]


@plain_numbers
def digits(*, test_share: float = 0.2) -> LabelledData:
    """Return scikit-learn's digit images, pixels in [0, 1], float32; nothing is downloaded.

    Every class gives the same share of its images to the test part, spread evenly over the
    order of the file, so that the split needs no seed and both parts hold every writer.

    Parameters
    ----------
    test_share : float
        Share of the test part, in (0, 1).

    Raises
    ------
    LimitsError
        If `test_share` leaves a part empty. Use for example 0.2.

    Examples
    --------
    >>> digits()
    LabelledData('digits': 1438 training and 359 test inputs, 64 features, 10 classes)
    """
    if not 0.01 <= test_share <= 0.99:
        raise LimitsError(
            f"test_share must lie between 0.01 and 0.99, found {test_share!r}. Use 0.2."
        )
    # Costs a second, which whoever brings other data should not pay.
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    inputs = torch.as_tensor(images / 16.0, dtype=torch.float32, device="cpu")
    labels = torch.as_tensor(classes, dtype=torch.int64, device="cpu")
    chosen = spread_evenly(labels, 10, test_share)
    return LabelledData(
        inputs[~chosen], labels[~chosen], inputs[chosen], labels[chosen], 10, "digits"
    )
