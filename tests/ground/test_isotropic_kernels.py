"""Loops of isotropic limits: the numbers of a plain recursion, whatever stands beside a path."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from importlib.util import find_spec

import mpmath
import numpy as np
import pytest
import torch

from limits.equations.isotropic import root
from limits.equations.kernels import arc_cosine
from limits.kernels import fill, stream_key
from limits.kernels.isotropic import IsotropicLaw, coupled_steps, euler_steps
from limits.kernels.pointwise.polynomials import ACTIVATION_CODES

KEY = stream_key(3, "isotropic")
VALUES = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": lambda x: x * torch.special.ndtr(x),
}


def states(paths, inputs, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(paths + 10 * inputs + 100 * width)
    return torch.randn(paths, inputs, width, generator=generator, dtype=dtype)


def plain_steps(h, law, depth, ratio=1, path=0):
    """Return all states of the recursion, written down as the formula says."""
    paths, inputs, width = h.shape
    drawn = torch.empty(depth, paths, inputs * width)
    noise = fill(drawn, KEY, "normal", path=path).to(h.dtype) / depth**0.5
    noise = noise.view(depth // ratio, ratio, paths, inputs, width).sum(1)
    trajectory = []
    for step in noise:
        values = VALUES[law.activation](h)
        gram = values @ values.mT
        gram = 2 * arc_cosine(gram) if law.arc_cosine else gram
        driver = root(law.strength * gram) @ step
        h = h * (1 - law.decay * ratio / depth) + law.scale * driver
        h = h.clamp_min(0) if law.reflected else h
        trajectory.append(h)
    return torch.stack(trajectory)


def distance(a, b):
    return float((a - b).abs().max() / b.abs().max())


LAWS = [IsotropicLaw(name, 0.9, 0.4) for name in ACTIVATION_CODES] + [
    IsotropicLaw("identity", 0.9, 0.4, decay=0.3),
    IsotropicLaw("identity", 0.9, 0.4, decay=0.3, reflected=True),
    IsotropicLaw("identity", 0.5, 0.4, arc_cosine=True),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_loops_take_the_steps_of_the_formula(law):
    # Whole and partial blocks, sums of fine steps, several inputs, and more blocks than a tile.
    for inputs, width, ratio in ((1, 40, 1), (1, 7, 1), (1, 6, 4), (2, 5, 1), (1, 2100, 1)):
        start = states(5, inputs, width)
        found = euler_steps(start.clone(), law, KEY, drawn_depth=8, ratio=ratio, path=11)
        expected = plain_steps(start, law, 8, ratio, path=11)[-1]
        assert distance(found, expected) < 2e-14


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_single_precision_stays_close(law):
    start = states(70, 1, 40)
    found = euler_steps(start.float(), law, KEY, drawn_depth=64)
    assert found.dtype == torch.float32
    assert distance(found.double(), plain_steps(start, law, 64)[-1]) < 5e-6


@pytest.mark.parametrize(("inputs", "ratio"), [(1, 1), (2, 4)])
def test_chosen_states_are_recorded(inputs, ratio):
    law, start = LAWS[2], states(37, inputs, 10)
    record = torch.full((3, *start.shape), torch.nan, dtype=start.dtype)
    found = euler_steps(
        start.clone(), law, KEY, drawn_depth=16, ratio=ratio, record=record, times=(1, 2, 4)
    )
    expected = plain_steps(start, law, 16, ratio)
    assert distance(record, expected[[0, 1, 3]]) < 1e-14
    assert distance(found, expected[-1]) < 1e-14


@pytest.mark.parametrize("inputs", [1, 3])
def test_company_parts_and_calls_change_no_bit(inputs, monkeypatch):
    law, start, ratio = LAWS[3], states(150, inputs, 13), 1 if inputs == 1 else 2
    whole = euler_steps(start.clone(), law, KEY, drawn_depth=12, ratio=ratio)
    record = torch.empty(6 // ratio, *start.shape, dtype=start.dtype)
    times = range(1, 6 // ratio + 1)
    for first, count in ((0, 1), (1, 16), (17, 64), (81, 69)):
        part = start[first : first + count].clone()
        found = euler_steps(part, law, KEY, drawn_depth=12, ratio=ratio, path=first)
        assert torch.equal(found, whole[first : first + count])
    # Calls that are cut into a few layers each.
    monkeypatch.setattr("limits.kernels.isotropic.steps._AT_ONCE", 3 * start.numel())
    cut = euler_steps(
        start.clone(), law, KEY, drawn_depth=12, ratio=ratio, record=record, times=times
    )
    assert torch.equal(cut, whole)
    assert distance(record, plain_steps(start, law, 12, ratio)[: len(times)]) < 1e-12


def test_inputs_in_front_do_not_depend_on_those_that_follow():
    start = states(9, 3, 8)
    three = euler_steps(start.clone(), LAWS[2], KEY, drawn_depth=8)
    two = euler_steps(start[:, :2].clone(), LAWS[2], KEY, drawn_depth=8)
    # The address of a number counts the units of all inputs before it, and only those.
    assert torch.equal(three[:, :2], two)


def test_parallel_inputs_move_together():
    start = states(9, 1, 8).expand(9, 3, 8) * torch.tensor([1.0, 2.0, 0.0]).view(3, 1)
    found = euler_steps(start.contiguous(), LAWS[0], KEY, drawn_depth=32)
    assert distance(2 * found[:, 0], found[:, 1]) < 1e-14
    assert not found[:, 2].any()


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_in_its_path(bad):
    start = states(20, 1, 9)
    start[3, 0, 5] = bad
    found = euler_steps(start.clone(), LAWS[0], KEY, drawn_depth=4)
    finite = torch.isfinite(found).all(dim=-1)[:, 0]
    assert finite.tolist() == [path != 3 for path in range(20)]


def exact(name, x):
    with mpmath.workdps(30):
        x = mpmath.mpf(float(x))
        return mpmath.tanh(x) if name == "tanh" else x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def difference(value, right):
    with mpmath.workdps(30):
        return abs(float(mpmath.mpf(float(value)) - right))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_activations_of_loops_are_accurate(name, dtype):
    """Within 6 units in the last place; measured 2.5 for tanh, 5.2 and 4.4 for gelu."""
    from limits.kernels.pointwise.cpu import activate

    generator = np.random.default_rng(0)
    sizes = [generator.normal(size=600) * scale for scale in (1e-4, 1, 5)]
    x = np.concatenate([*sizes, np.linspace(-11, 11, 600)]).astype(dtype)
    found = np.empty_like(x)
    activate(found, x, len(x), ACTIVATION_CODES.index(name))
    expected = [exact(name, each) for each in x]
    for value, right in zip(found, expected, strict=True):
        if abs(right) > np.finfo(dtype).tiny * 4:
            unit = np.spacing(dtype(abs(float(right))))
            assert difference(value, right) <= 6 * unit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_of_loops_know_infinity(dtype):
    from limits.kernels.pointwise.cpu import activate

    x = np.array([np.nan, np.inf, -np.inf, 0], dtype)
    for code, name in enumerate(ACTIVATION_CODES):
        found = np.empty_like(x)
        activate(found, x, len(x), code)
        assert torch.equal(
            torch.from_numpy(found).isnan(), VALUES[name](torch.from_numpy(x)).isnan()
        )
        np.testing.assert_array_equal(found[1], 1 if name == "tanh" else np.inf)


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
@pytest.mark.thorough
def test_the_interpreter_of_triton_takes_the_steps_of_loops():
    code = f"""
        import os
        os.environ["TRITON_INTERPRET"] = "1"
        import torch
        from limits.kernels import Key
        from limits.kernels.isotropic import IsotropicLaw, cuda, euler_steps
        from limits.kernels.pointwise.polynomials import ACTIVATION_CODES
        key = Key{tuple(KEY)}
        for dtype, most in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
            for code, name in enumerate(ACTIVATION_CODES):
                for inputs, width, ratio in ((1, 40, 1), (1, 7, 2), (3, 5, 2)):
                    # Inputs in general position: of a singular Gram matrix, such as that of
                    # shifted sines, rounding in float32 is all that is left of the last pivot.
                    generator = torch.Generator().manual_seed(width)
                    start = torch.randn(5, inputs, width, generator=generator, dtype=dtype)
                    law = IsotropicLaw(name, 0.9, 0.4, 0.3, reflected=code == 0)
                    expected, found = torch.zeros(2, 2, *start.shape, dtype=dtype)
                    euler_steps(
                        start.clone(), law, key, drawn_depth=4 * ratio, ratio=ratio, path=3,
                        record=expected, times=(2, 4),
                    )
                    run = cuda.advance_one_input if inputs == 1 else cuda.advance_several_inputs
                    run(
                        start.clone(), found, torch.tensor([2 * ratio, 4 * ratio, -1]),
                        torch.tensor(law.numbers(4 * ratio, ratio), dtype=dtype), key, 3,
                        (0, 4, ratio), code, reflected=law.reflected,
                    )
                    distance = ((found - expected).abs().max() / expected.abs().max()).item()
                    assert distance < most, (name, inputs, width, distance)
        print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("law", LAWS[:6], ids=repr)
def test_a_cuda_device_takes_the_steps_of_loops(law):
    for dtype, most in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        for inputs, width, ratio in ((1, 40, 1), (1, 7, 2), (3, 40, 2), (1, 3000, 1)):
            start = states(50, inputs, width, dtype)
            expected = euler_steps(start.clone(), law, KEY, drawn_depth=8, ratio=ratio)
            found = euler_steps(start.cuda(), law, KEY, drawn_depth=8, ratio=ratio)
            assert distance(found.cpu(), expected) < most


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("law", LAWS[2:6], ids=repr)
def test_pairs_are_two_depths_on_one_noise_and_its_mirror_image(law, inputs):
    start = states(70, inputs, 10)
    deep, shallow = (start.expand(2, *start.shape).contiguous() for _ in range(2))
    coupled_steps(deep, shallow, law, KEY, depth=8, path=5)
    alone = start.expand(2, *start.shape).contiguous()
    coupled_steps(alone, None, law, KEY, depth=8, path=5)
    assert torch.equal(alone, deep)
    for image, sign in enumerate((1, -1)):
        turned = replace(law, scale=sign * law.scale)
        for found, ratio in ((deep[image], 1), (shallow[image], 2)):
            expected = plain_steps(start, turned, 8, ratio, path=5)[-1]
            assert distance(found, expected) < 1e-13
