"""Two networks as users write them: a transformer encoder and a convolutional ResNet."""

import torch
from torch import nn

__all__ = ["NETWORKS", "ConvNet", "Encoder"]

_CLASSES = 10


class Encoder(nn.Module):
    """A pre-norm transformer encoder that reads a digit as eight rows of pixels.

    Every layer is drawn on its own: torch.nn.TransformerEncoder would copy one layer, and a
    network of equal layers has another critical exponent.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        h = self.embedding(images.unflatten(-1, (8, 8)))
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h).mean(dim=1))


class ConvNet(nn.Module):
    """A residual convolutional network without normalisation."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        channels = width // 2
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(channels, _CLASSES)
        for block in self.blocks:
            for layer, gain in ((block[0], "relu"), (block[2], "linear")):
                nn.init.kaiming_normal_(layer.weight, nonlinearity=gain)
                nn.init.zeros_(layer.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        h = self.stem(images.unflatten(-1, (1, 8, 8)))
        for block in self.blocks:
            h = h + block(h)
        return self.head(h.mean(dim=(2, 3)))


NETWORKS = {"pre-norm transformer": Encoder, "conv ResNet, no norm": ConvNet}
