import copy
import pickle
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import limits
from limits.user_models.branches.finding import find_streams
from tests import model_zoo as zoo


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def names_of(model, **options):
    (stream,) = find_streams(model, **options).streams
    return stream.branches


def test_branches_of_a_plain_network_are_found_without_inputs():
    found = find_streams(zoo.Plain(5))
    (stream,) = found.streams
    assert stream.branches == tuple(f"blocks.{k}" for k in range(5))
    assert (stream.name, stream.depth, found.depth) == ("blocks", 5, 5)
    assert {hook.kind for hooks in stream.hooks for hook in hooks} == {"branch"}
    assert "shape (4, 8)" in found.origin
    assert found.dropped == ()


def test_branches_of_a_torchvision_resnet_end_in_the_last_normalisation():
    names = names_of(zoo.VisionResNet((2, 3)))
    assert names == tuple(
        f"layers.{s}.{k}.bn2" for s, k in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    )
    deep = names_of(zoo.VisionResNet((1, 2), bottleneck=True), inputs=torch.randn(2, 3, 16, 16))
    assert deep == ("layers.0.0.bn3", "layers.1.0.bn3", "layers.1.1.bn3")


def test_shortcuts_by_padding_are_no_branches():
    names = names_of(zoo.ShortcutA(2))
    assert names == tuple(f"blocks.{k}" for k in range(6))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_has_two_branches(norm_first, training):
    model = zoo.encoder(3, norm_first=norm_first).train(training)
    expected = tuple(f"layers.{k}.dropout{i}" for k in range(3) for i in (1, 2))
    assert names_of(model) == expected
    assert model.training is training


@pytest.mark.parametrize("parallel", [True, False])
def test_rotations_gelus_and_positions_are_no_residual_sums(parallel):
    names = names_of(zoo.LanguageModel(2, parallel=parallel))
    assert names == ("layers.0.attention", "layers.0.down", "layers.1.attention", "layers.1.down")


def test_finding_leaves_the_model_and_the_random_numbers_as_they_were():
    model = zoo.VisionResNet().train()
    model.layers[0].eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    find_streams(model)
    assert model.training
    assert not model.layers[0].training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_hooks for module in model.modules())


SCALED = [
    (lambda: zoo.Plain(4), (4, 8)),
    (lambda: zoo.VisionResNet((2, 2)), (2, 3, 16, 16)),
    (lambda: zoo.VisionResNet((1, 2), bottleneck=True), (2, 3, 16, 16)),
    (lambda: zoo.ShortcutA(1), (2, 3, 16, 16)),
    (lambda: nn.Sequential(*(zoo.WholeBlock(8) for _ in range(4))), (4, 8)),
    (lambda: zoo.encoder(3, dropout=0.0), (2, 5, 16)),
    (lambda: zoo.encoder(3, norm_first=False, dropout=0.0), (2, 5, 16)),
]


@pytest.mark.parametrize(("make", "shape"), SCALED)
def test_a_factor_of_almost_nothing_leaves_the_stream(make, shape):
    model, x = make().double().eval(), torch.randn(shape, dtype=torch.float64)
    plain = model(x)
    with limits.scale_residuals(model, 1e-12, inputs=x) as scaled:
        silent = model(x)
    assert torch.equal(model(x), plain)
    # The same network with branches that return zero, found by their names.
    modules = dict(model.named_modules())
    blocks = [n for n in scaled.branches if isinstance(modules[n], zoo.WholeBlock)]
    hooks = [
        modules[n].register_forward_hook(
            (lambda _, args, out: args[0]) if n in blocks else (lambda _, args, out: 0 * out)
        )
        for n in scaled.branches
    ]
    torch.testing.assert_close(silent, model(x), rtol=1e-9, atol=1e-9)
    for hook in hooks:
        hook.remove()


def test_the_branch_is_multiplied_and_nothing_else():
    model, x = zoo.Plain(3).double(), torch.randn(4, 8, dtype=torch.float64)
    limits.scale_residuals(model, tau=0.3)
    h = model.stem(x)
    for block in model.blocks:
        h = h + 0.3 * block[2](F.relu(block[0](h)))
    torch.testing.assert_close(model(x), model.head(h), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [lambda L: nn.Sequential(*(zoo.SideBySide() for _ in range(L))), zoo.Adapted],
    ids=["parallel", "low-rank"],
)
def test_sums_inside_a_branch_are_scaled_once(make):
    model, x = make(4), torch.randn(2, 6, 16)
    block = model[0] if isinstance(model, nn.Sequential) else model.blocks[0]
    stream = x if isinstance(model, nn.Sequential) else 0
    before = block(x) - stream
    scaled = limits.scale_residuals(model, inputs=x)
    assert (scaled.depth, scaled.tau) == (4, 0.5)
    assert torch.allclose(block(x) - stream, 0.5 * before, atol=1e-6)
    check = limits.depth_check(make, depths=(2, 4), inputs=x, n_seeds=2)
    assert check.branches == (2, 4)


def test_attention_that_returns_a_pair_is_scaled_in_its_first_entry():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return x + self.attention(x, x, x)[0]

    model, x = Block().eval(), torch.randn(2, 5, 8)
    plain = model(x) - x
    with limits.scale_residuals(model, 0.25, inputs=x) as scaled:
        assert scaled.branches == ("attention",)
        torch.testing.assert_close(model(x) - x, 0.25 * plain)
    with limits.scale_residuals(model, 0.25, branch="attention"):
        torch.testing.assert_close(model(x) - x, 0.25 * plain)


def test_tied_blocks_count_at_every_call():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

        def forward(self, h):
            for _ in range(16):
                h = h + self.block(h)
            return h

    scaled = limits.scale_residuals(Tied())
    assert (scaled.depth, scaled.tau, set(scaled.branches)) == (16, 0.25, {"block"})


@pytest.mark.parametrize(
    ("tau", "value"),
    [
        ("1/sqrt(L)", 0.25), ("2/sqrt(L)", 0.5), ("1/L", 1 / 16), ("1 / L^0.25", 0.5),
        ("L^-0.5", 0.25), ("0.5*L**-0.5", 0.125), ("L**(-1)", 1 / 16), ("L^0.5", 4.0), ("L", 16.0),
        (0.1, 0.1), (lambda depth: 1 / depth, 1 / 16),
    ],
)  # fmt: skip
def test_rules_for_tau_mean_what_they_say(tau, value):
    scaled = limits.scale_residuals(zoo.Plain(16), tau=tau)
    assert scaled.tau == pytest.approx(value, abs=1e-15)
    assert str(scaled).startswith(f"16 residual branches times {value:.4g} (tau=")


@pytest.mark.parametrize("tau", ["sqrt(L)", "exp(L)", 0.0, -1.0, float("nan"), True, lambda L: "x"])
def test_rules_that_are_no_factor_are_refused(tau):
    with pytest.raises(limits.LimitsError, match=r'"1/sqrt\(L\)"'):
        limits.scale_residuals(zoo.Plain(2), tau=tau)


@pytest.mark.parametrize(
    "branch",
    [
        "blocks.*", "blocks.{}", ["blocks.0", "blocks.1"],
        lambda name, module: isinstance(module, nn.Sequential),
    ],
)  # fmt: skip
def test_branches_can_be_named(branch):
    model, x = zoo.Plain(2), torch.randn(4, 8)
    limits.scale_residuals(model, branch=branch)
    other = copy.deepcopy(zoo.Plain(2))
    other.load_state_dict(model.state_dict())
    limits.scale_residuals(other)
    assert torch.equal(model(x), other(x))


class Unclear(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.left(x) + self.right(x)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        return self.layer(self.norm(x + self.layer(x)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), "found no residual branch"),
        (Unclear(), "both operands pass through weights"),
        (Reused(), "called 2 times and only 1"),
        (zoo.WholeBlock(8, after=True), "Make the branch a module of its own"),
        (nn.Sequential(nn.ReLU()), "cannot guess an input"),
        (nn.Sequential(nn.Linear(8, 8), nn.Linear(9, 9)), "takes none of the inputs guessed"),
    ],
)
def test_what_is_not_sure_is_refused(model, message):
    with pytest.raises(limits.BranchError, match=message):
        limits.scale_residuals(model)
    assert not any(module._forward_hooks for module in model.modules())


def test_wrong_names_and_a_second_scaling_are_refused():
    model = zoo.Plain(2)
    with pytest.raises(limits.BranchError, match=r"no module named 'block\.0'"):
        limits.scale_residuals(model, branch=["block.0"])
    with pytest.raises(limits.BranchError, match="Choose some of these"):
        limits.scale_residuals(model, branch="layers.*")
    with pytest.raises(limits.BranchError, match=r"'blocks\.0' is inside another chosen module"):
        limits.scale_residuals(model, branch=lambda name, _: name.startswith("blocks"))
    scaled = limits.scale_residuals(model)
    with pytest.raises(limits.BranchError, match=r"Call \.remove\(\)"):
        limits.scale_residuals(model)
    scaled.remove()
    limits.scale_residuals(model)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            torch.full((4, 8), float("nan")),
            limits.NonFiniteStateError,
            "32 NaN or infinite entries out of 32",
        ),
        (torch.zeros(0, 8), limits.ShapeError, "a tensor with numbers"),
        (torch.zeros(4, 8, device="meta"), limits.DTypeError, "on meta and the model is on cpu"),
    ],
)
def test_bad_inputs_are_refused(inputs, error, message):
    with pytest.raises(error, match=message):
        limits.scale_residuals(zoo.Plain(2), inputs=inputs)


def test_inputs_come_as_tensor_tuple_dict_or_loader():
    model, x = zoo.Plain(2), torch.randn(6, 8)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x), batch_size=3)
    for inputs in (x, (x,), {"x": x}, loader, [x], [{"x": x}]):
        assert names_of(model, inputs=inputs) == ("blocks.0", "blocks.1")


DEEP = 100


def trained(model, *, steps=60):
    """Return the losses of a few steps on a fixed regression, nan kept."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 8, generator=generator)
    y = torch.sin(x[:, :4])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = F.mse_loss(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.thorough
def test_a_network_of_a_hundred_blocks_trains_only_after_scaling():
    torch.set_num_threads(1)
    plain = zoo.Plain(DEEP)
    scaled_model = copy.deepcopy(plain)
    before = trained(plain, steps=20)
    scaled = limits.scale_residuals(scaled_model, tau="1/sqrt(L)")
    assert (scaled.depth, scaled.tau) == (DEEP, 0.1)
    after = trained(scaled_model)
    # The second moment doubles in every block. Over 8 seeds: the first loss is infinite, later
    # ones are NaN; scaled, the loss falls from 0.68-3.2 to 0.006-0.06.
    assert not before[0] < 1e12
    assert not before[-1] < 1e12
    assert after[-1] < 0.15 * after[0]


@pytest.mark.parametrize(("make", "shape"), SCALED)
def test_state_dict_makes_an_exact_round_trip(make, shape, tmp_path):
    model, x = make().eval(), torch.randn(shape)
    keys, plain = list(model.state_dict()), model(x)
    scaled = limits.scale_residuals(model, inputs=x)
    there = model(x)
    assert list(model.state_dict()) == keys
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = make().eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    limits.scale_residuals(other, inputs=x)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(x), there)
    # Without the factor on either side the weights are those of the plain model.
    bare = make().eval()
    bare.load_state_dict(model.state_dict())
    assert torch.equal(bare(x), plain)
    scaled.remove()
    assert torch.equal(model(x), plain)


def test_copies_and_pickles_keep_the_factor():
    model, x = zoo.encoder(2, dropout=0.0).eval(), torch.randn(2, 5, 16)
    limits.scale_residuals(model)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), expected)
        with pytest.raises(limits.BranchError, match="scaled already"):
            limits.scale_residuals(other)


# --- models that torch.compile has seen --------------------------------------------------------


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def test_compiled_code_is_dropped_when_a_factor_comes_and_when_it_goes(monkeypatch):
    """The compiler takes seconds to import; a stand-in counts what it is told."""
    dropped = []
    stand_in = SimpleNamespace(reset=lambda: dropped.append(True))
    model = zoo.Plain(2)
    monkeypatch.setitem(sys.modules, "torch._dynamo", stand_in)
    scaled = limits.scale_residuals(model, 0.25, branch="blocks.*")
    assert len(dropped) == 1
    scaled.remove()
    assert len(dropped) == 2


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "compiled", [lambda model: torch.compile(model, backend="eager"), compiled_in_place]
)
def test_what_was_compiled_before_obeys_the_factor_and_its_end(compiled):
    model, x = zoo.Plain(3), torch.randn(4, 8)
    plain = model(x)
    runs = compiled(model)
    assert torch.equal(runs(x), plain)
    scaled = limits.scale_residuals(model, 0.25)
    with torch.compiler.set_stance("force_eager"):
        expected = model(x)
    assert not torch.allclose(expected, plain)
    assert torch.allclose(runs(x), expected)
    scaled.remove()
    assert torch.allclose(runs(x), plain)
    with limits.scale_residuals(runs, 0.25):
        assert torch.allclose(runs(x), expected)
    assert torch.allclose(runs(x), plain)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_branches_of_a_compiled_model_are_found_in_the_code_as_written():
    model = torch.compile(zoo.Plain(3), backend="eager")
    model(torch.randn(4, 8))
    assert names_of(model) == tuple(f"_orig_mod.blocks.{k}" for k in range(3))


def test_modules_whose_output_nobody_adds_are_no_branches():
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with pytest.raises(limits.BranchError, match=r"Choose the attention itself, .*self_attn"):
        limits.scale_residuals(model, 0.5, branch="layers.*.self_attn.out_proj")
    plain = zoo.Plain(2)
    plain.unused = nn.Linear(8, 8)
    with pytest.raises(limits.BranchError, match="Choose modules that Plain calls"):
        limits.scale_residuals(plain, 0.5, branch="unused", inputs=torch.randn(4, 8))
    scaled = limits.scale_residuals(plain, 0.5, branch="blocks.*", inputs=torch.randn(4, 8))
    assert scaled.depth == 2


def test_inputs_of_a_model_that_begins_in_place_are_left_alone():
    class InPlace(torch.nn.Module):
        def __init__(self, depth=2):
            super().__init__()
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(depth))

        def forward(self, x):
            x = torch.nn.functional.relu_(x)
            for block in self.blocks:
                x = x + block(x)
            return x

    inputs = -torch.ones(4, 3)
    limits.scale_residuals(InPlace(), inputs=inputs)
    limits.depth_check(InPlace, depths=(2, 4, 8), inputs=inputs, n_seeds=2)
    assert bool((inputs == -1).all())
