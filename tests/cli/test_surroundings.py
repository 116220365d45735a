"""Commands where people run them: in pipes, in notebooks, with settings of their own."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limits.cli import main

LIGHT = (["list"], ["cite"], ["--version"], ["--help"], ["list", "--help"])
TINY = ["marion2025.fig6", "--scale", "smoke", "--workers", "0", "--depth", "8", "--n-paths", "50"]
NOTEBOOK = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full device")


def started(arguments, *, environment=(), **streams):
    command = [sys.executable, "-m", "limits", *arguments]
    return subprocess.run(
        command, env=os.environ | dict(environment), timeout=120, check=False, **streams
    )


def without_reader() -> int:
    """Return the end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_a_reader_that_left_ends_a_command_quietly_and_with_no_verdict(arguments):
    pipe = without_reader()
    ended = started(arguments, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    assert (ended.returncode, ended.stderr) == (141, b"")


@needs_full
@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_output_that_cannot_be_written_is_an_error_in_words(arguments):
    with Path("/dev/full").open("w") as full:
        ended = started(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: cannot write to standard output: no space left")
    assert "Send it elsewhere" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@needs_full
def test_an_error_that_nobody_can_read_keeps_its_status():
    with Path("/dev/full").open("w") as full:
        assert started(["cite", "nonsense"], stderr=full).returncode == 2
    pipe = without_reader()
    assert started(["cite", "nonsense"], stderr=pipe).returncode == 2
    os.close(pipe)


def test_streams_that_the_caller_closed_are_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["list"]) == 0
    assert main(["cite", "nonsense"]) == 2
    assert (sys.stdout, sys.stderr) == (None, None)


def test_characters_that_a_terminal_lacks_are_replaced():
    ended = started(
        ["cite"], environment={"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE, text=True
    )
    assert ended.returncode == 0
    assert "Marion" in ended.stdout


@pytest.mark.thorough
def test_a_run_ends_quietly_when_its_reader_leaves(tmp_path):
    """In a folder of experiments too, which goes on after every other failure."""
    for name in (TINY, ["marion2025.fig[6]", *TINY[1:5]]):
        pipe = without_reader()
        ended = started(["run", *name, "--out", str(tmp_path)], stdout=pipe, stderr=subprocess.PIPE)
        os.close(pipe)
        assert (ended.returncode, ended.stderr) == (141, b"")


def figure_of(folder: Path, environment) -> str:
    ended = started(
        ["run", *TINY, "--out", str(folder)],
        environment=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert ended.returncode in (0, 1), ended.stderr
    (figure,) = folder.glob("*.png")
    return hashlib.sha256(figure.read_bytes()).hexdigest()


@pytest.mark.thorough
def test_neither_a_notebook_nor_settings_of_matplotlib_change_a_byte(tmp_path):
    settings = tmp_path / "matplotlibrc"
    settings.write_text("axes.facecolor: black\nfont.size: 20\ntext.usetex: True\n")
    unreadable = tmp_path / "unreadable"
    unreadable.write_bytes(b"font.size: \xff\xfe 9\n")
    plain = figure_of(tmp_path / "plain", {"MPLBACKEND": "agg"})
    for number, environment in enumerate(
        (NOTEBOOK, {"MPLBACKEND": "nonsense"}, {"MATPLOTLIBRC": str(settings)},
         {"MATPLOTLIBRC": str(unreadable)})
    ):  # fmt: skip
        assert figure_of(tmp_path / str(number), environment) == plain


def test_a_command_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", NOTEBOOK["MPLBACKEND"])
    monkeypatch.delenv("MATPLOTLIBRC", raising=False)
    before = dict(os.environ)
    assert main(["--version"]) == 0
    assert dict(os.environ) == before


def test_a_backend_that_is_not_there_is_named_with_the_remedy():
    script = (
        "import limits\ntry: limits.plots.convergence\nexcept limits.LimitsError as e: print(e)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MPLBACKEND='nonsense'" in ended.stdout
    assert "Unset MPLBACKEND" in ended.stdout
