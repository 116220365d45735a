"""Random calls of small sizes: whatever is asked, an answer that can be trusted or a refusal.

``python -m tests.random_calls --examples 2000`` tries so many; the thorough tier tries three
hundred, always the same ones. A call that fails is printed smallest first, and can be repeated by
``check(Call(...))``.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import limits
from limits import parallel
from limits.networks import fused
from limits.paths import sample as sampling
from tests.kinds_of_calls import (
    ACTIVATIONS,
    ASKED,
    BLOCKS,
    F32,
    F64,
    INPUTS,
    MAY_OVERFLOW,
    MODES,
    PATHS,
    SEEDS,
    STATES,
    Answer,
    Call,
)  # fmt: skip


def answered(c: Call, *, threads: int = 1, part: int | None = None) -> Answer | str:
    """Return the answer, or the sentence of the refusal; any other exception is a fault."""
    with many_threads(threads), MODES[c.mode]():
        try:
            draw, h0 = c.draw(), c.h0()
            if part is not None:
                draw, h0 = draw.part(part, 1), h0[part : part + 1] if h0.ndim == 3 else h0
            given_before = h0.clone()
            if c.recorded:
                h0.requires_grad_()
            found = ASKED[c.asked](c, draw, h0)
            assert torch.equal(given_before.nan_to_num(), h0.nan_to_num()), "h0 was overwritten"
        except limits.LimitsError as refusal:
            return f"{type(refusal).__name__}: {refusal}"
    return found


@contextmanager
def many_threads(threads: int) -> Iterator[None]:
    """Let work of any size be split among so many threads, whatever the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        if threads > 1:
            for module, name, value in (
                (fused, "_SMALL", 0), (parallel, "_WORTH_A_THREAD", 1), (parallel, "_COMPANY", 1),
                (sampling, "_SMALL_DENSE_ENTRIES", 0), (sampling, "_SMALL_LAZY_ENTRIES", 0),
                (parallel, "cores", lambda: threads), (fused, "cores", lambda: threads),
            ):  # fmt: skip
                stack.enter_context(patch.object(module, name, value))
        yield
    torch.set_num_threads(before)


def check(c: Call) -> None:
    """Raise `AssertionError` unless the answer can be trusted, or the refusal is one."""
    found = answered(c)
    for threads in (2, 4):
        assert_same(found, answered(c, threads=threads), f"on {threads} threads")
    if not c.recorded:
        assert_same(found, answered(replace(c, mode="no grad")), "in another mode")
    if isinstance(found, str):
        assert found.count(". ") + found.endswith("."), found
        return
    assert_finite(c, found)
    if found.of_paths:
        n_paths = found.of_paths[0].shape[1]
        # An order is fitted to two paths at least.
        few = 2 if c.asked == "study" else 1
        fewer = answered(replace(c, n_paths=few))
        assert isinstance(fewer, Answer), f"refused alone: {fewer}"
        assert_same(found.paths(0, few), fewer.paths(0, few), "alone")
        if found.of_parts:
            last = answered(c, part=n_paths - 1)
            assert_same(found.paths(n_paths - 1, 1), last, "as a part of the draw")
    if c.asked in MAY_OVERFLOW and not c.recorded and c.mode == "grad":
        assert_close(c, found, answered(replace(c, recorded=True)))


def assert_same(found: Answer | str, again: Answer | str, where: str) -> None:
    if isinstance(found, str) or isinstance(again, str):
        assert found == again, f"{where}: {again} instead of {found}"
        return
    for one, other in zip(found.tensors(), again.tensors(), strict=True):
        assert one.dtype == other.dtype, f"{where}: {other.dtype} instead of {one.dtype}"
        assert bits_of(one) == bits_of(other), f"{where}: {other} instead of {one}"


def bits_of(values: Tensor) -> bytes:
    return values.detach().contiguous().numpy().tobytes()


def assert_finite(c: Call, found: Answer) -> None:
    """NaN never; infinite values where they were asked for, or logs of norms stand beside them."""
    for number, values in enumerate(found.tensors()):
        logs = c.asked in STATES and number % 2 == 1
        assert not values.isnan().any(), f"nan in {values}"
        told = c.asked in MAY_OVERFLOW and (
            c.nonfinite == "keep" or c.net().vector_field.homogeneous
        )
        assert told or logs or values.isfinite().all(), f"infinite: {values}"


def assert_close(c: Call, compiled: Answer, plain: Answer | str) -> None:
    """Compiled loops against the plain ones, which autograd records."""
    assert isinstance(plain, Answer), f"refused with gradients: {plain}"
    accuracy = 1e-9 if c.dtype == F64 else 2e-3
    for one, other in zip(compiled.tensors(), plain.tensors(), strict=True):
        size = one[one.isfinite()].abs().amax() if one.isfinite().any() else torch.tensor(1.0)
        assert torch.allclose(
            one.detach(), other.detach(), rtol=accuracy, atol=accuracy * float(size)
        ), f"plain: {other} instead of {one}"


@st.composite
def calls(draw: Any) -> Call:
    """Return any combination, most of them of the kinds that are answered."""
    n_inputs = draw(st.integers(1, 3))
    betas = (None, None, None, 0.0, 0.5, 1.0, 2.5, -3.0, -1000.0, np.float32(0.5))
    beta = draw(st.sampled_from((*betas, (0.5, 1.0, 0.75)[:n_inputs])))
    block = draw(st.sampled_from(tuple(BLOCKS)))
    relu = block in ("res-3", "post-relu")
    dtype = draw(st.sampled_from((F64, F32)))
    sizes = (1.0, 1.0, 1.0, 0.0, -2.0, 1e-200, 1e30, 1e140, 1e200, np.float32(0.5))
    return Call(
        asked=draw(st.sampled_from(tuple(ASKED))),
        path=draw(st.sampled_from(tuple(PATHS))),
        activation="relu" if relu else draw(st.sampled_from(tuple(ACTIVATIONS))),
        block=block,
        width=draw(st.integers(1, 5)),
        depth=draw(st.sampled_from((1, 2, 3, 4, 8, 12, 16))),
        n_paths=draw(st.integers(1, 8)),
        n_inputs=n_inputs,
        seed=draw(st.sampled_from(SEEDS)),
        inputs=draw(st.sampled_from(INPUTS)),
        beta=beta,
        coefficient=draw(st.sampled_from(sizes)),
        corrected=draw(st.sampled_from((False, False, False, True))),
        keep=draw(st.sampled_from(("terminal", "all"))),
        nonfinite=draw(st.sampled_from(("raise", "keep"))),
        dtype=dtype,
        dtype_of_inputs=draw(
            st.sampled_from((dtype, dtype, dtype, dtype, dtype, F32, torch.float16))
        ),
        mode=draw(st.sampled_from(tuple(MODES))),
        recorded=draw(st.sampled_from((False, False, False, True))),
        error=draw(st.sampled_from(("strong", "uniform", "weak"))),
    )


def run(examples: int, *, derandomize: bool) -> None:
    """Check so many calls."""
    every = settings(
        max_examples=examples, derandomize=derandomize, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    every(given(calls())(check))()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    run(parser.parse_args().examples, derandomize=False)
