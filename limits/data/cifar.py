"""CIFAR-10 from the files of its binary version."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limits.data.labelled import LabelledData
from limits.exceptions import LimitsError
from limits.placeholders import placeholder

__all__ = ["cifar10"]

_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = ("test_batch.bin",)


def cifar10(folder: str | Path) -> LabelledData:
    """Read CIFAR-10 from the folder of its binary version (``cifar-10-batches-bin``).

    A record is one byte for the class and 3072 for the pixels (red, green, blue planes of
    32 x 32). Pixels are divided by 255, images flattened, float32.

    Parameters
    ----------
    folder : str or Path
        Holds ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.

    Raises
    ------
    LimitsError
        If a file is missing, is not a whole number of records, or names a class above 9.

    References
    ----------
    Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
    """
    folder = Path(folder)
    train, test = _records(folder, _TRAIN), _records(folder, _TEST)
    return LabelledData(*train, *test, n_classes=10, name="CIFAR-10")


def _records(folder: Path, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    parts = torch.cat([_file(folder / name) for name in names])
    return parts[:, 1:].float() / 255, parts[:, 0].long()


def _file(path: Path) -> Tensor:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LimitsError(
            f"cannot read {path}: {error.strerror}. Unpack the binary version of CIFAR-10 "
            "(cifar-10-binary.tar.gz) and pass its folder cifar-10-batches-bin."
        ) from error
    other = placeholder(path)
    if other:
        raise LimitsError(other)
    if len(content) % _RECORD or not content:
        raise LimitsError(
            f"{path.name} has {len(content)} bytes, which is not a whole number of records of "
            f"{_RECORD}: it is cut off, or not the binary version. Download it again."
        )
    records = torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(-1, _RECORD)
    highest = int(records[:, 0].max())
    if highest > 9:
        raise LimitsError(
            f"{path.name} names class {highest}, and CIFAR-10 has classes 0 to 9. Use the binary "
            "version of CIFAR-10, not of CIFAR-100."
        )
    return records
