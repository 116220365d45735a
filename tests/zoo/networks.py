"""Hand-written networks whose streams are more than one loop over blocks."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.parts import (
    WIDTH,
    Attention,
    Perceptron,
    PostNorm,
    PostRelu,
    PreActivation,
    PreNorm,
    conv,
    normed,
)


class EncoderDecoder(nn.Module):
    """An encoder, and a decoder that reads its last state."""

    def __init__(self, depth: int, layer: type[nn.Module] = PreNorm, *, decoders: int = 0):
        super().__init__()
        self.encoder = nn.ModuleList(layer() for _ in range(depth))
        self.decoder = nn.ModuleList(layer(cross=True) for _ in range(decoders or depth))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, source, target):
        for layer in self.encoder:
            source = layer(source)
        source = self.norm(source)
        for layer in self.decoder:
            target = layer(target, source)
        return target


class LongSkip(nn.Module):
    """EDSR: a tower of residual blocks inside one skip."""

    def __init__(self, depth: int, channels: int = 8, *, scale: float = 1.0):
        super().__init__()
        self.head, self.scale = conv(3, channels), scale
        self.bodies = nn.ModuleList(
            nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, channels))
            for _ in range(depth)
        )
        self.last, self.tail = conv(channels, channels), conv(channels, 3)

    def forward(self, x):
        first = h = self.head(x)
        for body in self.bodies:
            h = h + self.scale * body(h)
        return self.tail(first + self.last(h))


class DenseBody(nn.Module):
    """The dense block of ESRGAN, which concatenates what it has seen."""

    def __init__(self, channels: int, growth: int = 4):
        super().__init__()
        self.convs = nn.ModuleList(
            conv(channels + k * growth, growth if k < 2 else channels) for k in range(3)
        )

    def forward(self, h):
        seen = [h]
        for layer in self.convs[:-1]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        return self.convs[-1](torch.cat(seen, 1))


class ResidualInResidual(nn.Module):
    """The block of Real-ESRGAN: h + 0.2 g(h), where g is three dense blocks with skips."""

    def __init__(self, channels: int):
        super().__init__()
        self.dense = nn.ModuleList(DenseBody(channels) for _ in range(3))

    def forward(self, h):
        out = h
        for body in self.dense:
            out = out + 0.2 * body(out)
        return h + 0.2 * out


class RealESRGAN(nn.Module):
    """A trunk of such blocks inside one skip."""

    def __init__(self, depth: int, channels: int = 8):
        super().__init__()
        self.head = conv(3, channels)
        self.trunk = nn.Sequential(*(ResidualInResidual(channels) for _ in range(depth)))
        self.last, self.tail = conv(channels, channels), conv(channels, 3)

    def forward(self, x):
        h = self.head(x)
        return self.tail(h + self.last(self.trunk(h)))


class Reversible(nn.Module):
    """RevNet, Reformer: two halves that are added to in turn."""

    def __init__(self, depth: int):
        super().__init__()
        self.f = nn.ModuleList(normed(Perceptron()) for _ in range(depth))
        self.g = nn.ModuleList(normed(Perceptron()) for _ in range(depth))

    def forward(self, x):
        a, b = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            a = a + f(b)
            b = b + g(a)
        return torch.cat([a, b], -1)


class TwoStreams(nn.Module):
    """The blocks of Stable Diffusion 3: both streams read both, each has branches of its own."""

    def __init__(self, depth: int):
        super().__init__()
        for name in "fg":
            branches = (nn.Sequential(nn.LayerNorm(2 * WIDTH), _to(WIDTH)) for _ in range(depth))
            setattr(self, name, nn.ModuleList(branches))

    def forward(self, x):
        a, b = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            both = torch.cat([a, b], -1)
            a, b = a + f(both), b + g(both)
        return a * b


def _to(width: int) -> Perceptron:
    return Perceptron(2 * width, 2 * width, width)


class JointAttention(nn.Module):
    """Two streams of tokens of different number, which attend to each other's tokens jointly."""

    def __init__(self, depth: int):
        super().__init__()
        self.attention = nn.ModuleList(Attention() for _ in range(depth))
        self.picture = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.words = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))

    def forward(self, picture, words):
        n = picture.shape[1]
        layers = zip(self.norms, self.attention, self.picture, self.words, strict=True)
        for norm, attention, of_picture, of_words in layers:
            joint = attention(norm(torch.cat([picture, words], 1)))
            picture = picture + of_picture(joint[:, :n])
            words = words + of_words(joint[:, n:])
        return torch.cat([picture, words], 1)


class AdditiveUNet(nn.Module):
    """Linknet: blocks going down, blocks going up, and pictures of the same size are added."""

    def __init__(self, depth: int, channels: int = 8):
        super().__init__()
        self.stem = conv(3, channels)
        self.high = nn.Sequential(*(PreActivation(channels) for _ in range(depth)))
        self.down = conv(channels, channels, 3, 2)
        self.low = nn.Sequential(*(PreActivation(channels) for _ in range(depth)))
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.last = nn.Sequential(*(PreActivation(channels) for _ in range(depth)))

    def forward(self, x):
        high = self.high(self.stem(x))
        low = self.low(self.down(high))
        return self.last(high + self.up(low))


class Backboned(nn.Module):
    """Two convolutional blocks, then transformer layers: only these get deeper."""

    def __init__(self, depth: int, *, gain: float = 1.0):
        super().__init__()
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.Conv1d(WIDTH, WIDTH, 3, 1, 1), nn.BatchNorm1d(WIDTH)) for _ in range(2)
        )
        self.layers = nn.ModuleList(PreNorm() for _ in range(depth))
        with torch.no_grad():
            for weight in self.layers.parameters():
                weight.mul_(gain if weight.ndim > 1 else 1)

    def forward(self, x):
        for body in self.bodies:
            x = x + body(x)
        h = x.transpose(1, 2)
        for layer in self.layers:
            h = layer(h)
        return h


class Flattened(nn.Module):
    """Tokens are flattened for the perceptron, as OPT did."""

    def __init__(self, depth: int, *, tied: bool = False):
        super().__init__()
        self.depth = depth
        count = 1 if tied else depth
        self.attention = nn.ModuleList(normed(Attention()) for _ in range(count))
        self.mlp = nn.ModuleList(normed(Perceptron()) for _ in range(count))

    def forward(self, h):
        for k in range(self.depth):
            h = h + self.attention[k % len(self.attention)](h)
            rows = h.flatten(0, 1)
            h = (rows + self.mlp[k % len(self.mlp)](rows)).unflatten(0, h.shape[:2])
        return h


class LearnedQueries(nn.Module):
    """DETR: a backbone, an encoder, and a decoder whose first state is a parameter."""

    def __init__(self, depth: int, layer: type[nn.Module] = PostNorm):
        super().__init__()
        self.stem = conv(3, WIDTH, 3, 2)
        self.backbone = nn.Sequential(*(PostRelu(WIDTH, WIDTH) for _ in range(2)))
        self.encoder = nn.ModuleList(layer() for _ in range(depth))
        self.decoder = nn.ModuleList(layer(cross=True) for _ in range(depth))
        self.queries = nn.Parameter(torch.randn(5, WIDTH))

    def forward(self, x):
        h = self.backbone(F.relu(self.stem(x))).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            h = layer(h)
        q = self.queries.expand(len(x), -1, -1)
        for layer in self.decoder:
            q = layer(q, h)
        return q


class ClassToken(nn.Module):
    """A vision transformer: patches beside a learned token, positions added."""

    def __init__(self, depth: int, layer: type[nn.Module] = PreNorm):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, WIDTH))
        self.layers = nn.ModuleList(layer() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(x), -1, -1), h], 1) + self.positions
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h)[:, 0])


class Perceiver(nn.Module):
    """Learned latents read the input again and again."""

    def __init__(self, depth: int):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(6, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.cross = nn.ModuleList(Attention() for _ in range(depth))
        self.mlp = nn.ModuleList(normed(Perceptron()) for _ in range(depth))

    def forward(self, x):
        h = self.latents.expand(len(x), -1, -1)
        for norm, cross, mlp in zip(self.norms, self.cross, self.mlp, strict=True):
            h = h + cross(norm(h), x)
            h = h + mlp(h)
        return h


class Decoder(nn.Module):
    """A language model; every layer is `step(layer, h)`, the last linear maps are drawn smaller."""

    def __init__(self, depth: int, step, *, smaller: float = 1.0, vocabulary: int = 64):
        super().__init__()
        self.tokens, self.step = nn.Embedding(vocabulary, WIDTH), step
        self.layers = nn.ModuleList(PreNorm() for _ in range(depth))
        with torch.no_grad():
            for layer in self.layers:
                layer.attention.out.weight.mul_(smaller)
                layer.mlp.down.weight.mul_(smaller)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids):
        h = self.tokens(ids)
        for layer in self.layers:
            h = self.step(layer, h)
        return self.norm(h) @ self.tokens.weight.T


class Dense(nn.Module):
    """DenseNet: layers read all before them, side by side; nothing is added."""

    def __init__(self, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH + 4 * k, 4) for k in range(depth))

    def forward(self, h):
        for layer in self.layers:
            h = torch.cat([h, F.relu(layer(h))], -1)
        return h


class Mixer(nn.Module):
    """MLP-Mixer: perceptrons over tokens and over channels in turn."""

    def __init__(self, depth: int, tokens: int = 6):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * depth))
        self.over_tokens = nn.ModuleList(Perceptron(tokens, 24) for _ in range(depth))
        self.over_channels = nn.ModuleList(Perceptron() for _ in range(depth))

    def forward(self, h):
        for k, (tokens, channels) in enumerate(
            zip(self.over_tokens, self.over_channels, strict=True)
        ):
            h = h + tokens(self.norms[2 * k](h).transpose(1, 2)).transpose(1, 2)
            h = h + channels(self.norms[2 * k + 1](h))
        return h


class Conformer(nn.Module):
    """The macaron layer: half a perceptron, attention, convolution, half a perceptron, a norm."""

    def __init__(self):
        super().__init__()
        self.first, self.second = normed(Perceptron()), normed(Perceptron())
        self.attention, self.before = normed(Attention()), nn.LayerNorm(WIDTH)
        self.conv, self.norm = nn.Conv1d(WIDTH, WIDTH, 3, 1, 1), nn.LayerNorm(WIDTH)

    def forward(self, h):
        h = h + 0.5 * self.first(h)
        h = h + self.attention(h)
        h = h + self.conv(self.before(h).transpose(1, 2)).transpose(1, 2)
        h = h + 0.5 * self.second(h)
        return self.norm(h)


class Axial(nn.Module):
    """Attention along rows, then along columns, of a picture: batches are rearranged for each."""

    def __init__(self, depth: int):
        super().__init__()
        self.rows = nn.ModuleList(normed(Attention()) for _ in range(depth))
        self.columns = nn.ModuleList(normed(Attention()) for _ in range(depth))

    def forward(self, h):
        n, height, width, d = h.shape
        for rows, columns in zip(self.rows, self.columns, strict=True):
            r = h.reshape(n * height, width, d)
            h = (r + rows(r)).reshape(n, height, width, d)
            c = h.transpose(1, 2).reshape(n * width, height, d)
            h = (c + columns(c)).reshape(n, width, height, d).transpose(1, 2)
        return h
