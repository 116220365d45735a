import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from limits.cli import discovery, main, running
from limits.sweeps import load_dataset, save_dataset
from limits.sweeps.executors import executor_for

EXPERIMENT = '''"""Error of a made-up network against depth.

More words that a list has no room for.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray

from limits.estimates import Verdict


@dataclass(frozen=True)
class Config:
    """Settings of the made-up network."""

    depths: tuple[int, ...] = (4, 8, 16)
    """Ladder of depths."""
    order: float = 1.0
    laws: tuple[str, ...] = ("smooth", "brownian")
    activation: Literal["tanh", "relu"] = "tanh"
    normalised: bool = False
    n_paths: int = 64

    def __post_init__(self):
        if min(self.depths) < 1:
            raise ValueError(f"depths must be positive, found {self.depths}")


SCALES = {"smoke": Config(depths=(4, 8)), "laptop": Config()}
CITATION = "A. Author, A made-up paper (2025)."


def axes(config):
    return {"law": config.laws}


def task(config, *, seed, law):
    depths = np.array(config.depths, dtype=float)
    return xarray.Dataset({"error": ("depth", depths**-config.order)}, coords={"depth": depths})


def draw(dataset):
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    ax.loglog(dataset.depth, dataset.error.isel(law=0))
    return figure


def check(dataset):
    error = dataset.error.isel(law=0).values
    order = -float(np.polyfit(np.log(dataset.depth), np.log(error), 1)[0])
    passed = abs(order - 1) < 0.03
    return (Verdict("order of the error", "1 in [0.97, 1.03]", f"{order:.2f}", passed),)
'''


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """Serve experiments from a temporary package; returns a function that adds one."""
    package = f"fake_{tmp_path.name}_experiments"
    folder = tmp_path / package
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discovery, "_PACKAGE", package)
    monkeypatch.chdir(tmp_path)

    def in_this_process(*, workers, dask):
        # Starting workers takes seconds; those tests that are about them ask for some.
        return executor_for(workers=0 if workers is None else workers, dask=dask)

    monkeypatch.setattr(running, "executor_for", in_this_process)

    def add(name, *, change=("", ""), source=EXPERIMENT):
        file = folder.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(exist_ok=True)
        assert change[0] in source
        file.write_text(source.replace(*change, 1))

    add("made_up")
    yield add
    for module in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[module]


@pytest.fixture
def said(capsys):
    """Return what was printed since the last call, with line breaks made by boxes undone."""

    def read():
        captured = capsys.readouterr()
        return captured.out, " ".join(captured.err.replace("│", " ").split())

    return read


def test_running_an_experiment_writes_numbers_and_figure_and_prints_verdicts(experiments, said):
    assert main(["run", "made_up"]) == 0
    out, err = said()
    assert Path("figures/data/made_up.nc").is_file()
    assert Path("figures/made_up.png").read_bytes().startswith(b"\x89PNG")
    for words in ("order of the error", "1 in [0.97, 1.03]", "1.00", "pass"):
        assert words in out
    assert "figures/data/made_up.nc" in out
    assert "figures/made_up.png" in out
    assert "made_up: 1 of 2 tasks done" in err
    assert "made_up: 2 of 2 tasks done" in err
    assert "law=brownian" in err


def test_what_is_not_decided_is_said_and_is_no_failure(experiments, said):
    experiments("made_up", change=("passed),)", "False, decided=False),)"))
    assert main(["run", "made_up"]) == 0
    assert "not decided" in said()[0]


def test_another_scale_or_other_settings_do_not_replace_the_figure_at_laptop_scale(experiments):
    assert main(["run", "made_up", "--scale", "smoke", "--out", "here"]) == 0
    assert main(["run", "made_up", "--out", "here", "--n-paths", "128"]) == 0
    kept = ["data", "made_up-custom.png", "made_up-smoke.png", "runs"]
    assert sorted(os.listdir("here")) == kept
    assert sorted(os.listdir("here/data")) == ["made_up-custom.nc", "made_up-smoke.nc"]


def test_a_failed_verdict_gives_exit_status_one(experiments, said):
    assert main(["run", "made_up", "--order", "0.5"]) == 1
    assert "FAIL" in said()[0]
    assert Path("figures/data/made_up-custom.nc").is_file()


def test_identical_numbers_give_an_identical_figure(experiments):
    for out in ("one", "two"):
        assert main(["run", "made_up", "--out", out]) == 0
    assert Path("one/made_up.png").read_bytes() == Path("two/made_up.png").read_bytes()


def test_every_config_field_is_a_flag_with_the_default_of_the_scale(experiments, said):
    assert main(["run", "made_up", "--scale", "smoke", "--help"]) == 0
    out = " ".join(said()[0].replace("│", " ").split())
    for flag in ("--depths", "--order", "--laws", "--activation", "--normalised", "--n-paths"):
        assert flag in out
    for flag in ("--scale", "--seed", "--out"):
        assert flag in out
    assert "(default: 4 8)" in out
    assert "Ladder of depths." in out
    assert "Error of a made-up network against depth. Defaults are those of scale smoke." in out


def test_flags_reach_the_config(experiments, said):
    arguments = ["--depths", "8", "16", "32", "--activation", "relu", "--normalised", "--seed", "7"]
    assert main(["run", "made_up", *arguments]) == 0
    said()
    assert main(["show", "figures/data/made_up-custom.nc"]) == 0
    out, _ = said()
    for words in ("[8, 16, 32]", '"relu"', "true", "7", "custom"):
        assert words in out


def test_the_name_may_follow_the_scale(experiments):
    assert main(["run", "--scale", "smoke", "made_up"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "made_up", "--depth", "8"], "--depths"),
        (["run", "made_up", "--depths", "eight"], "Error parsing --depths"),
        (["run", "made_up", "--activation", "gelu"], "invalid choice"),
        (["run", "made_up", "--scale", "huge"], "'smoke', 'laptop', 'paper'"),
        (["run", "made_up", "--seed", "x"], "--seed"),
        (["run", "made_up", "surplus"], "Unrecognized options: surplus"),
        (["run"], "NAME"),
        (["show"], "FILE"),
        (["frobnicate"], "check-weights"),
        ([], "Begin with `limits list`"),
    ],
)
def test_a_malformed_request_gets_a_usage_box_and_exit_status_two(
    experiments, said, arguments, words
):
    assert main(arguments) == 2
    _, err = said()
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "made_up", "--depths", "0"], "depths must be positive, found (0,)"),
        (["run", "made_up", "--scale", "paper"], "one of: smoke, laptop"),
        (["run", "made_up", "--seed", "-1"], "found -1. Pass for example seed=0"),
        (["run", "made_up", "--laws"], "has no values"),
        (["run", "made_up", "--laws", "smooth", "smooth"], "List each value once"),
        (["run", "madeup"], "Did you mean made_up? The known ones are: made_up."),
        (["cite", "zzz"], "The known ones are: made_up."),
        (["show", "nowhere.nc"], "no such file"),
    ],
)
def test_a_request_that_cannot_be_carried_out_gets_one_plain_sentence(
    experiments, said, arguments, words
):
    assert main(arguments) == 2
    _, err = said()
    assert words in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not list(Path().rglob("*.partial"))


def test_an_unwritable_output_folder_is_refused_before_computing(experiments, said):
    experiments("slow", change=("depths = np.array", "raise RuntimeError('computed'); depths = np"))
    Path("file").write_bytes(b"")
    assert main(["run", "slow", "--out", "file/figures"]) == 2
    assert "choose another folder" in said()[1]


def test_a_full_disk_gets_one_plain_sentence_and_no_half_written_file(
    experiments, said, monkeypatch
):
    real_write = os.write

    def write(descriptor, payload):
        if len(payload) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(descriptor, payload)

    monkeypatch.setattr(os, "write", write)
    assert main(["run", "made_up"]) == 2
    assert "no space left on device" in said()[1]
    assert [path.name for path in Path("figures").rglob("*") if path.is_file()] == ["lock"]


def test_ctrl_c_ends_with_a_plain_sentence_and_status_130(experiments, said):
    experiments("slow", change=("depths = np.array", "raise KeyboardInterrupt; depths = np.array"))
    assert main(["run", "slow"]) == 130
    _, err = said()
    assert err.startswith("0 of 2 tasks of slow are finished and kept in figures/runs/slow-laptop-")
    assert "run slow Stopped by Ctrl-C." in err
    assert not list(Path("figures").rglob("*.nc"))
    assert not list(Path("figures").rglob("*.partial"))


def test_sigterm_ends_like_ctrl_c_with_status_143(experiments, said):
    change = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); depths = np.array"
    experiments("slow", change=("depths = np.array", change))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", "slow"]) == 143
    assert "Stopped by SIGTERM." in said()[1]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.thorough
def test_what_is_finished_is_not_computed_again(experiments, said):
    experiments("once", change=("depths = np.array", 'print("computing"); depths = np.array'))
    assert main(["run", "once"]) == 0
    assert said()[0].count("computing") == 2
    assert main(["run", "once"]) == 0
    out, _ = said()
    assert "computing" not in out
    assert "2 of 2 tasks are finished there; --no-resume computes them again." in out
    assert main(["run", "once", "--no-resume"]) == 0
    assert said()[0].count("computing") == 2


@pytest.mark.thorough
def test_changed_settings_start_a_new_run_and_say_so(experiments, said):
    assert main(["run", "made_up", "--n-paths", "5"]) == 0
    said()
    assert main(["run", "made_up", "--n-paths", "6"]) == 0
    out, _ = said()
    assert "the configuration (n_paths) changed since figures/runs/made_up-custom-" in out
    assert "this is a new run; --keep would take over 2 finished tasks." in out
    assert len(os.listdir("figures/runs")) == 2


def test_changed_code_starts_a_new_run_and_a_mix_is_recorded(experiments, said):
    assert main(["run", "made_up"]) == 0
    experiments("made_up", change=("seed, law", "seed, law, unused=0"))
    said()
    assert main(["run", "made_up", "--keep"]) == 0
    out, _ = said()
    assert "the code (" in out
    assert "its 2 finished tasks of this grid are taken over, and recorded." in out
    assert load_dataset("figures/data/made_up.nc").attrs["mixed"].startswith("2 tasks: code ")


def test_failed_tasks_are_named_while_the_rest_completes(experiments, said):
    broken = "assert law != 'smooth', 'no such law'; depths = np.array"
    experiments("broken", change=("depths = np.array", broken))
    assert main(["run", "broken"]) == 2
    _, err = said()
    assert "Traceback" in err
    assert "1 of 2 tasks of broken failed: law=smooth: AssertionError: no such law" in err
    assert "1 of 2 tasks of broken are finished and kept" in err
    (folder,) = Path("figures/runs").iterdir()
    assert main(["status", str(folder), "--log"]) == 1
    out, _ = said()
    assert "failed: law=smooth: AssertionError: no such law" in out
    assert "Traceback" in out
    rows = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["smooth", "0", "1"] in rows
    assert ["brownian", "1", "1"] in rows


def test_status_of_a_complete_run(experiments, said):
    assert main(["run", "made_up"]) == 0
    said()
    (folder,) = Path("figures/runs").iterdir()
    assert main(["status", str(folder)]) == 0
    assert "complete" in said()[0]
    assert main(["status", "figures/runs"]) == 2
    assert f"It holds the runs {folder.name}: name one of them." in said()[1]


def test_quiet_runs_print_no_progress(experiments, said):
    assert main(["run", "made_up", "--quiet"]) == 0
    assert said()[1] == ""


@pytest.mark.thorough
def test_a_run_by_worker_processes_gives_the_same_numbers(experiments):
    assert main(["run", "made_up", "--out", "one"]) == 0
    assert main(["run", "made_up", "--out", "two", "--workers", "1"]) == 0
    one, two = (load_dataset(f"{out}/data/made_up.nc") for out in ("one", "two"))
    del one.attrs["seconds_per_task"], two.attrs["seconds_per_task"]
    xarray.testing.assert_identical(one, two)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "-1"], "must be 0 or more, found -1"),
        (["--workers", "2", "--dask", "tcp://x:1"], "leave out workers"),
    ],
)
def test_impossible_workers_are_refused(experiments, said, arguments, words):
    assert main(["run", "made_up", *arguments]) == 2
    assert words in said()[1].lower()


def test_a_table_for_other_programs(experiments, said):
    assert main(["run", "made_up"]) == 0
    assert main(["export", "figures/data/made_up.nc", "--csv"]) == 0
    lines = Path("figures/data/made_up.csv").read_text().splitlines()
    assert lines[0] == "law,depth,error"
    assert lines[1] == "smooth,4,0.25"
    assert len(lines) == 7
    said()
    assert main(["export", "figures/data/made_up.nc"]) == 2
    assert "Use `limits export figures/data/made_up.nc --csv`" in said()[1]
    assert main(["export", "figures/data/made_up.nc", "--csv", "--variables", "eror"]) == 2
    assert "it has error" in said()[1]


def test_a_table_for_other_programs_keeps_every_digit(tmp_path):
    numbers = np.array([1 / 3, 0.1 + 0.2, 1e-300 / 7])
    save_dataset(xarray.Dataset({"error": ("depth", numbers)}), tmp_path / "a.nc")
    assert main(["export", str(tmp_path / "a.nc"), "--csv"]) == 0
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert [float(row.split(",")[1]) for row in rows] == numbers.tolist()


def test_a_folder_goes_on_after_a_failure_and_exits_one(experiments, said):
    experiments("group.a_crash", source='"""Broken."""\nimport no_such_module\n')
    experiments("group.b_refused", change=('"smooth", "brownian"', '"smooth", "smooth"'))
    experiments("group.c_false", change=("order: float = 1.0", "order: float = 2.0"))
    experiments("group.d_good")
    assert main(["run", "group"]) == 1
    out, err = said()
    assert "ModuleNotFoundError" in err
    assert "error: group.b_refused: axis 'law'" in err
    assert [line for line in out.splitlines() if "group.c_false" in line and "FAIL" in line]
    assert [line for line in out.splitlines() if "group.d_good" in line and "1 of 1" in line]
    assert sorted(os.listdir("figures/data")) == ["group.c_false.nc", "group.d_good.nc"]


@pytest.mark.thorough
def test_a_folder_whose_verdicts_all_pass_exits_zero(experiments):
    experiments("group.one")
    experiments("group.two")
    assert main(["run", "group", "--scale", "smoke"]) == 0
    assert sorted(os.listdir("figures/data")) == ["group.one-smoke.nc", "group.two-smoke.nc"]


def test_a_folder_takes_no_flags_of_single_experiments(experiments, said):
    experiments("group.one")
    assert main(["run", "group", "--depths", "8"]) == 2
    assert "Unrecognized options: --depths" in said()[1]


def test_a_pattern_runs_what_it_matches(experiments):
    for name in ("group.fig1", "group.fig2", "group.fig3"):
        experiments(name)
    assert main(["run", "group.fig[12]", "--scale", "smoke"]) == 0
    assert sorted(os.listdir("figures/data")) == ["group.fig1-smoke.nc", "group.fig2-smoke.nc"]


def test_a_pattern_that_matches_nothing_is_refused(experiments, said):
    experiments("group.fig1")
    assert main(["run", "group.fig[78]"]) == 2
    assert "there is no experiment called 'group.fig[78]'" in said()[1]


def test_a_misspelt_folder_is_suggested(experiments, said):
    experiments("marion2025.fig7")
    assert main(["run", "marion2052"]) == 2
    assert "Did you mean marion2025" in said()[1]


def test_listing_shows_every_experiment_with_its_first_line(experiments, said):
    experiments("group.broken", source='"""Not importable."""\nimport no_such_module\n')
    experiments("_helper", source="")
    assert main(["list"]) == 0
    out, _ = said()
    assert "Error of a made-up network against depth." in out
    assert "More words" not in out
    assert "Not importable." in out
    assert "_helper" not in out
    assert main(["list", "--plain"]) == 0
    assert said()[0].split() == ["group.broken", "made_up"]


def test_showing_a_file_tells_where_it_comes_from_and_judges_it_again(experiments, said):
    main(["run", "made_up", "--seed", "5"])
    said()
    assert main(["show", "figures/data/made_up.nc"]) == 0
    out, _ = said()
    for words in ("laptop", "made_up", "5", "[4, 8, 16]", "torch", "law: 2, depth: 3", "pass"):
        assert words in out


def test_showing_a_file_of_an_unknown_experiment_has_no_verdicts(experiments, said, monkeypatch):
    experiments("other")
    main(["run", "other"])
    said()
    folder = next(Path().glob("fake_*"))
    (folder / "other.py").unlink()
    assert main(["show", "figures/data/other.nc"]) == 0
    assert "No verdicts: the experiment that wrote this file (other)" in said()[0]


def test_showing_a_file_that_the_check_cannot_read_says_so(experiments, said):
    experiments("changed", change=("error = dataset.error.isel", "error = dataset.renamed.isel"))
    with pytest.raises(AttributeError):
        main(["run", "changed"])
    said()
    assert main(["show", "figures/data/changed.nc"]) == 0
    assert "changed cannot check this file (AttributeError" in said()[1]


def test_showing_a_file_of_another_program_tells_what_it_holds(experiments, said):
    foreign = xarray.Dataset(
        {"empty": ("x", np.array([np.nan])), "flag": True, "none": ("y", np.zeros(0))},
        attrs={"config": "not { JSON", "versions": "[1]", "note": "by hand"},
    )
    save_dataset(foreign, "foreign.nc")
    assert main(["show", "foreign.nc"]) == 0
    out, _ = said()
    for words in ("not { JSON", "by hand", "nan", "True", "(empty)", "No verdicts"):
        assert words in out


def test_citing_names_the_software_and_the_paper(experiments, said):
    experiments("second")
    for arguments in (["cite"], ["cite", "made_up"]):
        assert main(arguments) == 0
        out, _ = said()
        assert "The limits authors" in out
        assert out.count("A. Author, A made-up paper (2025).") == 1


def test_an_experiment_that_lacks_a_part_is_refused_by_name(experiments, said):
    experiments("partial", change=("def draw", "def sketch"))
    assert main(["run", "partial"]) == 2
    assert "experiment 'partial' lacks draw" in said()[1]


def test_a_config_may_not_take_the_name_of_a_setting_of_every_run(experiments, said):
    experiments("clash", change=("n_paths: int = 64", "seed: int = 0"))
    assert main(["run", "clash"]) == 2
    assert "fields seed, which are settings of every run" in said()[1]


@pytest.mark.parametrize("command", ["run", "list", "show", "cite"])
def test_every_command_has_help(experiments, said, command):
    assert main([command, "--help"]) == 0
    out, _ = said()
    assert f"usage: limits {command}" in out


def test_help_of_run_lists_the_experiments(experiments, said):
    main(["run", "-h"])
    assert "made_up" in said()[0]


def test_help_of_a_folder_lists_what_is_in_it(experiments, said):
    experiments("group.one")
    assert main(["run", "group", "--help"]) == 0
    assert "group.one" in said()[0]


def test_the_version_is_printed(said):
    assert main(["--version"]) == 0
    assert said()[0].startswith("limits ")


def test_an_installation_without_experiments_says_what_to_do(experiments, said, tmp_path):
    for file in next(tmp_path.glob("fake_*")).glob("*.py"):
        file.unlink()
    assert main(["list"]) == 2
    assert "Install it again" in said()[1]


def test_a_checkout_that_is_not_installed_runs_as_a_module():
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [sys.executable, "-m", "limits", "list", "--plain"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    files = {file.stem for file in (root / "experiments").glob("[!_]*.py")}
    assert files <= set(answer.stdout.split())


def test_a_progress_bar_is_shown_on_a_terminal_only(experiments, said, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["run", "made_up"]) == 0
    _, err = said()
    assert "left:" in err
    assert "tasks done" not in err
