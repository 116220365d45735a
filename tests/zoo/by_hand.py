"""Architectures that need torch only, with what is true of them."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo import networks as nets
from tests.zoo.parts import (
    WIDTH,
    Attention,
    Experts,
    Loop,
    Perceptron,
    PostNorm,
    PreActivation,
    PreNorm,
    ResNet,
    Stack,
    StateSpace,
    conv,
    normed,
)
from tests.zoo.truth import Row, Truth, bounded, explosion, in_limit, refuse

__all__ = ["BY_HAND"]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return a batch of standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flat():
    return drawn(16, WIDTH)


def tokens():
    return drawn(2, 6, WIDTH)


def pictures():
    return drawn(2, 3, 16, 16)


def channels():
    return drawn(2, 8, 12, 12)


def ids():
    return torch.randint(0, 64, (2, 8), generator=torch.Generator().manual_seed(0))


def pair():
    return tokens(), drawn(2, 5, WIDTH, seed=1)


def linear() -> nn.Module:
    layer = nn.Linear(WIDTH, WIDTH, bias=False)
    nn.init.normal_(layer.weight, std=WIDTH**-0.5)
    return layer


def bounded_branch() -> nn.Module:
    """Return V tanh(h): its size does not grow with h."""
    return nn.Sequential(nn.Tanh(), linear())


def mlp() -> nn.Module:
    return normed(Perceptron())


def plain(h, f, k, depth):
    return h + f(h)


def looped(step, branch=mlp, *, tied=False):
    return lambda depth: Loop(depth, branch, step, tied=tied)


def stacked(block, *before, after=()):
    def make(depth):
        parts = [part() for part in before] + [block() for _ in range(depth)]
        return Stack(*parts, *(part() for part in after))

    return make


class Tied(nn.Module):
    """One transformer layer, again and again; the norm after each sum is optional."""

    def __init__(self, depth: int, layer: type[nn.Module]):
        super().__init__()
        self.depth, self.layer = depth, layer()

    def forward(self, h):
        for _ in range(self.depth):
            h = self.layer(h)
        return h


class Smooth(nn.Module):
    """Weights that are a smooth function of layer time: a + b cos(pi t) + c sin(pi t)."""

    def __init__(self, depth: int):
        super().__init__()
        time = torch.pi * torch.arange(depth)[:, None, None] / depth
        a, b, c = torch.randn(3, 1, WIDTH, WIDTH) / WIDTH**0.5
        drawn_weights = a + b * time.cos() + c * time.sin()
        self.branches = nn.ModuleList(linear() for _ in range(depth))
        with torch.no_grad():
            for branch, weight in zip(self.branches, drawn_weights, strict=True):
                branch.weight.copy_(weight)

    def forward(self, h):
        for branch in self.branches:
            h = h + branch(torch.tanh(h))
        return h


def lerp_step(h, f, k, depth):
    return torch.lerp(h, h + f(h), 0.5)


def highway_step(h, f, k, depth):
    gate = torch.sigmoid(h.mean(-1, keepdim=True) - 1)
    return gate * f(h) + (1 - gate) * h


def addcmul_step(h, f, k, depth):
    return torch.addcmul(h, torch.full_like(h, 0.5), f(h))


def alpha_step(h, f, k, depth):
    return torch.add(h, f(h), alpha=0.5)


def addmm_step(h, f, k, depth):
    return torch.addmm(h, torch.tanh(h), f.weight.T)


def inplace_step(h, f, k, depth):
    total = h.clone()
    total += f(h)
    return total


def runge_kutta(h, f, k, depth):
    dt = 1 / depth
    one = f(h)
    two = f(h + dt / 2 * one)
    three = f(h + dt / 2 * two)
    four = f(h + dt * three)
    return h + dt / 6 * (one + 2 * two + 2 * three + four)


def deep_norm(depth):
    skip, gain = (2 * depth) ** 0.25, (8 * depth) ** -0.25
    layers = [PostNorm(skip=skip) for _ in range(depth)]
    with torch.no_grad():
        for layer in layers:
            for part in (layer.attention.v, layer.attention.out, layer.mlp.up, layer.mlp.down):
                part.weight.mul_(gain)
    return Stack(*layers)


class Scaled(nn.Module):
    """A transformer layer whose branches are multiplied by learned numbers that begin small."""

    def __init__(self, start: float):
        super().__init__()
        self.attention, self.mlp = normed(Attention()), mlp()
        self.gains = nn.ParameterList(nn.Parameter(torch.full((WIDTH,), start)) for _ in range(2))

    def forward(self, h):
        h = h + self.gains[0] * self.attention(h)
        return h + self.gains[1] * self.mlp(h)


class Sandwich(nn.Module):
    """Norms before and after every branch, as in Gemma 2."""

    def __init__(self):
        super().__init__()
        self.attention = nn.Sequential(normed(Attention()), nn.LayerNorm(WIDTH))
        self.mlp = nn.Sequential(mlp(), nn.LayerNorm(WIDTH))

    def forward(self, h):
        h = h + self.attention(h)
        return h + self.mlp(h)


def sequential(layer, h):
    return layer(h)


def side_by_side(layer, h):
    return h + (layer.attention(layer.norm1(h)) + layer.mlp(layer.norm2(h)))


def one_after_other(layer, h):
    return h + layer.attention(layer.norm1(h)) + layer.mlp(layer.norm2(h))


def stream_last(layer, h):
    return layer.attention(layer.norm1(h)) + layer.mlp(layer.norm2(h)) + h


def decoder(step, *, smaller=None):
    def make(depth):
        factor = 1.0 if smaller is None else smaller(depth)
        return nets.Decoder(depth, step, smaller=factor)

    return make


def rescaled_by_number(depth):
    """Return a decoder whose k-th layer is drawn smaller by 1 / sqrt(2 k), as in BEiT."""
    model = nets.Decoder(depth, sequential)
    with torch.no_grad():
        for k, layer in enumerate(model.layers, start=1):
            layer.attention.out.weight.mul_((2 * k) ** -0.5)
            layer.mlp.down.weight.mul_((2 * k) ** -0.5)
    return model


class Pairs(nn.Module):
    """A branch that returns more than the tensor that is added."""

    def __init__(self):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Weighed()

    def forward(self, h):
        out, _ = self.attention(self.norm(h))
        return h + out


class Weighed(Attention):
    """Attention that returns its weights too."""

    def forward(self, x, context=None):
        weights = (self.q(x) @ self.k(x).transpose(-1, -2) / x.shape[-1] ** 0.5).softmax(-1)
        return self.out(weights @ self.v(x)), weights


class Dropped(nn.Module):
    """Dropout written as a function: in training only, or always."""

    def __init__(self, *, always: bool = False):
        super().__init__()
        self.f, self.always = mlp(), always

    def forward(self, h):
        return h + F.dropout(self.f(h), 0.1, self.always or self.training)


class Listed(nn.Module):
    """A network whose argument is a list of tensors."""

    def __init__(self, depth: int):
        super().__init__()
        self.inside = linear()
        self.layers = nn.ModuleList(PreNorm() for _ in range(depth))

    def forward(self, parts):
        h = self.inside(parts[0]) + parts[1]
        for layer in self.layers:
            h = layer(h)
        return h


class Siamese(nn.Module):
    """One stack that is called on two inputs."""

    def __init__(self, depth: int):
        super().__init__()
        self.stack = Stack(*(PreNorm() for _ in range(depth)))

    def forward(self, left, right):
        return self.stack(left).mean(1) * self.stack(right).mean(1)


class Zeroed(nn.Module):
    """ReZero: the branch is multiplied by a number that begins at zero."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.f, self.gain = mlp(), nn.Parameter(torch.tensor(start))

    def forward(self, h):
        return h + self.gain * self.f(h)


class Functional(nn.Module):
    """A block whose branch is no output of a module."""

    def __init__(self):
        super().__init__()
        self.lin = linear()

    def forward(self, h):
        return F.relu(h + torch.sin(self.lin(h)))


class Ignoring(nn.Module):
    """One block, whatever the depth."""

    def __init__(self, depth: int):
        super().__init__()
        self.f = mlp()

    def forward(self, h):
        return h + self.f(h)


class Solved(nn.Module):
    """A neural ODE by torchdiffeq: Euler steps of length 1 / L."""

    def __init__(self, depth: int):
        super().__init__()
        self.f, self.depth = bounded_branch(), depth

    def forward(self, h):
        from torchdiffeq import odeint

        grid = torch.linspace(0, 1, self.depth + 1)
        return odeint(lambda t, y: self.f(y), h, grid, method="euler")[-1]


class Copied(nn.Module):
    """The encoder of torch, whose layers begin as copies of one."""

    def __init__(self, depth: int, *, norm_first: bool):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, h):
        return self.encoder(h)


def anew(depth):
    """Return layers of torch that are drawn one by one."""
    return Stack(
        *(
            nn.TransformerEncoderLayer(
                WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
    )


def feed_forward(depth):
    return Stack(*(nn.Sequential(linear(), nn.ReLU()) for _ in range(depth)))


def only_stage(depth):
    return ResNet([1, depth, 1], channels=8)


JOINS = r"lerp|addcmul|addmm|fused|joined|gate|multipl|convex"
NO_MODULE = r"not the output of a module|not outputs of modules|computed outside of modules"
OTHER_STREAMS = r"stream|tower|encoder|decoder|skip"


def two(first, second):
    return {"first": lambda depth: first * depth, "second": lambda depth: second * depth}


def coders(per_encoder=2, per_decoder=3):
    return {
        "encoder": lambda depth: per_encoder * depth,
        "decoder": lambda depth: per_decoder * depth,
    }


BY_HAND: tuple[Row, ...] = (
    # One loop over blocks, joined in every way that there is.
    Row("tanh, then a matrix", looped(plain, bounded_branch), flat, explosion()),
    Row("perceptrons without norms", looped(plain, Perceptron), flat, explosion()),
    Row("perceptrons, 1/sqrt(L) in the code",
        looped(lambda h, f, k, L: h + L**-0.5 * f(h), Perceptron), flat, in_limit()),
    Row("perceptrons, 1/L in the code",
        looped(lambda h, f, k, L: h + f(h) / L, Perceptron), flat,
        # Independent layers at 1/L: their sum vanishes like 1/sqrt(L).
        Truth({"stream": lambda depth: depth}, frozenset(("identity",)), frozenset(("none",
              "L^0.5", "sqrt(L)")), "iid")),
    Row("a constant factor of a tenth", looped(lambda h, f, k, L: h + 0.1 * f(h)), flat,
        explosion()),
    Row("subtraction", looped(lambda h, f, k, L: h - f(h)), flat, explosion(causes="subtract")),
    Row("lerp towards the block", looped(lerp_step), flat,
        explosion(causes=JOINS, nested=lambda depth: 0)),
    Row("highway", looped(highway_step, bounded_branch), flat,
        Truth({"stream": lambda depth: depth}, frozenset(("contraction",)), frozenset(("none",)),
              None, causes=f"{JOINS}|none of the 4 additions")),
    Row("addcmul", looped(addcmul_step), flat, explosion(causes=JOINS)),
    Row("torch.add with alpha", looped(alpha_step), flat, explosion(causes=JOINS)),
    Row("addmm, a fused join", looped(addmm_step, linear), flat,
        explosion(causes=JOINS, by_hand=True)),
    Row("in place", looped(inplace_step), flat, explosion()),
    Row("branches that are functions", stacked(Functional), flat, explosion(by_hand=True)),
    Row("tuples", stacked(Pairs), tokens, explosion()),
    Row("dropout as a function", stacked(Dropped), tokens,
        explosion(causes=r"eval\(\)|dropout")),
    Row("dropout that never ends", lambda depth: Stack(*(Dropped(always=True)
        for _ in range(depth))), tokens, refuse("random|determin|dropout", 1)),
    Row("a list of tensors", Listed, lambda: ([tokens(), drawn(2, 6, WIDTH, seed=1)],),
        explosion(2, causes="list|nested")),
    # Coherent layers.
    Row("one block, tied", looped(plain, bounded_branch, tied=True), flat,
        explosion(law="tied")),
    Row("one layer, tied, pre-norm", lambda depth: Tied(depth, PreNorm), tokens,
        explosion(2, law="tied")),
    Row("one layer, tied, post-norm", lambda depth: Tied(depth, PostNorm), tokens, bounded(2)),
    Row("smooth weights", Smooth, flat, explosion(law="tied")),
    Row("Euler by hand", looped(lambda h, f, k, L: h + f(h) / L, bounded_branch, tied=True),
        flat, in_limit(law="tied")),
    Row("Runge and Kutta by hand", looped(runge_kutta, bounded_branch, tied=True), flat,
        in_limit(law="tied", by_hand=True, causes="Runge|several times|calls|called")),
    Row("torchdiffeq, Euler", Solved, flat, in_limit(law="tied", by_hand=True)),
    Row("torch encoder of copies, pre-norm", lambda depth: Copied(depth, norm_first=True), tokens,
        explosion(2, law="tied")),
    Row("torch encoder of copies, post-norm", lambda depth: Copied(depth, norm_first=False),
        tokens, bounded(2)),
    # Transformers.
    Row("pre-norm", stacked(PreNorm), tokens, explosion(2)),
    Row("pre-norm of torch, drawn anew", anew, tokens, explosion(2)),
    Row("post-norm", stacked(PostNorm), tokens, bounded(2)),
    Row("DeepNorm", deep_norm, tokens,
        # Both of its factors together: branches of size L^-3/4, a sum of L^-1/4 that is bounded.
        bounded(2, regimes=frozenset(("limit", "identity")))),
    Row("LayerScale of 1e-4", stacked(lambda: Scaled(1e-4)), tokens,
        bounded(2, regimes=frozenset(("limit", "identity")))),
    Row("sandwich norms", stacked(Sandwich), tokens, explosion(2)),
    Row("conformer", stacked(nets.Conformer), tokens, bounded(4)),
    Row("GPT-2, 1/sqrt(2L) in the weights",
        decoder(sequential, smaller=lambda depth: (2 * depth) ** -0.5), ids, in_limit(2)),
    Row("BEiT, 1/sqrt(2k) in the weights", rescaled_by_number, ids,
        # The sum of 1/k is log L: no power of it.
        bounded(2), depths=(8, 16, 32, 64)),
    Row("attention beside the perceptron, one sum", decoder(side_by_side), ids,
        explosion(2, joint=lambda depth: depth, causes=NO_MODULE)),
    Row("attention beside the perceptron, two sums", decoder(one_after_other), ids,
        explosion(2, joint=lambda depth: depth)),
    Row("attention beside the perceptron, stream last", decoder(stream_last), ids,
        explosion(2, joint=lambda depth: depth, causes=NO_MODULE)),
    Row("class token", nets.ClassToken, pictures, explosion(2)),
    Row("class token, post-norm", lambda depth: nets.ClassToken(depth, PostNorm), pictures,
        bounded(2)),
    Row("MLP-Mixer", nets.Mixer, tokens, explosion(2)),
    Row("mixture of experts", looped(plain, lambda: normed(Experts())), tokens, explosion()),
    Row("state space", looped(plain, lambda: normed(StateSpace())), tokens, explosion()),
    Row("ReZero", stacked(Zeroed), tokens, refuse("zero", 1)),
    Row("SkipInit at 1/sqrt(L)", lambda depth: Stack(*(Zeroed(depth**-0.5)
        for _ in range(depth))), tokens, in_limit()),
    # Another layout for one of two branches.
    Row("flattened tokens", nets.Flattened, tokens, explosion(2)),
    Row("flattened tokens, tied", lambda depth: nets.Flattened(depth, tied=True), tokens,
        explosion(2, law="tied")),
    Row("axial attention", nets.Axial, lambda: drawn(2, 4, 4, WIDTH), explosion(2)),
    # Pictures.
    Row("post-relu, one stage", lambda depth: ResNet([depth]), pictures, explosion()),
    Row("post-relu, three stages", lambda depth: ResNet([depth] * 3), pictures,
        explosion(3), depths=(2, 4, 8, 16)),
    Row("post-relu, one stage of three", only_stage, pictures,
        explosion(nested=lambda depth: 2)),
    Row("post-relu, from one layer on", lambda depth: ResNet([depth] * 3), pictures,
        explosion(3), depths=(1, 2, 4, 8)),
    Row("bottleneck", lambda depth: ResNet([depth], 4, bottleneck=True), pictures, explosion()),
    Row("pre-activation", stacked(lambda: PreActivation(8)), channels, explosion()),
    Row("pre-activation without norms", stacked(lambda: PreActivation(8, norm=False)), channels,
        explosion()),
    # More than one stream, towers inside a skip, first states that are learned.
    Row("encoder and decoder", nets.EncoderDecoder, pair,
        explosion(streams=coders(), separate=True, causes=OTHER_STREAMS)),
    Row("encoder and decoder, post-norm", lambda depth: nets.EncoderDecoder(depth, PostNorm),
        pair, bounded(streams=coders(), separate=True, causes=OTHER_STREAMS)),
    Row("EDSR", nets.LongSkip, pictures,
        explosion(nested=lambda depth: 1, causes=OTHER_STREAMS)),
    Row("EDSR, branches times a tenth", lambda depth: nets.LongSkip(depth, scale=0.1), pictures,
        explosion(nested=lambda depth: 1, causes=OTHER_STREAMS)),
    Row("Real-ESRGAN", nets.RealESRGAN, pictures,
        # h + 0.2 (h + ...): every block multiplies the stream by 1.2.
        explosion(law="tied", nested=lambda depth: 3 * depth + 1, by_hand=True,
                  causes=OTHER_STREAMS)),
    Row("reversible", nets.Reversible, lambda: drawn(4, 2 * WIDTH),
        explosion(streams=two(1, 1), causes=OTHER_STREAMS)),
    Row("two streams that read each other", nets.TwoStreams, lambda: drawn(4, 2 * WIDTH),
        explosion(streams=two(1, 1), causes=OTHER_STREAMS)),
    Row("two streams, joint attention", nets.JointAttention, pair,
        explosion(streams=two(1, 1), causes=OTHER_STREAMS)),
    Row("one stack, two inputs", Siamese, pair,
        explosion(streams=two(2, 2), causes=OTHER_STREAMS)),
    Row("additive U-Net", nets.AdditiveUNet, pictures,
        explosion(3, nested=lambda depth: 1, causes=OTHER_STREAMS)),
    Row("backbone before a transformer", nets.Backboned, lambda: drawn(2, WIDTH, 12),
        explosion(2, nested=lambda depth: 2)),
    Row("backbone before a small transformer", lambda depth: nets.Backboned(depth, gain=0.4),
        lambda: drawn(2, WIDTH, 12), explosion(2, nested=lambda depth: 2)),
    Row("learned queries", nets.LearnedQueries, pictures,
        bounded(streams=coders(), nested=lambda depth: 2, causes=OTHER_STREAMS)),
    Row("learned queries, pre-norm", lambda depth: nets.LearnedQueries(depth, PreNorm), pictures,
        explosion(streams=coders(), nested=lambda depth: 2, causes=OTHER_STREAMS)),
    Row("Perceiver", nets.Perceiver, tokens, explosion(2)),
    # Nothing to judge.
    Row("DenseNet", nets.Dense, flat, refuse("concat|no residual|none adds|none of")),
    Row("feed-forward", feed_forward, flat, refuse("no residual|none adds|none of")),
    Row("a factory that does not listen", Ignoring, flat,
        refuse("deeper|depth", constant=1)),
    Row("a convolution", lambda depth: Stack(*(conv(8, 8) for _ in range(depth))), channels,
        refuse("no residual|none adds|none of")),
)  # fmt: skip
