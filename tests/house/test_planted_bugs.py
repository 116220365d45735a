"""The planted bugs still fit the library; `tests.planted_bugs` sees that each is noticed."""

import ast
import shlex

import pytest

from tests.planted_bugs import ROOT, place_of, rotated
from tests.table_of_bugs import BUGS, Bug


def test_there_are_forty_bugs_with_names_of_their_own():
    assert len(BUGS) >= 40
    assert len({bug.name for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_fits_in_one_place_of_the_library_and_has_tests(bug):
    text = place_of(bug).read_text()
    assert bug.wrong != bug.right
    # Python must read it: what cannot be imported is noticed by every test.
    ast.parse(text.replace(bug.right, bug.wrong))
    files = [each for each in shlex.split(bug.tests) if each.startswith(("tests/", "limits/"))]
    assert files
    assert all((ROOT / file).exists() for file in files)


def test_a_text_that_the_library_lacks_is_refused_with_the_remedy():
    with pytest.raises(LookupError, match=r"occurs 0 times .* Adapt tests/table_of_bugs"):
        place_of(Bug("none", "no such text", "", "tests"))


def test_commits_choose_five_bugs_and_reach_all_of_them():
    assert len(rotated("a")) == 5
    assert rotated("a") == rotated("a") != rotated("b")
    reached = {bug.name for number in range(200) for bug in rotated(str(number))}
    assert reached == {bug.name for bug in BUGS}
