"""The compiled loops draw what torch draws, and nobody notices when they take over."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
import torch

import limits
from limits import randomness
from limits.randomness import Stream

pytest.importorskip("numba")
from limits.compiled_normals import WORDS, fill_normals


@pytest.fixture
def torch_draws(monkeypatch):
    monkeypatch.setattr(randomness, "_compiled_pays", lambda count: False)


@pytest.fixture
def compiled_draws(monkeypatch):
    if not randomness._compiled_agrees():
        pytest.skip("this build of torch rounds its normals differently")
    monkeypatch.setattr(randomness, "_compiled_pays", lambda count: True)


@pytest.fixture
def undecided(monkeypatch):
    """A process that has drawn enough and not yet looked for the compiled loops."""
    randomness._compiled_agrees.cache_clear()
    monkeypatch.setitem(randomness._DRAWN, "normals", 2**40)
    yield
    randomness._compiled_agrees.cache_clear()


def words(seed: int, generators: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (generators, WORDS), dtype=np.uint32)


@pytest.mark.parametrize("size", [16, 624, 640, 2**12, 16 * 2560])
@pytest.mark.parametrize("paths", [1, 15, 16, 17, 50])
def test_every_bit_is_that_of_torch(monkeypatch, size, paths):
    stream = Stream(7, "compiled")
    monkeypatch.setattr(randomness, "_compiled_pays", lambda count: False)
    expected = stream.normals(16, paths, size, part=3)
    if not randomness._compiled_agrees():
        pytest.skip("this build of torch rounds its normals differently")
    monkeypatch.setattr(randomness, "_compiled_pays", lambda count: True)
    assert torch.equal(stream.normals(16, paths, size, part=3), expected)


def test_twenty_million_numbers_agree():
    # Octants, signs, the tails of the logarithm and its smallest argument, 2^-24.
    stream = Stream(1, "many")
    theirs = torch.empty(20 * 2**20).normal_(generator=stream.generator(0))
    ours = torch.empty_like(theirs)
    state = np.frombuffer(bytearray(stream._digest(0, 0)), np.uint32).reshape(1, WORDS)
    fill_normals(ours.numpy(), state, ours.numel())
    if not randomness._compiled_agrees():
        pytest.skip("this build of torch rounds its normals differently")
    assert torch.equal(ours, theirs)
    assert float(ours.abs().max()) > 5


def test_generators_continue_where_they_were_stopped():
    together, apart = np.empty(2 * 624, np.float32), np.empty(2 * 624, np.float32)
    fill_normals(together, words(0, 1), together.size)
    state = words(0, 1)
    for part in (apart[:624], apart[624:]):
        fill_normals(part, state, part.size)
    assert np.array_equal(together, apart)


def test_a_draw_changes_hands_without_a_trace(monkeypatch, undecided):
    path = limits.BrownianPath(8)
    expected = path.sample(depth=64, n_paths=40, seed=3).increments
    for threshold in (0, 2**40 + 3000, 2**40 + 10**9):
        monkeypatch.setitem(randomness._DRAWN, "normals", 2**40)
        monkeypatch.setattr(randomness, "_PAYS", threshold)
        assert torch.equal(path.sample(depth=64, n_paths=40, seed=3).increments, expected)


def test_the_compiled_loops_are_found_and_used(monkeypatch, undecided):
    if not randomness._compiled_agrees():
        pytest.skip("this build of torch rounds its normals differently")
    monkeypatch.setattr(Stream, "_draw", lambda *_: pytest.fail("torch drew"))
    Stream(0, "fast").normals(0, 16, 64)


def test_few_normals_never_load_the_compiler():
    code = (
        "import sys, limits; limits.BrownianPath(8).sample(depth=64, n_paths=16, seed=0)"
        ".increments; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_numbers_stay_when_there_is_no_compiler(monkeypatch, undecided):
    expected = Stream(0, "none").normals(0, 16, 64)
    randomness._compiled_agrees.cache_clear()
    monkeypatch.setattr(randomness, "find_spec", lambda name: None)
    assert not randomness._compiled_agrees()
    assert torch.equal(Stream(0, "none").normals(0, 16, 64), expected)


def test_a_compiler_that_fails_says_so_and_torch_draws(monkeypatch, undecided):
    expected = Stream(0, "broken").normals(0, 16, 64)
    randomness._compiled_agrees.cache_clear()
    found = builtins.__import__

    def refuse(name, *rest):
        if name == "limits.compiled_normals":
            raise ImportError("Numba needs NumPy 2.4 or less")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.warns(RuntimeWarning, match="Update or remove numba"):
        drawn = Stream(0, "broken").normals(0, 16, 64)
    assert torch.equal(drawn, expected)


def test_a_build_that_rounds_differently_is_noticed(monkeypatch, undecided):
    import limits.compiled_normals as compiled

    def nearly(numbers, states, size):
        fill_normals(numbers, states, size)
        numbers[4321] = np.nextafter(numbers[4321], np.float32(9))

    monkeypatch.setattr(compiled, "fill_normals", nearly)
    assert not randomness._compiled_agrees()
    torch.testing.assert_close(
        Stream(0, "rounds").normals(0, 16, 64),
        Stream(0, "rounds").normals(0, 32, 64)[:16],
        rtol=0,
        atol=0,
    )


@pytest.mark.usefixtures("torch_draws")
def test_memory_that_is_given_changes_no_number():
    stream = Stream(0, "memory")
    memory = torch.full((4096,), float("nan"))
    for draw in (stream.normals, stream.uniforms):
        drawn = draw(0, 20, 50, memory=memory)
        assert drawn.data_ptr() == memory.data_ptr()
        assert torch.equal(drawn, draw(0, 20, 50))
    assert torch.equal(
        stream.centred_uniforms(0, 20, 50, 1.5, memory=memory),
        stream.centred_uniforms(0, 20, 50, 1.5),
    )


@pytest.mark.usefixtures("compiled_draws")
def test_layers_that_are_kept_keep_their_numbers():
    # Memory of slabs is used again: not while somebody holds a layer of it.
    path = limits.BrownianPath(64)
    sample = path.sample(depth=64, n_paths=16, seed=0, dtype=torch.float32)
    basis = torch.eye(64).expand(16, 64, 64)
    kept = list(sample.layers())
    columns = torch.stack([layer.increment.mv(basis).mT for layer in kept])
    torch.testing.assert_close(columns, sample.increments, rtol=0, atol=0)


def test_autograd_sees_the_weights_of_its_own_layer():
    net, path = limits.ResNet("tanh"), limits.BrownianPath(64)
    sample = path.sample(depth=32, n_paths=16, seed=0)
    h0 = torch.randn(16, 1, 64, dtype=torch.float64, requires_grad=True)
    out = net(h0, sample)
    out.terminal.square().sum().backward()
    detached = net(h0.detach(), sample)
    adjoint = net.backward(detached, sample, 2 * detached.terminal)
    torch.testing.assert_close(h0.grad, adjoint.values[0], rtol=1e-10, atol=1e-12)
