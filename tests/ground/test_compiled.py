"""The compiled loops draw what torch draws, and nobody notices when they take over."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
import torch

import limits
from limits import randomness
from limits.compiled import WORDS, Loops, choice
from limits.randomness import Stream

pytest.importorskip("numba")
from limits.compiled.normals import fill_normals
from limits.compiled.uniforms import fill_uniforms

DRAWS = {
    "normals": lambda stream, paths, size: stream.normals(16, paths, size, part=3),
    "uniforms": lambda stream, paths, size: stream.centred_uniforms(16, paths, size, 1.7, part=3),
}


@pytest.fixture
def plain(monkeypatch):
    """A process that never draws enough."""
    monkeypatch.setattr(choice, "_PAYS", float("inf"))


@pytest.fixture
def compiled(monkeypatch):
    """A process that has drawn enough."""
    if choice._found()[0] is None:
        pytest.skip("this build of torch rounds its normals differently")
    monkeypatch.setattr(choice, "_PAYS", -1)


@pytest.fixture
def undecided(monkeypatch):
    """A process that has drawn enough and not yet looked for the loops."""
    choice._found.cache_clear()
    monkeypatch.setattr(choice, "_PAYS", -1)
    yield
    choice._found.cache_clear()


def words(seed: int, generators: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (generators, WORDS), dtype=np.uint32)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("size", [16, 20, 624, 640, 2**12, 16 * 2560])
@pytest.mark.parametrize("paths", [1, 15, 16, 17, 50])
@pytest.mark.usefixtures("compiled")
def test_every_bit_is_that_of_torch_and_numpy(monkeypatch, draw, size, paths):
    found = DRAWS[draw](Stream(7, "compiled"), paths, size)
    monkeypatch.setattr(choice, "_PAYS", float("inf"))
    assert torch.equal(found, DRAWS[draw](Stream(7, "compiled"), paths, size))


@pytest.mark.usefixtures("compiled")
def test_twenty_million_numbers_agree():
    # Octants, signs, the tails of the logarithm and its smallest argument, 2^-24.
    stream = Stream(1, "many")
    theirs = torch.empty(20 * 2**20).normal_(generator=stream.generator(0))
    ours = torch.empty_like(theirs)
    state = np.frombuffer(bytearray(stream._digest(0, 0, WORDS // 2)), np.uint32).reshape(1, WORDS)
    fill_normals(ours.numpy(), state, ours.numel())
    assert torch.equal(ours, theirs)
    assert float(ours.abs().max()) > 5


def test_generators_continue_where_they_were_stopped():
    together, apart = np.empty(2 * 624, np.float32), np.empty(2 * 624, np.float32)
    fill_normals(together, words(0, 1), together.size)
    state = words(0, 1)
    for part in (apart[:624], apart[624:]):
        fill_normals(part, state, part.size)
    assert np.array_equal(together, apart)


def test_uniforms_continue_where_they_were_stopped():
    together, apart = np.empty(10**4, np.float32), np.empty(10**4, np.float32)
    state = np.random.SFC64(3).state["state"]["state"][None]
    fill_uniforms(together, state.copy(), together.size, np.float32(1.0))
    rest = state.copy()
    for part in (apart[:4098], apart[4098:]):
        fill_uniforms(part, rest, part.size, np.float32(1.0))
    assert np.array_equal(together, apart)


@pytest.mark.parametrize("path", [limits.BrownianPath(8), limits.IIDPath(8)])
def test_a_draw_changes_hands_without_a_trace(monkeypatch, path):
    monkeypatch.setattr(choice, "_PAYS", float("inf"))
    expected = path.sample(depth=2048, n_paths=40, seed=3).increments
    for threshold in (-1, 10**6):
        monkeypatch.setitem(choice._DRAWN, "numbers", 0)
        monkeypatch.setattr(choice, "_PAYS", threshold)
        assert torch.equal(path.sample(depth=2048, n_paths=40, seed=3).increments, expected)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.usefixtures("compiled")
def test_the_loops_are_found_and_used(monkeypatch, draw):
    def refuse(*_):
        pytest.fail("numpy or torch drew")

    monkeypatch.setattr(Stream, "_draw", refuse)
    monkeypatch.setattr(randomness, "_sfc64", refuse)
    DRAWS[draw](Stream(0, "fast"), 16, 64)


@pytest.mark.thorough
def test_few_numbers_never_load_the_compiler():
    code = (
        "import sys, limits; limits.BrownianPath(8).sample(depth=64, n_paths=16, seed=0)"
        ".increments; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.usefixtures("undecided")
def test_numbers_stay_when_there_is_no_compiler(monkeypatch):
    expected = Stream(0, "none").normals(0, 16, 64)
    choice._found.cache_clear()
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert choice.loops_for(1) is None
    assert torch.equal(Stream(0, "none").normals(0, 16, 64), expected)


@pytest.mark.usefixtures("undecided")
def test_a_compiler_that_fails_says_so_and_torch_draws(monkeypatch):
    expected = Stream(0, "broken").normals(0, 16, 64)
    choice._found.cache_clear()
    found = builtins.__import__

    def refuse(name, *rest):
        if name == "limits.compiled.normals":
            raise ImportError("Numba needs NumPy 2.4 or less")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.warns(RuntimeWarning, match="Mend or remove numba"):
        drawn = Stream(0, "broken").normals(0, 16, 64)
    assert torch.equal(drawn, expected)


def nearly(fill):
    def filled(numbers, *rest):
        fill(numbers, *rest)
        numbers[4321] = np.nextafter(numbers[4321], np.float32(9))

    return filled


def test_a_build_that_rounds_differently_is_noticed():
    assert not choice._agree(Loops(nearly(fill_normals), fill_uniforms))
    assert not choice._agree(Loops(fill_normals, nearly(fill_uniforms)))


@pytest.mark.usefixtures("undecided")
def test_a_failure_is_said_once_even_where_warnings_are_errors(monkeypatch):
    def broken(loops):
        raise OSError("No space left on device")

    monkeypatch.setattr(choice, "_agree", broken)
    monkeypatch.setattr(choice, "_SAID", [])
    with pytest.raises(RuntimeWarning, match="No space left on device"):
        Stream(0, "said").normals(0, 16, 64)
    assert Stream(0, "said").normals(0, 16, 64).shape == (16, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("undecided")
def test_the_default_type_of_tensors_does_not_matter(dtype):
    found = choice._found()[0] is None
    choice._found.cache_clear()
    torch.set_default_dtype(dtype)
    try:
        assert (choice._found()[0] is None) == found
        assert Stream(0, "type").normals(0, 16, 64).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("loops", [True, False])
def test_no_paths_are_no_numbers(monkeypatch, loops):
    monkeypatch.setattr(choice, "_PAYS", -1 if loops else float("inf"))
    for draw in DRAWS.values():
        assert draw(Stream(0, "none"), 0, 5).shape == (0, 5)


@pytest.mark.parametrize(
    "memory",
    [
        torch.empty(4096, dtype=torch.float64),
        torch.empty(4096, dtype=torch.float16),
        torch.empty(100),
        torch.empty(64, 64),
        torch.empty(8192)[::2],
    ],
)
def test_memory_that_does_not_fit_is_refused(memory):
    with pytest.raises(limits.LimitsError, match=r"must be 1280 or more consecutive float32"):
        Stream(0, "memory").normals(0, 20, 50, memory=memory)


def test_what_draws_figures_is_imported_when_a_figure_is_drawn():
    code = (
        "import sys, limits.cli; assert not {'matplotlib.pyplot', 'scipy.stats'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.usefixtures("plain")
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
