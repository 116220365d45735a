"""Residual streams of models that have more than one, or towers inside of others."""

import cProfile
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limits
from limits.user_models.branches.finding import find_streams
from tests import model_zoo as zoo

WIDTH = 8


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def mlp(inside: int = WIDTH) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(inside), nn.Linear(inside, WIDTH), nn.Tanh())


def mlps(depth: int, inside: int = WIDTH) -> nn.ModuleList:
    return nn.ModuleList(mlp(inside) for _ in range(depth))


def convolutions(channels: int = WIDTH) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1)
    )


class Block(nn.Module):
    def __init__(self, body: nn.Module, scale: float = 1.0):
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, h):
        return h + self.scale * self.body(h)


class LongSkip(nn.Module):
    """EDSR: a skip around a tower of blocks, and a convolution after it."""

    def __init__(self, depth: int, block=lambda: Block(convolutions())):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, WIDTH, 3, 1, 1), nn.Conv2d(WIDTH, 3, 3, 1, 1)
        self.tower = nn.Sequential(*(block() for _ in range(depth)), nn.Conv2d(WIDTH, WIDTH, 1))

    def forward(self, x):
        h = self.head(x)
        return self.tail(h + self.tower(h))


def nested_block():
    """Return the block of an RRDBNet: three residual blocks inside of a residual block."""
    return Block(nn.Sequential(*(Block(convolutions(), 0.2) for _ in range(3))), 0.2)


class Coders(nn.Module):
    """T5, BART, Whisper: two branches a layer in the encoder, three in the decoder."""

    def __init__(self, depth: int):
        super().__init__()
        self.encoder = zoo.encoder(depth)
        layer = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, depth)

    def forward(self, source, target):
        return self.decoder(target, self.encoder(source))


class Reversible(nn.Module):
    """RevNet, Reformer: two halves, each changed by the other."""

    def __init__(self, depth: int):
        super().__init__()
        self.f, self.g = mlps(depth), mlps(depth)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            a = a + f(b)
            b = b + g(a)
        return torch.cat([a, b], -1)


class SameStart(Reversible):
    """A reversible pair whose halves begin as one tensor."""

    def forward(self, x):
        a = b = x
        for f, g in zip(self.f, self.g, strict=True):
            a = a + f(b)
            b = b + g(a)
        return a * b


class TwoStreams(nn.Module):
    """MMDiT: two streams that read both."""

    def __init__(self, depth: int):
        super().__init__()
        self.f, self.g = mlps(depth, 2 * WIDTH), mlps(depth, 2 * WIDTH)

    def forward(self, x):
        a, b = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            both = torch.cat([a, b], -1)
            a, b = a + f(both), b + g(both)
        return a * b


class AddedBack(nn.Module):
    """Linknet: stages of a ResNet whose states are added to those of the decoder."""

    def __init__(self, blocks: int = 2):
        super().__init__()
        shapes = [(WIDTH, WIDTH, 1), (WIDTH, 16, 2), (16, 32, 2)]
        self.stem = nn.Conv2d(3, WIDTH, 3, 1, 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                zoo.BasicBlock(a, b, stride), *(zoo.BasicBlock(b, b) for _ in range(blocks - 1))
            )
            for a, b, stride in shapes
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in ((WIDTH, 16), (16, 32)))

    def forward(self, x):
        states = [self.stem(x)]
        for stage in self.stages:
            states.append(stage(states[-1]))
        h = states[-1]
        h = self.ups[1](h) + states[2]
        return self.ups[0](h) + states[1]


class Flattened(nn.Module):
    """Tokens flattened for the second half of a layer, as in the old layout of OPT."""

    def __init__(self, depth: int):
        super().__init__()
        self.f, self.g = mlps(depth), mlps(depth)

    def forward(self, h):
        for f, g in zip(self.f, self.g, strict=True):
            h = h + f(h)
            rows = h.flatten(0, 1)
            h = (rows + g(rows)).unflatten(0, h.shape[:2])
        return h


class Latents(nn.Module):
    """Perceiver, DETR: the first state is a parameter, and positions are added for reading."""

    def __init__(self, depth: int):
        super().__init__()
        self.first = nn.Parameter(torch.randn(1, 3, WIDTH))
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 2, batch_first=True) for _ in range(depth)
        )
        self.mlps = mlps(depth)

    def forward(self, x):
        h = self.first.expand(x.shape[0], -1, -1)
        for attention, each in zip(self.attention, self.mlps, strict=True):
            h = h + attention(h + self.first, x, x, need_weights=False)[0]
            h = h + each(h)
        return h


def image():
    return torch.randn(2, 3, 8, 8)


def depths(found):
    return [stream.depth for stream in found.streams]


MODELS = {
    "encoder and decoder": (lambda: Coders(4), [(2, 5, 16), (2, 4, 16)], [8, 12]),
    "a long skip": (lambda: LongSkip(8), [(2, 3, 8, 8)], [8]),
    "blocks in blocks": (lambda: LongSkip(6, nested_block), [(2, 3, 8, 8)], [6]),
    "reversible": (lambda: Reversible(4), [(2, 2 * WIDTH)], [4, 4]),
    "reversible, one start": (lambda: SameStart(4), [(2, WIDTH)], [4, 4]),
    "two streams": (lambda: TwoStreams(4), [(2, 2 * WIDTH)], [4, 4]),
    "added back": (lambda: AddedBack(2), [(1, 3, 16, 16)], [6]),
    "added back, deeper": (lambda: AddedBack(3), [(1, 3, 16, 16)], [9]),
    "flattened": (lambda: Flattened(4), [(2, 3, WIDTH)], [8]),
    "latents": (lambda: Latents(4), [(2, 5, WIDTH)], [8]),
    "stages": (lambda: zoo.VisionResNet((2, 3)), [(2, 3, 8, 8)], [5]),
}


@pytest.mark.parametrize(("make", "shapes", "expected"), MODELS.values(), ids=MODELS)
def test_every_stream_has_its_own_number_of_branches(make, shapes, expected):
    model, inputs = make(), tuple(map(torch.randn, shapes))
    found = find_streams(model, inputs)
    assert depths(found) == expected
    assert found.n_unclear == 0
    scaled = limits.scale_residuals(model, inputs=inputs)
    assert [stream.depth for stream in scaled.streams] == expected
    assert [stream.tau for stream in scaled.streams] == pytest.approx(
        [depth**-0.5 for depth in expected], rel=1e-12
    )
    assert scaled.depth == len(scaled.branches) == sum(expected)


def test_streams_have_names_and_skips_have_reasons():
    inputs = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    model = Coders(2)
    assert [s.name for s in find_streams(model, inputs).streams] == [
        "encoder.layers", "decoder.layers",
    ]  # fmt: skip
    said = str(limits.scale_residuals(model, inputs=inputs))
    assert "10 residual branches in 2 streams (tau=1/sqrt(L))" in said
    assert "encoder.layers: 4 residual branches times 0.5" in said
    # One name at every depth, so that streams of several depths can be compared.
    assert [s.name for s in find_streams(Coders(1), inputs).streams] == [
        "encoder.layers", "decoder.layers",
    ]  # fmt: skip
    long = limits.scale_residuals(LongSkip(4), inputs=image())
    assert [(each.kind, each.count) for each in long.dropped] == [("long skip", 1)]
    assert "left as they are: 1, a long skip around other sums" in str(long)
    inside = limits.scale_residuals(LongSkip(6, nested_block), inputs=image()).dropped
    assert {each.kind: each.count for each in inside} == {"long skip": 1, "inside": 18}


def test_a_tower_longer_than_a_block_is_a_stream_inside_of_a_branch():
    def group():
        return Block(nn.Sequential(*(Block(convolutions()) for _ in range(5))))

    found = find_streams(LongSkip(3, group), image())
    assert sorted(depths(found)) == [3, 5, 5, 5]
    inner = [stream for stream in found.streams if stream.inside]
    assert [stream.inside for stream in inner] == [f"tower.{k}.body" for k in range(3)]


def test_reshaping_is_no_stage_and_downsampling_is_one():
    (flat,) = find_streams(Flattened(3), torch.randn(2, 3, WIDTH)).streams
    assert flat.segments == (0,) * 6
    (stages,) = find_streams(zoo.VisionResNet((2, 3)), image()).streams
    assert stages.segments == (0, 0, 1, 1, 1)


def test_a_stack_called_on_two_inputs_is_two_streams():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = nn.Sequential(*(Block(mlp()) for _ in range(3)))

        def forward(self, a, b):
            return self.stack(a) * self.stack(b)

    model, inputs = Siamese(), (torch.randn(2, WIDTH), torch.randn(2, WIDTH))
    assert depths(find_streams(model, inputs)) == [3, 3]
    assert limits.scale_residuals(model, inputs=inputs).tau == pytest.approx(3**-0.5)


def subtracted(h, f):
    return h - f(h)


def in_place(h, f):
    h = h.clone()
    h += f(h)
    return h


def through_a_view(h, f):
    h = h.clone()
    h.view(-1).add_(f(h).view(-1))
    return h


JOINS = {
    "subtraction": (subtracted, -1.0),
    "in place": (in_place, 1.0),
    "through a view": (through_a_view, 1.0),
    "torch.add with alpha": (lambda h, f: torch.add(h, f(h), alpha=0.5), 0.5),
    "addcmul": (lambda h, f: torch.addcmul(h, torch.full_like(h, 0.5), f(h), value=3), 1.5),
    "lerp": (lambda h, f: torch.lerp(h, h + f(h), 0.25), 0.25),
    "sum of a list": (lambda h, f: sum([h, f(h)]), 1.0),
    "baddbmm": (
        lambda h, f: torch.baddbmm(h[None], f(h)[None], 2 * torch.eye(WIDTH).to(h)[None])[0],
        2.0,
    ),
}  # fmt: skip


class Joined(nn.Module):
    def __init__(self, join, depth: int = 4):
        super().__init__()
        self.join, self.blocks = join, mlps(depth)

    def forward(self, h):
        for block in self.blocks:
            h = self.join(h, block)
        return h


@pytest.mark.parametrize(("join", "sign"), JOINS.values(), ids=JOINS)
def test_every_way_to_join_a_branch_is_scaled(join, sign):
    model, x = Joined(join).double(), torch.randn(3, WIDTH, dtype=torch.float64)
    plain = model(x)
    with limits.scale_residuals(model, 0.5, inputs=x) as scaled:
        assert scaled.branches == tuple(f"blocks.{k}" for k in range(4))
        found = model(x)
    h = x
    for block in model.blocks:
        h = h + 0.5 * sign * block(h)
    torch.testing.assert_close(found, h, rtol=1e-12, atol=1e-12)
    assert torch.equal(model(x), plain)
    with limits.scale_residuals(model, 1.0, inputs=x):
        assert torch.equal(model(x), plain)


def test_joins_that_no_module_makes_are_counted_and_refused_by_name():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList(torch.randn(WIDTH, WIDTH) for _ in range(4))

        def forward(self, h):
            for weight in self.weights:
                h = torch.addmm(h, torch.tanh(h), weight)
            return h

    x = torch.randn(3, WIDTH)
    assert depths(find_streams(Fused(), x)) == [4]
    with pytest.raises(limits.BranchError, match="joined by a fused product"):
        limits.scale_residuals(Fused(), inputs=x)
    gated = Joined(lambda h, f: torch.lerp(h, f(h), 0.5))
    with pytest.raises(limits.BranchError, match="joined by lerp, which multiplies the stream"):
        limits.scale_residuals(gated, inputs=x)


def test_positions_that_every_layer_reads_are_no_stream():
    class Positioned(nn.Module):
        def __init__(self, depth: int = 3):
            super().__init__()
            self.blocks = mlps(depth)

        def forward(self, x):
            positions, h = x.cumsum(1), x.clone()
            for block in self.blocks:
                h = F.layer_norm(h + block(h + positions), (WIDTH,))
            return h + positions

    assert depths(find_streams(Positioned(), torch.randn(2, 4, WIDTH))) == [3]


def test_two_heads_that_meet_are_no_residual_sum():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = nn.Sequential(*(Block(mlp()) for _ in range(4)))
            self.heads = nn.ModuleList(nn.Linear(WIDTH, 2) for _ in range(2))

        def forward(self, x):
            h = self.stack(x)
            return (self.heads[0](h) + self.heads[1](h)) / 2

    scaled = limits.scale_residuals(TwoHeads(), inputs=torch.randn(2, WIDTH))
    assert scaled.depth == 4
    assert [(each.kind, each.count) for each in scaled.dropped] == [("even", 1)]


def test_what_a_recurrence_inside_of_a_branch_adds_up_is_no_stream():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            values, state = self.inside(x), torch.zeros(x.shape[0], WIDTH)
            states = []
            for t in range(x.shape[1]):
                state = state + torch.tanh(self.inside(state)) * values[:, t]
                states.append(state)
            return self.out(torch.stack(states, 1))

    class Kept(Recurrent):
        """Returns the state after the last token as well, which no sum reads."""

        def forward(self, x):
            state = torch.tanh(self.inside(x[:, 0]))
            out = super().forward(x)
            return out, state + torch.tanh(self.inside(state)) * x[:, 1]

    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Kept()

        def forward(self, h):
            return h + self.body(h)[0]

    for model, inside in (
        (nn.Sequential(*(Block(Recurrent()) for _ in range(2))), 6),
        (nn.Sequential(*(Reading() for _ in range(2))), 8),
    ):
        found = find_streams(model, torch.randn(2, 3, WIDTH))
        assert depths(found) == [2]
        assert [(each.kind, each.count) for each in found.dropped] == [("inside", inside)]


def test_a_state_that_goes_on_in_two_ways_is_two_streams():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.left, self.right = (
                nn.Sequential(*(Block(mlp()) for _ in range(n))) for n in (2, 5, 4)
            )

        def forward(self, x):
            h = self.shared(x)
            return self.left(h), self.right(h)

    found = find_streams(Forked(), torch.randn(2, WIDTH))
    assert sorted(depths(found)) == [4, 7]


class Parallel(nn.Module):
    """GPT-NeoX: attention that returns a pair, beside an MLP, and the stream added last."""

    def __init__(self, depth: int = 3):
        super().__init__()
        self.attention = nn.ModuleList(Paired() for _ in range(depth))
        self.mlps = mlps(depth)

    def forward(self, h):
        for attention, each in zip(self.attention, self.mlps, strict=True):
            h = each(h) + attention(h)[0] + h
        return h


class Paired(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, h):
        return torch.sin(self.linear(self.norm(h))), h.mean()


class Held(Paired):
    """A branch in an object that is no tuple."""

    def forward(self, h):
        return {"state": super().forward(h)[0], "mean": h.mean()}


def test_branches_beside_each_other_are_scaled_both_and_seen_by_the_check():
    model, x = Parallel().double(), torch.randn(4, WIDTH, dtype=torch.float64)
    h = x
    for attention, each in zip(model.attention, model.mlps, strict=True):
        h = h + 0.5 * (each(h) + attention(h)[0])
    for branch in (None, lambda name, _: name.count(".") == 1):
        with limits.scale_residuals(model, 0.5, branch=branch, inputs=x) as scaled:
            assert (scaled.depth, len(scaled.branches)) == (3, 6)
            torch.testing.assert_close(model(x), h, rtol=1e-12, atol=1e-12)
    check = limits.depth_check(
        Parallel, depths=(2, 4, 8), n_seeds=2, inputs=x.float(),
        branch=lambda name, _: name.count(".") == 1,
    )  # fmt: skip
    assert check.branches == (2, 4, 8)


def test_one_summand_of_a_branch_can_be_named():
    model, x = Parallel(1).double(), torch.randn(4, WIDTH, dtype=torch.float64)
    expected = x + model.mlps[0](x) + 0.5 * model.attention[0](x)[0]
    with limits.scale_residuals(model, 0.5, branch="attention.*", inputs=x):
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_a_branch_in_a_dict_is_scaled_in_its_place():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = nn.ModuleList(Held() for _ in range(4))

        def forward(self, h):
            for each in self.held:
                h = h + each(h)["state"]
            return h

    model, x = Model(), torch.randn(4, WIDTH)
    plain = model.held[0](x)
    limits.scale_residuals(model, inputs=x)
    scaled = model.held[0](x)
    assert torch.equal(scaled["state"], 0.5 * plain["state"])
    assert torch.equal(scaled["mean"], plain["mean"])


def test_whole_blocks_are_refused_by_name():
    model = nn.Sequential(*(Block(mlp()) for _ in range(4)))
    for inputs in (None, torch.randn(2, WIDTH)):
        with pytest.raises(limits.BranchError, match=r"'0' returns the whole block.*'0\.body'"):
            limits.scale_residuals(model, branch=["0", "1", "2", "3"], inputs=inputs)
    with pytest.raises(limits.BranchError, match="returns the whole block"):
        limits.depth_check(
            lambda depth: nn.Sequential(*(Block(mlp()) for _ in range(depth))),
            branch=lambda name, _: "." not in name, depths=(2, 4, 8), n_seeds=2,
        )  # fmt: skip
    assert not any(module._forward_hooks for module in model.modules())


def test_modules_that_return_no_branch_are_refused_beside_those_that_do():
    with pytest.raises(limits.BranchError, match=r"1 of the 3 modules .* 'stem': no sum adds"):
        limits.scale_residuals(zoo.Plain(2), branch=["blocks.0", "blocks.1", "stem"])


def test_an_inner_module_is_taken_where_the_outer_one_does_more():
    class Shared(nn.Module):
        """An attention that is also called for something else; its projection is not."""

        def __init__(self):
            super().__init__()
            self.inner, self.own = mlp(), nn.Linear(WIDTH, WIDTH)

        def forward(self, h, *, project: bool = True):
            inner = self.inner(h)
            return self.own(inner) if project else inner

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.ModuleList(Shared() for _ in range(4))

        def forward(self, h):
            for each in self.shared:
                h = h + each(h)
                h = h * each(h, project=False).mean()
            return h

    scaled = limits.scale_residuals(Model(), inputs=torch.randn(2, WIDTH))
    assert scaled.branches == tuple(f"shared.{k}.own" for k in range(4))


def test_recording_holds_on_to_no_tensor():
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.alive = mlps(20), None

        def forward(self, h):
            seen = []
            for block in self.blocks:
                f = block(h)
                seen.append(weakref.ref(f))
                h = h + f
            self.alive = sum(each() is not None for each in seen)
            return h

    model, x = Watched(), torch.randn(2, WIDTH)
    model(x)
    before = model.alive
    find_streams(model, x)
    assert model.alive == before


class Tied(nn.Module):
    def __init__(self, steps: int):
        super().__init__()
        self.steps, self.f = steps, nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())

    def forward(self, h):
        for _ in range(self.steps):
            h = h + self.f(h)
        return h


@pytest.mark.thorough
def test_the_work_of_finding_streams_is_linear_in_calls():
    x, work = torch.randn(2, WIDTH), {}
    for steps in (10, 500, 4000):
        profile = cProfile.Profile()
        assert depths(profile.runcall(find_streams, Tied(steps), x)) == [steps]
        work[steps] = sum(each.callcount for each in profile.getstats())
    # Functions called, not seconds; the first search makes what is kept for all.
    assert work[4000] <= 8 * work[500]
