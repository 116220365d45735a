"""A data set to classify, in memory."""

from dataclasses import dataclass

from torch import Tensor

from limits.checks import check_finite, check_real
from limits.exceptions import DTypeError, ShapeError
from limits.scalars import plain_numbers

__all__ = ["LabelledData"]


@plain_numbers
@dataclass(frozen=True, eq=False)
class LabelledData:
    """Inputs and classes, split into a training and a test part.

    Parameters
    ----------
    train_inputs, test_inputs : Tensor
        Floating point, shape ``(input, features)``.
    train_classes, test_classes : Tensor
        Integers from 0 to ``n_classes - 1``, shape ``(input,)``.
    n_classes : int
        Number of classes.
    name : str
        Label in plots and provenance.

    Raises
    ------
    ShapeError
        If shapes do not fit each other or a class lies outside the range. Flatten images with
        ``x.flatten(1)``.
    DTypeError
        If inputs are not floating point or classes not integers.
    NonFiniteStateError
        If inputs hold NaN or infinite values.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    >>> LabelledData(x, y, x[:2], y[:2], n_classes=2)
    LabelledData('data': 4 training and 2 test inputs, 3 features, 2 classes)
    """

    train_inputs: Tensor
    train_classes: Tensor
    test_inputs: Tensor
    test_classes: Tensor
    n_classes: int
    name: str = "data"

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            _check_part(part, getattr(self, f"{part}_inputs"), getattr(self, f"{part}_classes"))
            _check_classes(part, getattr(self, f"{part}_classes"), self.n_classes)
        if self.train_inputs.shape[1] != self.test_inputs.shape[1]:
            raise ShapeError(
                f"training inputs have {self.train_inputs.shape[1]} features, test inputs "
                f"{self.test_inputs.shape[1]}. Prepare both in the same way."
            )

    @property
    def features(self) -> int:
        """Numbers per input."""
        return self.train_inputs.shape[1]

    def __repr__(self) -> str:
        return (
            f"LabelledData({self.name!r}: {len(self.train_inputs)} training and "
            f"{len(self.test_inputs)} test inputs, {self.features} features, "
            f"{self.n_classes} classes)"
        )


def _check_part(part: str, inputs: Tensor, classes: Tensor) -> None:
    if inputs.ndim != 2 or classes.shape != inputs.shape[:1] or inputs.numel() == 0:
        raise ShapeError(
            f"{part} inputs must have shape (input, features) and {part} classes (input,), found "
            f"{tuple(inputs.shape)} and {tuple(classes.shape)}. Flatten images with x.flatten(1)."
        )
    for each, name in ((inputs, "inputs"), (classes, "classes")):
        check_real(each, f"{part}_{name}")
    if not inputs.dtype.is_floating_point or classes.dtype.is_floating_point:
        raise DTypeError(
            f"{part} inputs must be floating point and {part} classes integers, found "
            f"{inputs.dtype} and {classes.dtype}. Use x.float() / 255 and y.long()."
        )
    check_finite(inputs, f"{part}_inputs")


def _check_classes(part: str, classes: Tensor, n_classes: int) -> None:
    lowest, highest = int(classes.min()), int(classes.max())
    if lowest < 0 or highest >= n_classes:
        raise ShapeError(
            f"{part} classes run from {lowest} to {highest}, outside 0 ... {n_classes - 1}. Number "
            f"classes from 0, or pass n_classes={highest + 1}."
        )
