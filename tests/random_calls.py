"""Random calls of small sizes: whatever is asked, an answer that can be trusted or a refusal.

``python -m tests.random_calls --examples 2000`` tries so many; the thorough tier tries three
hundred, always the same ones. A call that fails is printed smallest first, and can be repeated by
``check(Call(...))``.
"""

import argparse
import sys
from collections import Counter
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

COUPLED = ("brownian", "lazy", "persistent", "rbf", "matern")
SMOOTH = ("rbf", "matern", "trained", "trained in bfloat16")
IN_LAW = ("uniform", "rademacher")
PATHS_OF = {
    "euler": (*COUPLED, "rough", "trained"),
    "euler, law": ("brownian", "lazy", "uniform", "rademacher", "persistent", "rough"),
    "torchsde": ("brownian",),
    "rk4": SMOOTH,
    "bosh3": SMOOTH,
    "midpoints": SMOOTH,
    "closed form": ("brownian", "persistent"),
    "study": COUPLED,
    "expectation": ("brownian", "lazy", "uniform", "rademacher", "persistent"),
}
"""On which weights there is what is asked for; on all of them where nothing is said."""
ANY: dict[str, tuple[Any, ...]] = {
    "path": tuple(PATHS), "activation": tuple(ACTIVATIONS), "block": tuple(BLOCKS),
    "width": (1, 4, 5), "depth": (3, 12, 16), "n_paths": (1, 2), "n_inputs": (1, 3),
    "seed": (-1,), "inputs": INPUTS, "beta": (0.0, 0.5, 1.0, 2.5, -3.0, -1000.0, (0.5, 1.0)),
    "coefficient": (0.0, 1e30, 1e140, 1e200), "corrected": (True,),
    "dtype_of_inputs": (F64, F32, torch.float16), "error": ("strong", "uniform", "weak"),
}  # fmt: skip
"""What may replace a part, whether it fits or not."""


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


def check(c: Call) -> Answer | str:
    """Return the answer that can be trusted, or the refusal; `AssertionError` unless it is one."""
    found = answered(c)
    for threads in (2, 4):
        assert_same(found, answered(c, threads=threads), f"on {threads} threads")
    if not c.recorded:
        assert_same(found, answered(replace(c, mode="no grad")), "in another mode")
    if isinstance(found, str):
        assert found.count(". ") + found.endswith("."), found
        return found
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
    return found


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
    tensors = found.tensors()
    for number, values in enumerate(tensors):
        logs = c.asked in STATES and number % 2 == 1
        assert not values.isnan().any(), f"nan in {values}"
        told = c.asked in MAY_OVERFLOW and (
            c.nonfinite == "keep" or c.net().vector_field.homogeneous
        )
        # Gradients and tangents are linear, whatever the network is.
        linear = (c.asked, number) in (("backward", 0), ("tangent", 2))
        if linear:
            norms = tensors[number + 1]
            assert norms.isfinite()[values.isinf().any(dim=-1)].all(), f"infinite logs: {norms}"
            told = True
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
def usual_calls(draw: Any) -> Call:
    """Return a call whose parts fit each other, so that most are answered."""
    asked = draw(st.sampled_from(tuple(ASKED)))
    path = draw(st.sampled_from(PATHS_OF.get(asked, tuple(PATHS))))
    trained, exact = path.startswith("trained"), asked == "closed form"
    block = "res-1" if exact else draw(st.sampled_from(_blocks_of(asked, path)))
    if exact or path in IN_LAW:
        activations = ("identity",)
    else:
        # A square leaves every bound before the end, and many steps are tried in vain.
        activations = tuple(
            name for name in ACTIVATIONS if (asked, name) != ("midpoints", "square")
        )
    relu = block in ("res-3", "post-relu")
    dtype = draw(st.sampled_from((F64, F64, F32)))
    n_inputs = 1 if asked in ("euler, law", "expectation") else draw(st.integers(1, 3))
    return Call(
        asked=asked,
        path=path,
        activation="relu" if relu else draw(st.sampled_from(activations)),
        block=block,
        width=1 if exact else draw(st.integers(1, 5)),
        depth=draw(st.sampled_from((1, 2, 4, 8, 16) if trained else (1, 2, 3, 4, 8, 12, 16))),
        n_paths=draw(st.integers(2 if asked == "study" else 1, 8)),
        n_inputs=n_inputs,
        seed=draw(st.sampled_from(SEEDS[:-1])),
        inputs="shared" if asked == "expectation" else draw(st.sampled_from(INPUTS[:-1])),
        beta=draw(st.sampled_from((None, None, None, (0.5, 0.75, 1.0)[:n_inputs])))
        if asked in ("network", "backward", "tangent", "errors")
        else None,
        coefficient=draw(st.sampled_from((1.0, 1.0, 1.0, -2.0, 1e-200, np.float32(0.5)))),
        corrected=path == "persistent" and asked in ("network", "study") and draw(st.booleans()),
        keep=draw(st.sampled_from(("terminal", "all"))),
        nonfinite=draw(st.sampled_from(("raise", "keep"))),
        dtype=dtype,
        dtype_of_inputs=dtype,
        mode=draw(st.sampled_from(tuple(MODES))),
        recorded=draw(st.sampled_from((False, False, False, True))),
        error=draw(st.sampled_from(("strong", "uniform", "weak"))),
    )


def _blocks_of(asked: str, path: str) -> tuple[str, ...]:
    """Return the blocks of which there is what is asked for on these weights."""
    if asked == "euler, law":
        return ("res-3",) if path == "rough" else ("res-1", "res-2", "res-3", "bias")
    if asked in ("euler", "torchsde", "study", "expectation"):
        return ("res-1",) if path == "rough" else ("res-1", "in place")
    # What acts after the addition has limits on few weights.
    limit = asked in PATHS_OF
    return tuple(name for name in BLOCKS if not limit or name != "post-relu")


@st.composite
def calls(draw: Any) -> Call:
    """Return any combination: a call whose parts fit, and in three of ten something that may not.

    What replaces a part fits others or none.
    """
    call = draw(usual_calls())
    changes = draw(st.sampled_from((0, 0, 0, 0, 0, 0, 0, 1, 1, 2)))
    for name in draw(st.lists(st.sampled_from(tuple(ANY)), min_size=changes, max_size=changes)):
        call = replace(call, **{name: draw(st.sampled_from(ANY[name]))})
    return call


def run(examples: int, *, derandomize: bool) -> Counter[str]:
    """Check so many calls, and return how many were answered and how many refused."""
    found: Counter[str] = Counter()

    def count(c: Call) -> None:
        found["refused" if isinstance(check(c), str) else "answered"] += 1

    every = settings(
        max_examples=examples, derandomize=derandomize, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    every(given(calls())(count))()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    found = run(parser.parse_args().examples, derandomize=False)
    sys.stdout.write(f"{dict(found)}\n")
