"""The page that lists the figures: what it says, and that the committed one is up to date."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xarray

from limits.cli import indexing, main
from limits.estimates import Verdict
from limits.exceptions import StoreError
from limits.reports.figure_index import FigureEntry, figure_index
from limits.sweeps import load_dataset, save_dataset

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.mark.thorough
def test_the_committed_page_is_what_the_numbers_give():
    entries = indexing.index_of(FIGURES)
    assert (FIGURES / "README.md").read_text(encoding="utf-8") == figure_index(entries)


def test_the_committed_page_names_every_committed_figure():
    page = (FIGURES / "README.md").read_text(encoding="utf-8")
    pictures = sorted(file.stem for file in FIGURES.glob("*.png"))
    numbers = sorted(file.stem for file in (FIGURES / "data").glob("*.nc"))
    assert pictures == numbers
    assert [stem for stem in pictures if f"## {stem}\n" not in page] == []
    assert page.count("\n## ") == len(pictures)


def test_the_page_of_claims_calls_good_what_no_verdict_contradicts():
    page = (FIGURES.parent / "docs" / "claims.md").read_text(encoding="utf-8")
    listed = (FIGURES / "README.md").read_text(encoding="utf-8")
    stems = {stem.replace(".", ""): stem for stem in re.findall(r"^## (.+)$", listed, re.M)}
    rows = [row for row in page.splitlines() if re.match(r"\| [MZC]\d ", row)]
    assert [row[2:4] for row in rows] == [
        f"{paper}{k}" for paper, last in (("M", 5), ("Z", 6), ("C", 8)) for k in range(1, last + 1)
    ]
    for row in rows:
        named = re.findall(r"README\.md#([\w-]+)", row)
        assert named, f"no figure in: {row}"
        state = row.split("|")[3].strip()
        assert state.startswith(("good", "open")), row
        words = [
            re.search(rf"^\| \[{re.escape(stems[each])}\].*\| (\w[\w ]*), \d", listed, re.M)
            for each in named
        ]
        if state.startswith("good"):
            assert all(word is not None and word[1] != "FAIL" for word in words), row
            undecided = any(word is not None and word[1] == "not decided" for word in words)
            assert not undecided or "not decided" in state or "open" in state, row


def test_committed_files_are_small():
    files = [*FIGURES.glob("*.png"), *(FIGURES / "data").glob("*.nc")]
    assert {file.name: file.stat().st_size for file in files if file.stat().st_size > 2e6} == {}


def test_a_page_escapes_bars_and_counts_verdicts():
    verdicts = [Verdict("|h_L|", "1", "1.0", True), Verdict("slope", "-1", "-2", False)]
    page = figure_index([FigureEntry("a.b-paper", "limits run a.b", 2.04, "Norms.", verdicts)])
    assert (
        "| [a.b-paper](#ab-paper) | `limits run a.b` | 2.0 | unknown | Norms. | FAIL, 1 of 2 |"
        in page
    )
    assert "| slope | -1 | -2 | FAIL |\n" + r"| \|h_L\| | 1 | 1.0 | pass |" in page
    assert "![Norms.](a.b-paper.png)" in page


def test_what_is_not_decided_has_neither_passed_nor_failed():
    open_one = Verdict("optimum", "inside the grid", "at its end", False, decided=False)
    good, bad = Verdict("slope", "-1", "-1", True), Verdict("slope", "-1", "-2", False)
    assert [each.failed for each in (open_one, good, bad)] == [False, False, True]

    def page_of(*verdicts: Verdict) -> str:
        return figure_index([FigureEntry("a", "limits run a", 1.0, "Norms.", verdicts)])

    assert "| not decided, 1 of 2 |" in page_of(open_one, good)
    assert "| at its end | not decided |" in page_of(open_one)
    assert "| FAIL, 1 of 3 |" in page_of(open_one, good, bad)


def test_what_fails_stands_first_and_says_what_was_asked_before():
    changed = "Before: below 1; the pilot had 2."
    open_one = Verdict("a: b", "1", "2", False, decided=False, changed=changed)
    good, bad = Verdict("c", "1", "1", True), Verdict("d", "1", "2", False)
    page = figure_index(
        [FigureEntry(name, "limits run", 1.0, "", [each], commit="0123456789")
        for name, each in (("good", good), ("open", open_one), ("bad", bad))]
    )  # fmt: skip
    assert [row.split("](")[0][3:] for row in page.splitlines() if "](#" in row] == [
        "bad", "open", "good"
    ]  # fmt: skip
    assert "| 1.0 | 0123456 |" in page
    assert f"* Asked otherwise before: a: b. {changed}\n" in page
    assert page.count("Asked otherwise") == 1


def stored(folder: Path, **changes: object) -> None:
    """Store the committed numbers of a figure under another name, attributes changed."""
    dataset = load_dataset(FIGURES / "data" / "beyond.regularity.nc")
    (folder / "data").mkdir(parents=True)
    dataset.attrs |= changes
    save_dataset(dataset, folder / "data" / "made.nc")


def test_the_command_writes_the_page_and_fails_with_a_verdict(tmp_path, capsys):
    stored(tmp_path, seconds_per_task=np.array([60.0, 30.0]))
    assert main(["figures", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| `limits run beyond.regularity` | 1.5 |" in page
    assert "README.md" in capsys.readouterr().out.replace("\n", "")
    dataset = load_dataset(tmp_path / "data" / "made.nc")
    dataset["critical"] = dataset["critical"] + 1
    save_dataset(dataset, tmp_path / "data" / "made.nc")
    assert main(["figures", "--out", str(tmp_path)]) == 1
    assert "FAIL, 2 of 3" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "verdicts failed: made" in capsys.readouterr().out


def test_the_command_behind_a_figure_has_its_scale_settings_and_seed(tmp_path):
    stored(tmp_path, scale="paper", seed=3)
    (entry,) = indexing.index_of(tmp_path)
    assert entry.command == "limits run beyond.regularity --scale paper --seed 3"


def test_the_command_behind_a_figure_of_other_settings_has_them_as_flags():
    @dataclass(frozen=True)
    class Config:
        width: int = 8
        depths: tuple[int, ...] = (4, 8)
        published: bool = True
        n_paths: int = 4

    class Experiment:
        SCALES = {"laptop": Config()}  # noqa: RUF012

    config = json.dumps({"width": 9, "depths": [4, 16], "published": False, "n_paths": 4})
    command = indexing._command("made.up", Experiment, {"scale": "custom", "config": config})
    assert command == "limits run made.up --width 9 --depths 4 16 --no-published"


def test_a_folder_without_numbers_is_refused(tmp_path, capsys):
    with pytest.raises(StoreError, match="limits run NAME"):
        indexing.index_of(tmp_path)
    assert main(["figures", "--out", str(tmp_path)]) == 2
    assert "no numbers" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_numbers_of_an_unknown_experiment_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    save_dataset(xarray.Dataset(attrs={"experiment": "gone"}), tmp_path / "data" / "gone.nc")
    with pytest.raises(StoreError, match=r"gone\.nc.*gone"):
        indexing.index_of(tmp_path)
