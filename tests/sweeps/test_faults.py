"""Runs that are killed, damaged, crowded and starved; what is finished must survive."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
import xarray

from limits.exceptions import ExperimentError, StoreError
from limits.sweeps import ProcessWorkers, run
from limits.sweeps.folder import RunFolder
from limits.sweeps.journal import Journal, read_journal
from limits.sweeps.manifest import identity
from limits.sweeps.status import run_status
from tests.survivor import Config, survivor, without_times

ROOT = Path(__file__).resolve().parents[2]
KILLS = pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, id="three", marks=pytest.mark.slow),
        pytest.param(30, id="thirty", marks=pytest.mark.slow),
    ],
)


def start(folder, *, seconds, **options):
    flags = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.survivor", str(folder), *flags],
        cwd=ROOT,
        env=os.environ | {"SURVIVOR_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def events(folder):
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def count(folder, kind):
    return sum(event["event"] == kind for event in events(folder))


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(folder):
    pids = {
        int(event["worker"].rpartition(":")[2]) for event in events(folder) if "worker" in event
    }
    return {pid for pid in pids if alive(pid)}


@pytest.fixture(scope="module")
def undisturbed():
    """Return a function that gives the dataset of a run that nothing happened to."""
    return lambda config: without_times(run(survivor(), config, seed=0))


@KILLS
def test_a_run_whose_parent_is_killed_again_and_again_loses_nothing(tmp_path, kills, undisturbed):
    config = Config(draws=10 * kills)
    moments = random.Random(kills)
    for _ in range(kills):
        before = _done(tmp_path)
        process = start(tmp_path, seconds=0.05, draws=config.draws)
        wait_until(lambda n=before: _done(tmp_path) > n)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate()
        wait_until(lambda: not workers_of(tmp_path), seconds=10)
    last = start(tmp_path, seconds=0.05, draws=config.draws)
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    kept = without_times(run(survivor(), config, seed=0, folder=tmp_path))
    xarray.testing.assert_identical(kept, undisturbed(config))
    # Two workers, so two tasks at most were in flight at each kill.
    assert count(tmp_path, "started") - 30 * kills <= 2 * kills
    assert not _restarted_when_done(tmp_path)


@KILLS
def test_killed_workers_cost_nothing_but_the_task_they_worked_on(tmp_path, kills, undisturbed):
    draws, moments, victims = 10 * kills, random.Random(kills), set()
    process = start(tmp_path, seconds=0.3, draws=draws)
    while len(victims) < kills:
        wait_until(lambda: _done(tmp_path) and workers_of(tmp_path))
        time.sleep(moments.uniform(0, 0.4))
        victim = moments.choice(sorted(workers_of(tmp_path)) or [0])
        if victim:
            os.kill(victim, signal.SIGKILL)
            victims.add(victim)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "finished True" in output
    kept = without_times(run(survivor(), Config(draws=draws), seed=0, folder=tmp_path))
    xarray.testing.assert_identical(kept, undisturbed(Config(draws=draws)))
    assert count(tmp_path, "done") == 3 * draws
    # A worker that is killed between two tasks costs nothing.
    assert count(tmp_path, "started") - 3 * draws == count(tmp_path, "lost") <= kills
    assert count(tmp_path, "lost") >= kills // 2


def _done(folder):
    return count(folder, "done") if (folder / "journal.jsonl").is_file() else 0


def _restarted_when_done(folder):
    done, restarted = set(), []
    for event in events(folder):
        if event["event"] == "done":
            done.add(event["task"])
        elif event["event"] == "started" and event["task"] in done:
            restarted.append(event)
    return restarted


def die(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.thorough
def test_a_dead_worker_fails_its_own_call_only():
    pool = ProcessWorkers(2)
    futures = [pool.submit(die, number) for number in range(6)]
    results = [future.exception() or future.result() for future in futures]
    pool.shutdown()
    assert isinstance(results.pop(2), BrokenExecutor)
    assert results == [0, 1, 3, 4, 5]
    assert "SIGKILL (killed from outside, or by the system when memory ran out)" in str(
        futures[2].exception()
    )
    assert not pool.pids


@pytest.mark.thorough
def test_the_executor_is_one_that_the_standard_library_would_know():
    with ProcessWorkers(1) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
        waiting = [pool.submit(time.sleep, 0.2) for _ in range(3)]
        assert waiting[2].cancel()


class Poison:
    """An experiment one of whose tasks kills whoever works on it."""

    __name__ = "poison"

    @staticmethod
    def axes(config):
        return {"draw": [0, 1, 2, 3]}

    @staticmethod
    def task(config, *, seed, draw):
        if draw == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return xarray.Dataset({"value": draw})


@pytest.mark.thorough
def test_a_task_that_kills_its_worker_is_given_up_by_name_after_three_tries(tmp_path):
    said = []
    with (
        ProcessWorkers(2) as pool,
        pytest.raises(ExperimentError, match=r"1 of 4 tasks of poison failed: draw=1: .*SIGKILL"),
    ):
        run(Poison(), Config(), seed=0, folder=tmp_path, executor=pool, notify=said.append)
    tried = [event["label"] for event in events(tmp_path) if event["event"] == "started"]
    assert sorted(tried) == ["draw=0", "draw=1", "draw=1", "draw=1", "draw=2", "draw=3"]
    assert _done(tmp_path) == 3
    assert len([each for each in said if "was lost" in each]) == 2


def test_workers_that_cannot_be_are_refused():
    for number in (0, -1, True, 2.5):
        with pytest.raises(ExperimentError, match="at least one worker"):
            ProcessWorkers(number)
    pool = ProcessWorkers(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="make new ProcessWorkers"):
        pool.submit(abs, -1)


class TwoWordsError(Exception):
    """Pickles, but cannot be read back."""

    def __init__(self, one, two):
        super().__init__(one)


def raise_two_words():
    raise TwoWordsError("one", "two")


@pytest.mark.thorough
def test_an_exception_that_cannot_travel_arrives_as_its_message():
    with ProcessWorkers(1) as pool, pytest.raises(RuntimeError, match="TwoWordsError: one"):
        pool.submit(raise_two_words).result(timeout=60)


@pytest.mark.thorough
def test_a_script_without_a_main_guard_is_told_about_it(tmp_path):
    script = tmp_path / "noguard.py"
    script.write_text(
        "from limits.sweeps import ProcessWorkers, run\n"
        "from tests.survivor import Config, survivor\n"
        "with ProcessWorkers(1) as pool:\n"
        "    run(survivor(), Config(), seed=0, executor=pool)\n"
    )
    answer = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    assert 'if __name__ == "__main__":' in answer.stderr


def test_a_folder_with_another_question_is_refused_and_fresh_starts_over(tmp_path):
    run(survivor(), Config(draws=1), seed=0, folder=tmp_path)
    with pytest.raises(ExperimentError, match=r"the configuration \(draws\) changed.*fresh=True"):
        run(survivor(), Config(draws=2), seed=0, folder=tmp_path)
    with pytest.raises(ExperimentError, match=r"the seed \(0 to 1\) changed"):
        run(survivor(), Config(draws=1), seed=1, folder=tmp_path)
    dataset = run(survivor(), Config(draws=2), seed=0, folder=tmp_path, fresh=True)
    assert dataset.sizes["draw"] == 2
    assert (tmp_path / "journal-1.jsonl").is_file()


def test_experiment_settings_seed_and_code_are_the_question():
    asked = {"experiment": "e", "config": "{}", "seed": 0, "code": "a"}
    other = {"experiment": "f", "config": "[]", "seed": 1, "code": "b"}
    questions = [asked, *(asked | {name: value} for name, value in other.items())]
    assert len({identity(each) for each in questions}) == 5
    assert identity(asked | {"begun": "now"}) == identity(asked)


def test_a_chain_of_kept_tasks_names_who_computed_them(tmp_path):
    for number, draws in enumerate((1, 2, 3)):
        dataset = run(
            survivor(),
            Config(draws=draws),
            seed=0,
            folder=tmp_path / f"{number}",
            keep=tmp_path / f"{number - 1}" if number else None,
        )
    # Three tasks of the first run, three of the second, three computed here.
    assert dataset.attrs["mixed"].count("3 tasks") == 2
    assert '"draws": 1' in dataset.attrs["mixed"]
    assert '"draws": 2' in dataset.attrs["mixed"]


@pytest.mark.parametrize("text", ["null", "{", '{"axes": 3}', "[]"])
def test_a_damaged_manifest_is_named_with_what_to_do(tmp_path, text):
    run(survivor(), Config(draws=1), seed=0, folder=tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="Move the folder away"):
        run(survivor(), Config(draws=1), seed=0, folder=tmp_path)
    with pytest.raises(StoreError, match="Move the folder away"):
        run_status(tmp_path)


def test_strange_lines_in_a_journal_are_passed_over(tmp_path, undisturbed):
    config = Config(draws=1)
    run(survivor(), config, seed=0, folder=tmp_path)
    strange = ['{"event": "done", "task": ["x"]}', "3", '{"event": "session", "time": "abc"}']
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write("\n".join([*strange, '{"event": "done"']))
    assert len(run_status(tmp_path).done) == 3
    again = run(survivor(), config, seed=0, folder=tmp_path)
    xarray.testing.assert_identical(without_times(again), undisturbed(config))


def test_half_a_line_of_a_killed_writer_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "started", "ta')
    journal = Journal(path)
    journal.write("done", task="a")
    journal.close()
    assert set(read_journal(path).done) == {"a"}


def test_a_task_that_leaves_the_program_fails_alone():
    class Leaver(Poison):
        @staticmethod
        def task(config, *, seed, draw):
            if draw == 1:
                sys.exit(0)
            return xarray.Dataset({"value": draw})

    with pytest.raises(ExperimentError, match="1 of 4 tasks of poison failed: draw=1: SystemExit"):
        run(Leaver(), Config(), seed=0)


def test_text_and_numbers_do_not_join():
    class Mixed(Poison):
        @staticmethod
        def task(config, *, seed, draw):
            return xarray.Dataset({"value": "text" if draw == 2 else draw})

    with pytest.raises(ExperimentError, match="'value' is text in task number 2"):
        run(Mixed(), Config(), seed=0)


DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "one bit flipped": lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:],
}


@pytest.mark.thorough
def test_damaged_files_are_named_and_their_tasks_computed_again(tmp_path, undisturbed):
    run(survivor(), Config(), seed=0, folder=tmp_path)
    files = sorted((tmp_path / "tasks").iterdir())[::3]
    for number, file in enumerate(files[:9]):
        damage = list(DAMAGES.values())[number % 3]
        # Replaced, not written in place: HDF5 keeps files that this process has opened.
        aside = file.with_suffix(".aside")
        aside.write_bytes(damage(file.read_bytes()))
        aside.replace(file)
    files[9].unlink()
    said = []
    again = run(survivor(), Config(), seed=0, folder=tmp_path, notify=said.append)
    xarray.testing.assert_identical(without_times(again), undisturbed(Config()))
    for file in files:
        assert any(file.name in sentence for sentence in said), file.name
    assert len(said) == 10
    assert count(tmp_path, "started") == 30 + 10


@pytest.mark.thorough
def test_a_journal_cut_anywhere_costs_only_what_it_no_longer_tells(tmp_path, undisturbed):
    config = Config(widths=(4,), draws=4)
    run(survivor(), config, seed=0, folder=tmp_path)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    for kept in range(0, len(whole), 97):
        journal.write_bytes(whole[:kept])
        again = run(survivor(), config, seed=0, folder=tmp_path)
        xarray.testing.assert_identical(without_times(again), undisturbed(config))


@pytest.mark.thorough
def test_a_second_run_in_the_same_folder_is_refused_while_the_first_goes_on(tmp_path):
    first = start(tmp_path, seconds=0.2, workers=0, draws=40)
    wait_until(lambda: _done(tmp_path))
    with pytest.raises(StoreError, match=f"process {first.pid} on .*limits status"):
        run(survivor(), Config(draws=40), seed=0, folder=tmp_path)
    # SIGTERM to a plain script ends it; the lock is free at once.
    first.terminate()
    first.communicate()
    run(survivor(), Config(draws=40), seed=0, folder=tmp_path)


@pytest.mark.thorough
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(disk)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("a small file system can be mounted by root on Linux only")
    try:
        with pytest.raises(StoreError, match="no space left on device"):
            run(survivor(), Config(), seed=0, folder=disk / "run")
        finished = _done(disk / "run")
        assert 0 < finished < 30
        assert not list(disk.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=16M", str(disk)], check=True)
        again = run(survivor(), Config(), seed=0, folder=disk / "run")
        xarray.testing.assert_identical(without_times(again), undisturbed(Config()))
        assert count(disk / "run", "done") == 30
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="Part of that path is a file"):
        run(survivor(), Config(), seed=0, folder=tmp_path / "file" / "run")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="cannot read"):
        run(survivor(), Config(), seed=0, folder=tmp_path / "new", keep=tmp_path)


@pytest.mark.thorough
def test_an_interrupt_ends_the_workers_at_once(tmp_path):
    def interrupt(done, total, label):
        if _done(tmp_path):
            raise KeyboardInterrupt

    pool = ProcessWorkers(2)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(
            survivor(),
            Config(pause=1.0),
            seed=0,
            folder=tmp_path,
            executor=pool,
            progress=interrupt,
        )
    pool.kill()
    assert time.monotonic() - started < 20
    assert not pool.pids
    assert 1 <= _done(tmp_path) <= 2
    with RunFolder.opened(tmp_path, {}):
        pass
