"""The zoo is what it says: its rows can be built, its judge tells right from wrong."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import limits
from tests.zoo.__main__ import ROWS, rotated, unexpected
from tests.zoo.by_hand import BY_HAND, flat, looped, plain
from tests.zoo.not_yet import NOT_YET
from tests.zoo.parts import Perceptron
from tests.zoo.trial import tried
from tests.zoo.truth import (
    BADLY,
    CRASH,
    RIGHT,
    RIGHTLY,
    WRONG,
    Row,
    bounded,
    explosion,
    of_check,
    of_refusal,
    of_scaling,
    of_scaling_refused,
    refuse,
)

SIMPLE = Row("simple", looped(plain, Perceptron), flat, explosion(), depths=(2, 4, 8))


def said(**changes):
    """Return what is true of the simple row, as a check would say it."""
    recommendation = SimpleNamespace(
        tau=changes.pop("tau", "1/sqrt(L)"), call="limits.scale_residuals(model)"
    )
    said = {"verdict": "explosion", "bounded": False, "kind": "SDE-like", "branches": (2, 4, 8)}
    return SimpleNamespace(**(said | {"recommendation": recommendation} | changes))


def test_there_are_more_than_sixty_rows_of_different_names():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60
    assert len(BY_HAND) >= 60


def test_what_is_true_is_right():
    assert of_check(SIMPLE, said()).word == RIGHT


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "limit"}, {"kind": "ODE-like"}, {"branches": (1, 2, 4)}, {"tau": "L^-0.4"},
        {"tau": None}, {"bounded": True, "verdict": "identity"},
    ],
)  # fmt: skip
def test_one_untruth_is_wrong_and_confident(changes):
    assert of_check(SIMPLE, said(**changes)).word == WRONG


def test_an_explosion_of_a_bounded_stream_must_be_called_so():
    row = Row("bounded", SIMPLE.make, flat, bounded(), depths=(2, 4, 8))
    assert of_check(row, said(bounded=True)).word == RIGHT
    assert of_check(row, said(verdict="limit", tau=None)).word == RIGHT
    assert of_check(row, said()).word == WRONG


def test_streams_that_have_nothing_to_do_with_each_other_are_told_apart():
    counts = {"a": lambda depth: depth, "b": lambda depth: 2 * depth}
    row = Row("two", SIMPLE.make, flat, explosion(streams=counts, separate=True), (2, 4, 8))
    a, b = (SimpleNamespace(branches=each) for each in ((2, 4, 8), (4, 8, 16)))
    merged = SimpleNamespace(branches=(6, 12, 24))
    assert of_check(row, said(branches=(6, 12, 24))).word == RIGHT
    assert of_check(row, said(streams=(a, b))).word == RIGHT
    assert of_check(row, said(streams={"both": merged})).word == WRONG
    assert of_check(row, said(streams=(b,))).word == WRONG


def test_a_reason_must_name_what_stands_in_the_way():
    truth = refuse("concat")
    assert of_refusal(truth, "layers are concatenated").word == RIGHTLY
    assert of_refusal(truth, "they leave more than one regime open").word == BADLY
    assert of_refusal(explosion(), "they leave more than one regime open").word == RIGHTLY
    assert of_refusal(explosion(), "the models do not get deeper").word == BADLY
    row = Row("none", SIMPLE.make, flat, truth, depths=(2, 4, 8))
    assert of_check(row, said()).word == WRONG
    assert of_scaling(row, SimpleNamespace(branches=("a",)), 4).word == WRONG


def test_scaling_is_judged_by_what_is_scaled_and_by_what_was_recommended():
    assert of_scaling(SIMPLE, SimpleNamespace(branches=("a",) * 4), 4).word == RIGHT
    assert of_scaling(SIMPLE, SimpleNamespace(branches=("a",) * 3), 4).word == WRONG
    assert of_scaling_refused(SIMPLE, "no", recommended=True).word == WRONG
    assert of_scaling_refused(SIMPLE, "no", recommended=False).word == BADLY


def test_foreign_exceptions_are_crashes(monkeypatch):
    def broken(*args, **options):
        raise TypeError("of somebody else")

    monkeypatch.setattr(limits, "depth_check", broken)
    assert tried(SIMPLE).word == CRASH


def test_every_commit_tries_other_rows_and_the_same_twice():
    assert rotated("a", BY_HAND) == rotated("a", BY_HAND) != rotated("b", BY_HAND)
    assert len(rotated("a", BY_HAND)) == 10


def test_a_known_failure_must_be_taken_off_the_list_when_it_is_mended(monkeypatch):
    assert unexpected(SIMPLE, WRONG)
    assert not unexpected(SIMPLE, RIGHTLY)
    monkeypatch.setattr("tests.zoo.__main__.NOT_YET", {SIMPLE.name})
    assert not unexpected(SIMPLE, WRONG)
    assert unexpected(SIMPLE, RIGHT)
    assert {row.name for row in ROWS} >= NOT_YET


@pytest.mark.thorough
def test_eight_rows_come_to_what_is_expected():
    """Others for every state of the library; the command tries all."""
    files = sorted(Path(limits.__file__).parent.glob("user_models/**/*.py"))
    state = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    found = {row.name: (row, tried(row)) for row in rotated(state, BY_HAND, 8)}
    bad = {name: each for name, (row, each) in found.items() if unexpected(row, each.word)}
    assert not bad
