"""Data sets that torchvision downloads, for those who have it."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limits.data.labelled import LabelledData
from limits.exceptions import LimitsError

__all__ = ["from_torchvision"]


def from_torchvision(name: str, folder: str | Path, *, download: bool = False) -> LabelledData:
    """Read a torchvision classification data set that has ``data`` and ``targets``.

    Pixels are divided by 255, channels put first, images flattened, float32.

    Parameters
    ----------
    name : str
        Class in ``torchvision.datasets``: ``"MNIST"``, ``"FashionMNIST"``, ``"CIFAR10"``, ...
    folder : str or Path
        Where torchvision keeps its files.
    download : bool
        Let torchvision download what is missing.

    Raises
    ------
    LimitsError
        If torchvision is not installed (``pip install "resnet-limits[vision]"``), does not know
        the name, or has no files in `folder`.
    """
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise LimitsError(
            f"reading {name} needs torchvision, which is not installed. Use "
            'pip install "resnet-limits[vision]", or the files on disk with limits.data.mnist or '
            "limits.data.cifar10."
        ) from error
    dataset = getattr(datasets, name, None)
    if dataset is None:
        raise LimitsError(f"torchvision.datasets has no {name!r}. Use for example 'MNIST'.")
    try:
        train, test = (
            dataset(str(folder), train=part, download=download) for part in (True, False)
        )
    except RuntimeError as error:
        raise LimitsError(
            f"torchvision found no {name} in {folder}: {error}. Pass download=True."
        ) from error
    parts = (*_arrays(train), *_arrays(test))
    return LabelledData(*parts, n_classes=1 + int(parts[1].max()), name=name)


def _arrays(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(np.asarray(dataset.data), device="cpu").float() / 255
    if images.ndim == 4:
        images = images.movedim(-1, 1)
    return images.flatten(1), torch.as_tensor(np.asarray(dataset.targets), device="cpu").long()
