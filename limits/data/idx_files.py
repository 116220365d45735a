"""MNIST and its relatives from IDX files on disk."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limits.data.labelled import LabelledData
from limits.exceptions import LimitsError
from limits.placeholders import placeholder

__all__ = ["mnist", "read_idx"]

_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or gzipped (told by its first bytes).

    The format: two zero bytes, 8 for unsigned bytes, the number of axes, one big-endian
    32-bit size per axis, then the bytes.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Tensor
        uint8, of the shape that the file declares.

    Raises
    ------
    LimitsError
        If the file is missing, begins with other bytes, or holds more or fewer bytes than it
        declares. Download it again.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise LimitsError(
            f"{path.name} begins with the bytes {content[:4].hex(' ')}, where an IDX file of "
            "unsigned bytes begins with 00 00 08. Pass the file as published, for example "
            "train-images-idx3-ubyte.gz."
        )
    start = 4 + 4 * content[3]
    if len(content) < start or content[3] == 0:
        raise LimitsError(
            f"{path.name} declares {content[3]} axes, but ends after {len(content)} bytes, inside "
            "its header. Download it again."
        )
    sizes = tuple(int(size) for size in np.frombuffer(content, ">u4", content[3], 4))
    expected = math.prod(sizes)
    if len(content) - start != expected:
        raise LimitsError(
            f"{path.name} declares {' x '.join(map(str, sizes))} = {expected} bytes and holds "
            f"{len(content) - start}: it is cut off or damaged. Download it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, expected, start).copy()).view(sizes)


def mnist(folder: str | Path, *, name: str = "MNIST") -> LabelledData:
    """Read MNIST, or a data set published in its files (Fashion-MNIST, KMNIST), from a folder.

    Pixels are divided by 255, images flattened, float32.

    Parameters
    ----------
    folder : str or Path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.
    name : str
        Label of the data set.

    Raises
    ------
    LimitsError
        If a file is missing, is not what its name says, or images and labels differ in number.
    """
    folder = Path(folder)
    train = _pair(folder, "train")
    test = _pair(folder, "t10k")
    n_classes = 1 + max(int(train[1].max()), int(test[1].max()))
    return LabelledData(*train, *test, n_classes=n_classes, name=name)


def _pair(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    images = _with_axes(folder, f"{part}-images-idx3-ubyte", 3)
    labels = _with_axes(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise LimitsError(
            f"{part}: {len(images)} images and {len(labels)} labels. Take both files from one "
            "release."
        )
    return images.flatten(1).float() / 255, labels.long()


def _with_axes(folder: Path, stem: str, axes: int) -> Tensor:
    path = next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)
    if path is None:
        raise LimitsError(
            f"{folder} has neither {stem} nor {stem}.gz. Download the four MNIST files into one "
            'folder, or use limits.data.from_torchvision("MNIST", folder).'
        )
    values = read_idx(path)
    if values.ndim != axes or len(values) == 0:
        raise LimitsError(
            f"{path.name} holds an array of shape {tuple(values.shape)}, expected {axes} axes and "
            "at least one entry. Check that images and labels were not exchanged."
        )
    return values


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LimitsError(
            f"cannot read {path}: {error.strerror}. Pass the path of an IDX file."
        ) from error
    other = placeholder(path)
    if other:
        raise LimitsError(other)
    if content[:2] != _GZIP:
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise LimitsError(
            f"{path.name} is a damaged gzip file ({error}). Download it again."
        ) from error
