"""Numbers are a function of their address: the same bits from every kernel, in any order."""

import itertools
import os
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import scipy.stats
import torch

import limits
from limits.kernels import fill, reference, stream_key
from limits.kernels.philox import KINDS

KEY = stream_key(20250101, "kernels")
SCALE = float(np.float32(0.3 * 2.0**-31))

# (layers, paths, entries) from (layer, path, entry) on: whole and partial blocks, several tiles,
# rows shorter than a block, and the last addresses there are.
RANGES = [
    ((3, 5, 40), (0, 0, 0)),
    ((2, 3, 41), (7, 2**32 - 3, 2)),
    ((1, 1, 5000), (3, 4, 1)),
    ((4, 1, 3), (2**32 - 4, 0, 3)),
    ((1, 7, 1), (0, 0, 2)),
    ((2, 2, 1031), (0, 0, 2**34 - 1031)),
    ((300, 1, 7), (1, 1, 1)),
]


def drawn(shape, start=(0, 0, 0), kind="normal", key=KEY, out=None):
    layer, path, entry = start
    out = torch.empty(shape) if out is None else out
    return fill(out, key, kind, layer=layer, path=path, entry=entry, scale=SCALE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "start"), RANGES)
def test_loops_draw_the_bits_of_the_reference(shape, start, kind):
    expected = torch.empty(shape)
    reference.write(expected, KEY, kind, *start, SCALE)
    assert torch.equal(drawn(shape, start, kind), expected)
    strided = torch.full((shape[1], shape[0], shape[2] + 3), 7.0)
    drawn(shape, start, kind, out=strided.transpose(0, 1)[..., 1:-2])
    assert torch.equal(strided.transpose(0, 1)[..., 1:-2], expected)
    assert (strided[..., 0] == 7).all()
    assert (strided[..., -2:] == 7).all()


def test_a_million_normals_have_the_bits_of_the_reference():
    expected = torch.empty(2, 5, 100_000)
    reference.write(expected, KEY, "normal", 0, 0, 0)
    assert torch.equal(drawn((2, 5, 100_000)), expected)


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
@pytest.mark.thorough
def test_the_interpreter_of_triton_draws_the_bits_of_the_reference():
    code = f"""
        import os
        os.environ["TRITON_INTERPRET"] = "1"
        import torch
        from limits.kernels import Key, reference
        from limits.kernels.cuda import write_tiles
        key = Key{tuple(KEY)}
        for kind in {KINDS}:
            for shape, start in {RANGES}:
                found, expected = torch.zeros(shape), torch.empty(shape)
                reference.write(expected, key, kind, *start, {SCALE})
                write_tiles(found, key, kind, *start, {SCALE})
                assert torch.equal(found, expected), (kind, shape, start)
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_cuda_device_draws_the_bits_of_a_cpu(kind):
    ranges = [*RANGES, ((2, 5, 100_000), (0, 0, 0))]
    for shape, start in ranges:
        on_device = drawn(shape, start, kind, out=torch.empty(shape, device="cuda"))
        assert torch.equal(on_device.cpu(), drawn(shape, start, kind))


def test_words_are_those_of_the_authors():
    # kat_vectors of Random123, philox4x32-10: counter, key and words.
    known = [
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    for counter, key, words in known:
        tensors = tuple(torch.tensor([each]) for each in counter)
        found = reference.block_words(tensors, key)
        assert " ".join(f"{word.item():08x}" for word in found) == words


def test_chunks_orders_and_threads_change_no_number():
    whole = drawn((6, 9, 53))
    cells = list(itertools.product(range(6), range(9), (0, 10, 31, 52)))
    for layer, path, entry in reversed(cells):
        size = min(10, 53 - entry)
        part = drawn((1, 1, size), (layer, path, entry))
        assert torch.equal(part[0, 0], whole[layer, path, entry : entry + size])
    threaded = torch.empty_like(whole)
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda path: drawn(None, (0, path, 0), out=threaded[:, path : path + 1]), range(9)
            )
        )
    assert torch.equal(threaded, whole)


def test_long_draws_are_cut_without_a_trace(monkeypatch):
    whole = drawn((5, 7, 30))
    for at_once in (1, 30, 65, 215):
        monkeypatch.setattr("limits.kernels.filling._AT_ONCE", at_once)
        assert torch.equal(drawn((5, 7, 30)), whole)


def test_nothing_is_drawn_into_nothing():
    for shape in ((0, 3, 4), (3, 0, 4), (3, 4, 0)):
        assert drawn(shape).shape == shape


@pytest.mark.parametrize(
    "out",
    [
        torch.empty(2, 3),
        torch.empty(2, 3, 4, dtype=torch.float64),
        torch.empty(2, 3, 8)[..., ::2],
    ],
)
def test_memory_that_cannot_be_filled_is_refused(out):
    with pytest.raises(limits.LimitsError, match=r"drawn into float32 memory of axes"):
        fill(out, KEY, "normal")


@pytest.mark.parametrize("start", [(-1, 0, 0), (2**32, 0, 0), (0, 2**32, 0), (0, 0, 2**34)])
def test_addresses_out_of_range_are_refused(start):
    with pytest.raises(limits.LimitsError, match=r"are numbered from 0 to 2\^32"):
        drawn((1, 1, 1), start)


def test_every_part_of_an_address_counts():
    addresses = [(KEY, (0, 0, 0)), (KEY, (1, 0, 0)), (KEY, (0, 1, 0)), (KEY, (0, 0, 4096))]
    addresses += [
        (KEY._replace(**{word: getattr(KEY, word) ^ 1}), (0, 0, 0)) for word in KEY._fields
    ]
    rows = [drawn((1, 1, 4096), start, key=key).flatten() for key, start in addresses]
    # 4096 normals: a correlation beyond five deviations comes once in two million pairs.
    correlations = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert correlations.abs().max() < 5 / 4096**0.5


def moments(numbers):
    return [(numbers**power).mean().item() for power in (1, 2, 3, 4)]


@pytest.mark.parametrize("seed", range(4))
def test_normals_have_the_moments_of_normals(seed):
    numbers = drawn((8, 64, 2048), key=stream_key(seed, "law")).double()
    # Deviations of the mean of x^p over n numbers: sqrt((E x^2p - (E x^p)^2) / n).
    spreads = [(v / numbers.numel()) ** 0.5 for v in (1, 2, 15, 96)]
    for found, expected, spread in zip(moments(numbers), (0, 1, 0, 3), spreads, strict=True):
        assert abs(found - expected) < 4.5 * spread


def test_other_kinds_have_their_laws():
    uniforms = drawn((4, 16, 4096), kind="uniform").flatten().double()
    assert 0 <= uniforms.min() < 1e-4
    assert 1 - 1e-4 < uniforms.max() < 1
    assert scipy.stats.kstest(uniforms.numpy(), "uniform").pvalue > 1e-4
    centred = drawn((4, 16, 4096), kind="centred").flatten().double()
    law = scipy.stats.uniform(-0.3, 0.6)
    assert centred.abs().max() <= 0.3 * (1 + 1e-6)
    assert scipy.stats.kstest(centred.numpy(), law.cdf).pvalue > 1e-4
    signs = drawn((4, 16, 4096), kind="sign").flatten()
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 4.5 / signs.numel() ** 0.5


def test_normals_are_accurate_in_their_tails():
    # Words of the smallest and the largest radii, and of all eight octants.
    radii = torch.tensor([0, 1, 2, 3, 2**20, 2**31, 2**32 - 2**10, 2**32 - 1])
    angles = torch.arange(8) * 2**29 + 2**28
    first, second = reference.word_normals(radii.repeat_interleave(8), angles.repeat(8))
    u = ((radii >> 1).double() + 0.5) * 2.0**-31
    # Numbers next to one round to it in float32, whose logarithm is zero.
    expected = (-2 * u.float().double().log()).sqrt().repeat_interleave(8)
    found = (first.double() ** 2 + second.double() ** 2).sqrt()
    assert (found - expected).abs().max() < 2e-6
    assert first.abs().max() < 6.67
    octants = torch.atan2(second, first).double() / (torch.pi / 4)
    assert sorted(octants[:8].floor().tolist()) == [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]


@pytest.mark.thorough
def test_a_hundred_million_normals_follow_the_normal_law():
    """Kolmogorov-Smirnov on a fine grid, tails, and neighbours in every direction."""
    edges = torch.linspace(-6.75, 6.75, 27001, dtype=torch.float64)
    counts = torch.zeros(len(edges) - 1, dtype=torch.float64)
    products = dict.fromkeys(("entry", "path", "layer", "seed"), 0.0)
    n, chunks = 100_000_000, 40
    shape = (10, 25, n // chunks // 250)
    before = None
    for chunk in range(chunks):
        numbers = drawn(shape, key=stream_key(chunk, "battery"))
        counts += torch.histc(numbers, len(counts), -6.75, 6.75).double()
        products["entry"] += (numbers[..., 1:] * numbers[..., :-1]).sum().item()
        products["path"] += (numbers[:, 1:] * numbers[:, :-1]).sum().item()
        products["layer"] += (numbers[1:] * numbers[:-1]).sum().item()
        if before is not None:
            products["seed"] += (numbers * before).sum().item()
        before = numbers
    assert counts.sum() == n
    normal = torch.special.ndtr(edges[1:])
    # Kolmogorov's law exceeds 2.23 once in ten thousand times.
    assert ((counts.cumsum(0) / n - normal).abs().max() * n**0.5).item() < 2.23
    for beyond in (3, 4, 5):
        mean = 2 * n * torch.special.ndtr(torch.tensor(-beyond, dtype=torch.float64)).item()
        found = counts[(edges[1:] <= -beyond + 1e-9) | (edges[:-1] >= beyond - 1e-9)].sum().item()
        assert abs(found - mean) < 4.5 * mean**0.5
    for total in products.values():
        assert abs(total) < 4.5 * n**0.5


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch):
    from limits.kernels import jit

    def njit(*, cache=False, **settings):
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return lambda function: function

    monkeypatch.setattr(jit, "njit", njit)
    jit._say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="Set NUMBA_CACHE_DIR to a folder"):
        assert jit.loop(len) is len
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jit.loop(max) is max


@pytest.mark.thorough
def test_compiled_code_is_kept(tmp_path):
    code = """
        import torch
        from limits.kernels import Key, fill
        fill(torch.empty(1, 1, 4), Key(1, 2, 3), "normal")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        check=True,
        timeout=120,
    )
    assert list(tmp_path.rglob("cpu.fill_flat*.nbc"))


KEPT = """
import sys
from limits.kernels import jit

jit._digest = lambda: sys.argv[1]

@jit.loop
def twice(x):
    return x + x

assert twice(2) == 4
print(len(twice.stats.cache_hits))
"""


@pytest.mark.thorough
def test_kept_code_serves_as_long_as_no_kernel_has_changed(tmp_path):
    script = tmp_path / "kept.py"
    script.write_text(KEPT)

    def hits(digest: str) -> int:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
        command = [sys.executable, str(script), digest]
        return int(subprocess.check_output(command, env=environment, text=True))

    assert [hits(digest) for digest in ("one", "one", "other", "one")] == [0, 1, 0, 0]
