"""What the hand-written architectures are built of: small branches, and the loops around them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

WIDTH = 32


class Perceptron(nn.Module):
    """Two layers with weights of variance 2 / fan-in."""

    def __init__(self, width: int = WIDTH, hidden: int = 2 * WIDTH, out: int | None = None):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, out or width)
        for layer in (self.up, self.down):
            nn.init.normal_(layer.weight, std=(2 / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.down(F.relu(self.up(x)))


class Attention(nn.Module):
    """One head; keys and values from `context`, if there is one."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        for layer in (self.q, self.k, self.v, self.out):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, x, context=None):
        context = x if context is None else context
        scores = self.q(x) @ self.k(context).transpose(-1, -2) / x.shape[-1] ** 0.5
        return self.out(scores.softmax(-1) @ self.v(context))


def normed(branch: nn.Module, width: int = WIDTH) -> nn.Sequential:
    """Return a branch that normalises what it reads."""
    return nn.Sequential(nn.LayerNorm(width), branch)


class PreNorm(nn.Module):
    """A transformer layer, h + attention(norm(h)), then h + mlp(norm(h))."""

    def __init__(self, width: int = WIDTH, *, cross: bool = False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width), Perceptron(width)
        self.cross, self.norm3 = (Attention(width), nn.LayerNorm(width)) if cross else (None, None)

    def forward(self, h, context=None):
        h = h + self.attention(self.norm1(h))
        if self.cross is not None:
            h = h + self.cross(self.norm3(h), context)
        return h + self.mlp(self.norm2(h))


class PostNorm(nn.Module):
    """A transformer layer that normalises after every sum."""

    def __init__(self, width: int = WIDTH, *, cross: bool = False, skip: float = 1.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp, self.skip = Attention(width), Perceptron(width), skip
        self.cross, self.norm3 = (Attention(width), nn.LayerNorm(width)) if cross else (None, None)

    def forward(self, h, context=None):
        h = self.norm1(self.skip * h + self.attention(h))
        if self.cross is not None:
            h = self.norm3(self.skip * h + self.cross(h, context))
        return self.norm2(self.skip * h + self.mlp(h))


class Loop(nn.Module):
    """A network whose forward pass is a function of the stream and of one branch at a time."""

    def __init__(self, depth: int, branch: Callable[[], nn.Module], step, *, tied: bool = False):
        super().__init__()
        self.depth, self.step = depth, step
        self.blocks = nn.ModuleList(branch() for _ in range(1 if tied else depth))

    def forward(self, h):
        for k in range(self.depth):
            h = self.step(h, self.blocks[k % len(self.blocks)], k, self.depth)
        return h


class Stack(nn.Module):
    """A stem, blocks and a head of linear layers or others."""

    def __init__(self, *parts: nn.Module):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, h):
        for part in self.parts:
            h = part(h)
        return h


def conv(inside: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with weights of variance 2 / fan-in, without bias."""
    layer = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


class PostRelu(nn.Module):
    """The basic block and the bottleneck of He et al. (2016): relu(h + f(h))."""

    def __init__(self, inside: int, channels: int, stride: int = 1, *, bottleneck: bool = False):
        super().__init__()
        out = 4 * channels if bottleneck else channels
        sizes = (
            [(inside, channels, 1, 1), (channels, channels, 3, stride), (channels, out, 1, 1)]
            if bottleneck
            else [(inside, channels, 3, stride), (channels, channels, 3, 1)]
        )
        self.convs = nn.ModuleList(conv(*size) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size[1]) for size in sizes)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != out:
            self.shortcut = nn.Sequential(conv(inside, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, h):
        f = h
        for k, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            f = norm(layer(F.relu(f) if k else f))
        return F.relu(self.shortcut(h) + f)


class ResNet(nn.Module):
    """Stages of post-activation blocks; every stage but the first halves the picture."""

    def __init__(self, layers, channels: int = 8, *, bottleneck: bool = False):
        super().__init__()
        self.stem, self.norm = conv(3, channels), nn.BatchNorm2d(channels)
        inside, blocks = channels, []
        for stage, count in enumerate(layers):
            wide = channels * 2**stage
            for k in range(count):
                stride = 2 if stage and not k else 1
                blocks.append(PostRelu(inside, wide, stride, bottleneck=bottleneck))
                inside = 4 * wide if bottleneck else wide
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inside, 4)

    def forward(self, x):
        h = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(h.mean(dim=(2, 3)))


class PreActivation(nn.Module):
    """The block of He et al. (2016b): h + conv(relu(norm(conv(relu(norm(h)))))."""

    def __init__(self, channels: int, *, norm: bool = True):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(channels)] * norm + [nn.ReLU(), conv(channels, channels)]
        self.body = nn.Sequential(*layers)

    def forward(self, h):
        return h + self.body(h)


class Experts(nn.Module):
    """A mixture of perceptrons, the best two for every token."""

    def __init__(self, width: int = WIDTH, count: int = 4):
        super().__init__()
        self.router = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(Perceptron(width) for _ in range(count))

    def forward(self, x):
        weights, chosen = self.router(x).softmax(-1).topk(2, dim=-1)
        out = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            share = (weights * (chosen == k)).sum(-1, keepdim=True)
            out = out + share * expert(x)
        return out


class StateSpace(nn.Module):
    """A gated diagonal recurrence over time, as in Mamba, with a causal convolution before it."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.inside = nn.Linear(width, 2 * width, bias=False)
        self.conv = nn.Conv1d(width, width, 3, padding=2, groups=width)
        self.decay, self.out = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        for layer in (self.inside, self.out):
            nn.init.normal_(layer.weight, std=(4 / width) ** 0.5)

    def forward(self, x):
        u, gate = self.inside(x).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        rate, state, out = torch.sigmoid(self.decay(u)), torch.zeros_like(u[:, 0]), []
        for time in range(x.shape[1]):
            state = rate[:, time] * state + (1 - rate[:, time]) * u[:, time]
            out.append(state)
        return self.out(torch.stack(out, 1) * F.silu(gate))
