"""Convolutional residual networks of He et al., with and without normalisation, scaled by tau."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from limits.checks import check_choice, check_count, check_real
from limits.exceptions import LimitsError, ShapeError
from limits.randomness import Stream
from limits.scalars import plain_numbers

__all__ = ["ConvResNet", "Normalisation"]

Normalisation = Literal["batch", "none"]
_KERNEL = 3


@plain_numbers
class ConvResNet(torch.nn.Module):
    """Stages of blocks h <- relu(S h + tau F(h)) between a convolution and a linear classifier.

    With batch normalisation F is conv, BN, relu, conv, BN. Without it, F is conv, relu, conv with
    a trained scalar bias before each of the three and another before the last relu, and tau is one
    trained number shared by all blocks, whose gradient is divided by their number L.

    The shortcut S is the identity; where a stage begins it takes every other pixel and fills the
    new channels with zeros (shortcut A). Convolutions are 3 x 3 and begin normal with variance
    2 / (9 channels out), the classifier begins at zero.

    Parameters
    ----------
    blocks : sequence of int
        Blocks of every stage; every stage but the first halves the image.
    channels : sequence of int
        Channels of every stage.
    image : tuple of int
        Channels, rows and columns of an image.
    n_classes : int
        Number of outputs.
    tau : float
        Residual scale, where it begins without normalisation; 1 is the network of He et al.
    normalisation : {"batch", "none"}
        Batch normalisation or none.
    pooled : bool
        Whether the classifier reads the mean of every channel, or all pixels.
    seed : int
        Of the initial weights.

    Attributes
    ----------
    depth : int
        The L: number of blocks in all stages.
    tau : Tensor
        The residual scale, a parameter without normalisation.

    Raises
    ------
    LimitsError
        If a number is out of range, or stages and channels disagree.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, Section
    4.2; Zhang, Dauphin and Ma, "Fixup initialization", ICLR 2019; Zhang, Yu, Yi, Chen and Liu,
    "Stabilize deep ResNet with a sharp scaling factor tau", Machine Learning (2022), Section 5.

    Examples
    --------
    >>> net = ConvResNet.published(20, seed=0)
    >>> sum(each.numel() for each in net.parameters())
    269722
    >>> images = torch.zeros(2, 3, 32, 32)
    >>> net(images).shape
    torch.Size([2, 10])
    >>> torch.equal(net(images), net(images.flatten(1)))
    True
    """

    tau: Tensor

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        channels: Sequence[int],
        image: tuple[int, int, int],
        n_classes: int,
        seed: int,
        tau: float = 1.0,
        normalisation: Normalisation = "batch",
        pooled: bool = True,
    ) -> None:
        super().__init__()
        check_choice(normalisation, "normalisation", Normalisation)
        _check(blocks, channels, image, tau)
        check_count(n_classes, "n_classes")
        self.image, self.pooled, self.depth = image, pooled, sum(blocks)
        normalised = normalisation == "batch"
        factor = torch.tensor(float(tau), dtype=torch.float32, device="cpu")
        if normalised:
            self.register_buffer("tau", factor)
        else:
            self.tau = torch.nn.Parameter(factor)
        self.stem = _convolution(image[0], channels[0])
        self.stem_norm = _norm(channels[0]) if normalised else _Shift()
        widths = [channels[0], *channels]
        self.blocks = torch.nn.ModuleList(
            _Block(
                widths[stage] if first else width,
                width,
                2 if first and stage else 1,
                normalised,
            )
            for stage, (count, width) in enumerate(zip(blocks, channels, strict=True))
            for first in (True, *[False] * (count - 1))
        )
        shrunk = 2 ** (len(blocks) - 1)
        pixels = 1 if pooled else math.ceil(image[1] / shrunk) * math.ceil(image[2] / shrunk)
        self.classifier = torch.nn.Linear(
            channels[-1] * pixels, n_classes, dtype=torch.float32, device="cpu"
        )
        _initialise(self, seed)

    @classmethod
    def published(
        cls, layers: int, *, seed: int, tau: float = 1.0, normalisation: Normalisation = "batch"
    ) -> "ConvResNet":
        """Return ResNet-20, 32, 44, 56, 110, 1202, ... for the ten classes of CIFAR-10.

        Parameters
        ----------
        layers : int
            6 n + 2: two convolutions in each of n blocks of three stages, the first convolution
            and the classifier.

        Raises
        ------
        LimitsError
            If `layers` is not 6 n + 2. Use for example 110.
        """
        n, rest = divmod(layers - 2, 6)
        if rest or n < 1:
            raise LimitsError(
                f"layers must be 6 n + 2 with n blocks in each of three stages, found {layers}. "
                f"Use for example {6 * max(n, 1) + 2}."
            )
        return cls(
            (n, n, n), channels=(16, 32, 64), image=(3, 32, 32), n_classes=10, seed=seed, tau=tau,
            normalisation=normalisation,
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs, shape ``(input, n_classes)``.

        Parameters
        ----------
        inputs : Tensor
            Images ``(input, channel, height, width)``, or the same flattened to rows
            ``(input, channel * height * width)``; the outputs are equal in every bit.

        Raises
        ------
        ShapeError
            If images have other channels or another size. Build the network with their
            ``image=(channels, rows, columns)``, and give a single image as ``x.unsqueeze(0)``.
        """
        images = self._as_images(inputs)
        # Its value is tau, its gradient divided by L; a hook would be lost in copies.
        tau = torch.lerp(self.tau.detach(), self.tau, 1 / self.depth)
        h = torch.relu(self.stem_norm(self.stem(images)))
        for block in self.blocks:
            h = block(h, tau)
        return self.classifier(h.mean(dim=(2, 3)) if self.pooled else h.flatten(1))

    def _as_images(self, inputs: Tensor) -> Tensor:
        check_real(inputs, "the tensor inputs")
        features = math.prod(self.image)
        if tuple(inputs.shape[1:]) not in (tuple(self.image), (features,)):
            listed = ", ".join(map(str, self.image))
            raise ShapeError(
                f"inputs must be images of shape (input, {listed}) or rows of shape (input, "
                f"{features}), found {tuple(inputs.shape)}. Give a single image as x.unsqueeze(0); "
                "for images of another size build ConvResNet with image=(channels, rows, columns)."
            )
        # By way of rows, so that no memory format of images leads to sums in another order.
        return inputs.flatten(1).contiguous().view(-1, *self.image)


class _Shift(torch.nn.Module):
    """Adds one trained number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros((), dtype=torch.float32, device="cpu"))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.bias


class _Block(torch.nn.Module):
    """relu(S h + tau F(h))."""

    def __init__(self, entering: int, leaving: int, stride: int, normalised: bool) -> None:
        super().__init__()
        self.added, self.stride = leaving - entering, stride
        first = _convolution(entering, leaving, stride)
        second = _convolution(leaving, leaving)
        relu = torch.nn.ReLU(inplace=True)
        if normalised:
            parts = (first, _norm(leaving), relu, second, _norm(leaving))
        else:
            parts = (_Shift(), first, _Shift(), relu, _Shift(), second)
        self.branch = torch.nn.Sequential(*parts)
        self.last = torch.nn.Identity() if normalised else _Shift()

    def forward(self, h: Tensor, tau: Tensor) -> Tensor:
        moved = tau * self.branch(h)
        if self.stride > 1:
            h = h[:, :, :: self.stride, :: self.stride]
        if self.added:
            h = torch.nn.functional.pad(h, (0, 0, 0, 0, 0, self.added))
        return torch.relu(self.last(h + moved))


def _convolution(entering: int, leaving: int, stride: int = 1) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(
        entering, leaving, _KERNEL, stride=stride, padding=_KERNEL // 2, bias=False,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip


def _norm(channels: int) -> torch.nn.BatchNorm2d:
    return torch.nn.BatchNorm2d(channels, dtype=torch.float32, device="cpu")


@torch.no_grad()
def _initialise(net: ConvResNet, seed: int) -> None:
    """Draw every weight from a stream of its own name."""
    for name, module in net.named_modules():
        stream = Stream(seed, f"convolutional/{name}")
        if isinstance(module, torch.nn.Conv2d):
            flat = stream.normals(0, 1, module.weight.numel())
            deviation = math.sqrt(2 / (_KERNEL**2 * module.out_channels))
            module.weight.copy_(flat.view(module.weight.shape) * deviation)
    # A classifier that begins at zero cannot throw the first steps off, however large h_L is.
    net.classifier.weight.zero_()
    net.classifier.bias.zero_()


def _check(
    blocks: Sequence[int], channels: Sequence[int], image: tuple[int, int, int], tau: float
) -> None:
    for values, name in ((blocks, "blocks"), (channels, "channels"), (image, "image")):
        for value in values:
            check_count(value, name)
    if not blocks or len(blocks) != len(channels) or len(image) != 3:
        raise LimitsError(
            f"there are {len(blocks)} stages of blocks, {len(channels)} of channels and an image "
            f"of shape {tuple(image)}. Give every stage its channels, and the image as (channels, "
            "rows, columns)."
        )
    if any(after < before for before, after in itertools.pairwise(channels)):
        raise LimitsError(
            f"channels must not fall from stage to stage, found {tuple(channels)}: shortcut A "
            "fills new channels with zeros and drops none. Use for example (16, 32, 64)."
        )
    if not math.isfinite(tau) or tau <= 0:
        raise LimitsError(f"tau must be positive and finite, found {tau!r}. Use L**-0.5.")
