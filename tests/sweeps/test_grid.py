import hashlib
import json

import pytest

from limits.exceptions import ExperimentError
from limits.sweeps import tasks


def by_coordinates(grid):
    return {frozenset(task.coordinates.items()): task.seed for task in grid}


def test_a_grid_is_every_combination_with_the_last_axis_fastest():
    grid = tasks({"law": ["brownian", "smooth"], "width": [8, 40]}, seed=0)
    assert [tuple(task.coordinates.values()) for task in grid] == [
        ("brownian", 8),
        ("brownian", 40),
        ("smooth", 8),
        ("smooth", 40),
    ]


def test_no_axes_make_one_task():
    (task,) = tasks({}, seed=3)
    assert dict(task.coordinates) == {}
    assert task.label == ""


def test_a_seed_is_the_digest_of_base_seed_and_coordinates():
    # Results exist under these seeds: the recipe is written out again so that it cannot drift.
    (task,) = tasks({"width": [8], "law": ["smooth"]}, seed=7)
    key = json.dumps([7, [["law", "smooth"], ["width", 8]]], separators=(",", ":"))
    digest = hashlib.sha256(key.encode()).digest()
    assert task.seed == int.from_bytes(digest[:8], "big") >> 1 == 587617045690154517


def test_seeds_depend_neither_on_order_nor_on_how_many_tasks_there_are():
    axes = {"law": ["brownian", "smooth"], "width": [8, 40, 100], "beta": [0.5, 1.0]}
    backwards = {name: values[::-1] for name, values in reversed(axes.items())}
    grid = by_coordinates(tasks(axes, seed=0))
    assert by_coordinates(tasks(backwards, seed=0)) == grid
    smaller = by_coordinates(tasks({**axes, "width": [40]}, seed=0))
    assert smaller.items() <= grid.items()


def test_all_seeds_differ_and_fit_in_63_bits():
    axes = {"width": list(range(50)), "beta": [k / 40 for k in range(40)]}
    seeds = {task.seed for base in (0, 1) for task in tasks(axes, seed=base)}
    assert len(seeds) == 2 * 50 * 40
    assert max(seeds) < 2**63
    assert max(seeds) >= 2**62


def test_whole_numbers_and_their_text_are_different_coordinates():
    (number,) = tasks({"width": [8]}, seed=0)
    (text,) = tasks({"width": ["8"]}, seed=0)
    assert number.seed != text.seed


@pytest.mark.parametrize(
    ("axes", "remedy"),
    [
        ({"width": []}, "at least one value"),
        ({"width": [8, 40, 8]}, "holds 8 more than once"),
        ({"width": [1, 1.0]}, "more than once"),
        ({"width": [8, None]}, "text, an integer or a finite number"),
        ({"width": [True]}, "text, an integer or a finite number"),
        ({"beta": [float("nan")]}, "finite number"),
        ({"width": [8, "40"]}, "mixes text and numbers"),
        ({"law": "brownian"}, r"Write law=\[\.\.\.\]"),
        ({"law": {"brownian"}}, "must be a list or a tuple"),
        ({"seed": [1, 2]}, "another name"),
        ({"hidden width": [1, 2]}, "another name"),
    ],
)
def test_an_unusable_axis_is_refused_with_a_remedy(axes, remedy):
    with pytest.raises(ExperimentError, match=remedy):
        tasks(axes, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None])
def test_an_unusable_base_seed_is_refused(seed):
    with pytest.raises(ExperimentError, match="seed=0"):
        tasks({"width": [8]}, seed=seed)
