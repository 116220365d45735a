"""Models as users write them, small, with the names of the libraries they come from."""

import torch
from torch import nn
from torch.nn import functional as F


class Plain(nn.Module):
    """A user's network without normalisation: linear in, blocks h + branch(h), linear out."""

    def __init__(self, depth: int, width: int = 16, features: int = 8, outputs: int = 4):
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, outputs)
        for block in self.blocks:
            for layer in (block[0], block[2]):
                nn.init.normal_(layer.weight, std=(2 / width) ** 0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h)
        return self.head(h)


class BasicBlock(nn.Module):
    """The block of the torchvision ResNet-18: activation after the addition, in place."""

    def __init__(self, inside: int, channels: int, stride: int = 1, *, norm: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, channels, 3, stride, 1, bias=not norm)
        self.bn1 = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=not norm)
        self.bn2 = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.downsample = None
        if stride != 1 or inside != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels) if norm else nn.Identity(),
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    """The block of the torchvision ResNet-50."""

    def __init__(self, inside: int, channels: int, stride: int = 1):
        super().__init__()
        outside = 4 * channels
        self.conv1 = nn.Conv2d(inside, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        identity = x if self.downsample is None else self.downsample(x)
        out += identity
        return self.relu(out)


class VisionResNet(nn.Module):
    """Stages of blocks, each but the first beginning with a stride, as in torchvision."""

    def __init__(self, layers=(2, 2), channels=8, *, bottleneck=False, norm=True, outputs=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        inside, stages = channels, []
        for stage, n_blocks in enumerate(layers):
            wide, blocks = channels * 2**stage, []
            for i in range(n_blocks):
                stride = 2 if stage and not i else 1
                if bottleneck:
                    blocks.append(Bottleneck(inside, wide, stride))
                    inside = 4 * wide
                else:
                    blocks.append(BasicBlock(inside, wide, stride, norm=norm))
                    inside = wide
            stages.append(nn.Sequential(*blocks))
        self.layers = nn.ModuleList(stages)
        self.fc = nn.Linear(inside, outputs)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in self.layers:
            x = stage(x)
        return self.fc(x.mean(dim=(2, 3)))


class ShortcutA(nn.Module):
    """A CIFAR ResNet of He et al.: shortcuts by striding and padding with zeros."""

    def __init__(self, n: int = 2, channels: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        blocks = []
        for stage in range(3):
            for i in range(n):
                down = bool(stage) and not i
                wide = channels * 2**stage
                inside = wide // 2 if down else wide
                blocks.append(
                    nn.Sequential(
                        nn.Conv2d(inside, wide, 3, 2 if down else 1, 1),
                        nn.ReLU(),
                        nn.Conv2d(wide, wide, 3, 1, 1),
                    )
                )
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            f = block(h)
            if f.shape != h.shape:
                more = f.shape[1] - h.shape[1]
                h = F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 0, more))
            h = F.relu(h + f)
        return h.mean(dim=(2, 3))


class Attention(nn.Module):
    """Attention written by hand, with rotations of queries and keys."""

    def __init__(self, width: int):
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] / (1 + torch.arange(x.shape[2]))
        cos, sin = angle.cos(), angle.sin()
        q = q * cos + q.flip(-1) * sin
        k = k * cos + k.flip(-1) * sin
        return self.out((q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v)


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(0.79788456 * (x + 0.044715 * x**3)))


class LanguageModel(nn.Module):
    """Tokens and positions in, blocks with two branches, sequential or side by side."""

    def __init__(self, depth: int = 3, width: int = 16, *, parallel: bool = False):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(32, width), nn.Embedding(64, width)
        self.parallel = parallel
        self.layers = nn.ModuleList(nn.Module() for _ in range(depth))
        for layer in self.layers:
            layer.norm1, layer.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            layer.attention = Attention(width)
            layer.up, layer.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            layer.gain = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, ids):
        h = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer in self.layers:
            a = layer.attention(layer.norm1(h))
            before = h if self.parallel else h + a
            m = layer.gain * layer.down(tanh_gelu(layer.up(layer.norm2(before))))
            h = h + a + m if self.parallel else before + m
        return h


class SideBySide(nn.Module):
    """The block of GPT-J: attention beside an MLP, and the stream added last."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        residual, y = x, self.ln_1(x)
        return self.attn(y) + self.mlp(y) + residual


class LowRank(nn.Module):
    """A linear layer with a low-rank correction, W x + B A x."""

    def __init__(self, width: int, rank: int = 4):
        super().__init__()
        self.base = nn.Linear(width, width)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Adapted(nn.Module):
    """Blocks h + branch(h) whose linear layers have low-rank corrections."""

    def __init__(self, depth: int, width: int = 16):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), LowRank(width), nn.GELU(), LowRank(width))
            for _ in range(depth)
        )

    def forward(self, h):
        for block in self.blocks:
            h = h + block(h)
        return h


class WholeBlock(nn.Module):
    """A block whose branch is no module: it ends in a function that is not homogeneous."""

    def __init__(self, width: int, *, after: bool = False):
        super().__init__()
        self.lin, self.after = nn.Linear(width, width), after

    def forward(self, h):
        total = h + torch.tanh(self.lin(h))
        return F.relu(total) if self.after else total


def encoder(depth: int, width: int = 16, *, norm_first: bool = True, dropout: float = 0.1):
    layer = nn.TransformerEncoderLayer(
        width, 2, 2 * width, dropout=dropout, batch_first=True, norm_first=norm_first
    )
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


BLOCKS = ("res-1", "res-2", "res-3", "post-relu", "conv", "pre-norm", "post-norm")
LAWS = ("iid", "tied", "smooth")


class Driven(nn.Module):
    """A network whose layers are drawn by a law across depth, branches scaled by L^-beta.

    The blocks are those of the theory, a convolution, and transformer layers with one feed-forward
    or attention branch each in turn. Weights have variance 1 / fan-in.
    """

    def __init__(self, depth: int, *, block: str, beta: float, law="iid", width: int = 64):
        super().__init__()
        self.block, self.scale, self.depth = block, depth**-beta, depth
        self.stem = nn.Linear(width, width, bias=False)
        shape = (width, width, 3, 3) if block == "conv" else (width, width)
        self.outer = nn.ParameterList(nn.Parameter(v) for v in across_layers(law, depth, shape))
        if block in ("res-2", "res-3", "pre-norm", "post-norm"):
            self.inner = nn.ParameterList(nn.Parameter(w) for w in across_layers(law, depth, shape))
        self.norm = nn.LayerNorm(width, elementwise_affine=True)
        self.head = nn.Linear(width, 1, bias=False)

    def branch(self, k: int, h):
        v = self.outer[k]
        if self.block == "res-1":
            return torch.tanh(h) @ v.T
        if self.block == "post-relu":
            return h @ v.T
        if self.block == "conv":
            return F.conv2d(F.relu(h), v, padding=1)
        if self.block == "res-2":
            return torch.tanh(h @ self.inner[k].T) @ v.T
        if self.block == "res-3":
            return F.relu(h @ self.inner[k].T) @ v.T
        h = self.norm(h) if self.block == "pre-norm" else h
        if k % 2:
            return F.relu(h @ self.inner[k].T) @ v.T
        attention = (h @ self.inner[k].T @ h.transpose(1, 2) / h.shape[-1]).softmax(-1)
        return attention @ h @ v.T

    def forward(self, x):
        if self.block == "conv":
            h = self.stem(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            h = self.stem(x)
        h = F.relu(h) if self.block == "post-relu" else h
        for k in range(self.depth):
            h = h + self.scale * self.branch(k, h)
            if self.block == "post-relu":
                h = F.relu(h)
            if self.block == "post-norm":
                h = self.norm(h)
        return self.head(h.mean(dim=(2, 3)) if self.block == "conv" else h)


def across_layers(law: str, depth: int, shape, *, hurst: float = 0.7):
    """Return weights of shape ``(depth, *shape)`` with entries of variance 1 / fan-in."""
    fan_in = torch.tensor(shape[1:]).prod().item()
    if law == "iid":
        weights = torch.randn(depth, *shape)
    elif law == "tied":
        weights = torch.randn(shape).expand(depth, *shape).clone()
    else:
        # Two harmonics: a smooth path with the same law at every depth.
        time = torch.arange(depth) / depth
        waves = torch.stack(
            [f(torch.pi * j * time) for j in (0, 1, 2) for f in (torch.cos, torch.sin)][:5]
        )
        weights = torch.einsum("jk,j...->k...", waves, torch.randn(5, *shape)) / 3**0.5
    return weights / fan_in**0.5


def driven_input(block: str, width: int = 64):
    generator = torch.Generator().manual_seed(5)
    shape = {"conv": (4, width, 6, 6), "pre-norm": (4, 8, width), "post-norm": (4, 8, width)}
    return torch.randn(shape.get(block, (16, width)), generator=generator)


class OnPath(nn.Module):
    """A res-1 network whose order-one weights are a draw of a weight path, branches unscaled."""

    def __init__(self, depth: int, path, *, activation=torch.tanh):
        super().__init__()
        seed = int(torch.randint(2**31, ()))
        weights = path.sample(depth=depth, n_paths=1, seed=seed).layer_weights[:, 0].float()
        self.weights = nn.ParameterList(nn.Parameter(v.clone()) for v in weights)
        self.activation = activation

    def forward(self, h):
        for v in self.weights:
            h = h + self.activation(h) @ v.T
        return h
