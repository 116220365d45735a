"""No number depends on torch's default dtype, and no call on its default device."""

import ast
from pathlib import Path

import pytest
import torch

import limits

MADE = {"zeros", "ones", "empty", "full", "eye", "linspace", "tensor", "rand", "randn"}
COUNTING = {"arange", "as_tensor", "randint", "randperm"}
"""Take their dtype from what they are given."""
ROOT = Path(limits.__file__).parent
KERNELS = {"reference.py"}
"""Plain torch for every device, called by nobody but its tests."""


def creations():
    for file in sorted(ROOT.rglob("*.py")):
        if file.name in KERNELS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "torch"
                and node.func.attr in MADE | COUNTING
            ):
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_every_tensor_that_is_made_names_its_device_and_dtype():
    found = dict(creations())
    assert len(found) > 30
    vague = [
        where
        for where, node in found.items()
        for given in ({keyword.arg for keyword in node.keywords},)
        if "device" not in given or (node.func.attr in MADE and "dtype" not in given)
    ]
    assert vague == []


def results():
    """Return numbers from every wing, on the CPU and in float64."""
    h0 = torch.ones(1, 3, dtype=torch.float64, device="cpu")
    x = torch.eye(3, dtype=torch.float64, device="cpu")
    paths = (
        limits.BrownianPath(3), limits.FractionalPath(3, hurst=0.7), limits.SmoothPath(3),
        limits.IIDPath(3, law="rademacher"),
    )  # fmt: skip
    for path in paths:
        for net in (
            limits.ResNet("tanh"),
            limits.ResNet(torch.sin),
            limits.ResNet("relu", block="res-3"),
        ):
            sample = path.sample(depth=8, n_paths=17, seed=0)
            out = net(h0, sample)
            yield out.terminal
            yield net.tangent(h0, h0, sample)[1].terminal
            yield net.backward(out, sample, torch.ones_like(out.terminal)).values[0]
        limit = limits.depth_limit(limits.ResNet("tanh"), path)
        yield (
            limits.EulerMaruyama()
            .solve(limit, h0, limit.sample(depth=8, n_paths=17, seed=0))
            .terminal
        )
    yield limits.embed(x, width=5, seed=0)
    yield (
        limits.mean_field.LargeWidthLimit("tanh", nodes=3, particles=64)
        .descend(x, x, steps=1, seed=0)
        .losses
    )
    yield limits.mean_field.LargeWidthLimit("identity").descend(x, x, steps=1, seed=0).losses
    yield limits.mean_field.LazyLimit("tanh").descend(x, x, steps=1).losses
    smooth = limits.SmoothPath(3)
    study = limits.convergence_study(
        limits.ResNet("tanh"), smooth, depths=(2, 4, 8), n_paths=2, seed=0
    )
    yield torch.from_numpy(study.path_errors)


EXPECTED: list[torch.Tensor] = []


def usual():
    if not EXPECTED:
        EXPECTED.extend(results())
    return EXPECTED


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype_changes_no_number(dtype):
    expected, before = usual(), torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = list(results())
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_default_device_changes_no_number():
    expected = usual()
    torch.set_default_device("meta")
    try:
        found = list(results())
    finally:
        torch.set_default_device(None)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
