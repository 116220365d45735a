"""Random calls are answered or refused, and what checks them sees what it is there for."""

from dataclasses import replace

import pytest
import torch

from tests.kinds_of_calls import ASKED, Answer, Call
from tests.random_calls import answered, check, run


@pytest.mark.parametrize("asked", ASKED)
def test_one_call_of_every_kind_is_answered(asked):
    path = "rbf" if asked in ("rk4", "bosh3", "midpoints") else "brownian"
    call = Call(asked, path, width=1 if asked == "closed form" else 3)
    if asked == "closed form":
        call = replace(call, activation="identity")
    assert isinstance(answered(call), Answer)
    check(call)


FOUND = [
    Call("euler", "lazy", "sin", "in place", width=5, n_paths=7, recorded=True),
    Call("bosh3", "rbf", width=1, n_paths=2, inputs="signed zeros", keep="all"),
    Call(
        "euler, law",
        "brownian",
        "relu",
        "res-3",
        width=3,
        depth=4,
        n_paths=2,
        inputs="transposed",
        recorded=True,
    ),
    Call(
        "tangent",
        "matern",
        "sin",
        width=5,
        depth=1,
        n_paths=1,
        n_inputs=3,
        seed=10**40,
        inputs="huge",
        coefficient=-2.0,
        dtype=torch.float32,
        dtype_of_inputs=torch.float32,
    ),
    # Of two paths one had lost its directions, and the other's gradients were another's.
    Call(
        "backward",
        "brownian",
        "relu",
        "post-relu",
        width=4,
        depth=2,
        n_paths=4,
        n_inputs=1,
        inputs="tiny",
        coefficient=1e-200,
        keep="all",
    ),
    Call(
        "tangent",
        "rbf",
        "sin",
        width=1,
        depth=2,
        n_paths=1,
        n_inputs=3,
        seed=2**31,
        inputs="huge",
        beta=0.0,
        recorded=True,
    ),
    # An order of eight paths with heavy tails has no bounds.
    Call(
        "study",
        "brownian",
        "sin",
        width=2,
        depth=1,
        n_paths=8,
        n_inputs=1,
        seed=255,
        coefficient=-2.0,
        error="weak",
    ),
]
"""What random calls have found."""

REFUSED = [
    Call(
        "study", "lazy", "gelu", width=1, depth=1, n_paths=3, inputs="huge",
        dtype=torch.float64, error="weak",
    ),
    *(
        Call(
            "closed form", "persistent", "identity", width=1, depth=2, n_paths=1, seed=2**31,
            inputs=inputs, coefficient=1e30, keep="all",
        )
        for inputs in ("signed zeros", "shared")
    ),
]  # fmt: skip
"""What they found that ought to be refused."""


@pytest.mark.parametrize("call", REFUSED, ids=lambda call: f"{call.asked}-{call.inputs}")
def test_calls_that_once_gave_no_number_are_refused(call):
    assert isinstance(check(call), str)


@pytest.mark.parametrize("call", FOUND, ids=lambda call: call.asked)
def test_calls_that_once_failed_hold(call):
    assert isinstance(check(call), Answer)


@pytest.mark.thorough
def test_three_hundred_random_calls_are_answered_or_refused():
    found = run(300, derandomize=True)
    # A refusal is soon checked: most calls must get further.
    assert found["answered"] > 0.6 * found.total()


def test_foreign_exception_is_a_fault(monkeypatch):
    def failing(*_):
        raise ZeroDivisionError

    monkeypatch.setitem(ASKED, "network", failing)
    with pytest.raises(ZeroDivisionError):
        check(Call())


def test_numbers_that_depend_on_threads_are_a_fault(monkeypatch):
    threads = lambda *_: Answer((torch.full((1, 3, 1), torch.get_num_threads()),))  # noqa: E731
    monkeypatch.setitem(ASKED, "network", threads)
    with pytest.raises(AssertionError, match="on 2 threads"):
        check(Call())


def test_silent_nan_is_a_fault(monkeypatch):
    nan = torch.full((2, 3, 1, 1), float("nan"))
    monkeypatch.setitem(ASKED, "network", lambda *_: Answer((nan,)))
    with pytest.raises(AssertionError, match="nan"):
        check(Call())


def test_input_that_is_overwritten_is_a_fault(monkeypatch):
    monkeypatch.setitem(ASKED, "network", lambda c, d, h0: h0.zero_())
    with pytest.raises(AssertionError, match="overwritten"):
        check(Call())


def test_company_that_shows_is_a_fault(monkeypatch):
    monkeypatch.setitem(
        ASKED, "network", lambda c, d, h0: Answer((torch.full((1, d.n_paths, 1), d.n_paths),))
    )
    with pytest.raises(AssertionError, match="alone"):
        check(Call())
