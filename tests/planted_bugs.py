"""Plant bugs in a copy of the library, one at a time, and see that its tests notice.

    python -m tests.planted_bugs --all            all of them, on two workers
    python -m tests.planted_bugs --rotate COMMIT  five, chosen by the name of a commit
    python -m tests.planted_bugs NAME ...         some of them; --list names all

Exits with 1 if a bug is not noticed. With --without the tests run on the library as it is, and
must pass: what fails anyway notices nothing. The table is in `tests/table_of_bugs.py`.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from time import monotonic

import pytest

from tests.table_of_bugs import BUGS, Bug

ROOT = Path(__file__).parents[1]
ROTATED = 5
# Exit status of pytest: tests were run, and some failed.
NOTICED = 1
_SECONDS_AT_MOST = 600
# Not what pytest has plugins of, which wants to be the first to import it.
_HEAVY = (
    "torch", "torchsde", "torchdiffeq", "scipy.stats", "xarray", "netCDF4", "sklearn.datasets",
    "numba", "matplotlib.pyplot", "tyro",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What the tests said of one bug."""

    bug: Bug
    status: int
    seconds: float
    output: str

    @property
    def noticed(self) -> bool:
        return self.status == NOTICED

    @property
    def good(self) -> bool:
        """Whether a bug was noticed, or the library passes where none was planted."""
        return self.status == (0 if self.bug.wrong == self.bug.right else NOTICED)


def place_of(bug: Bug, root: Path = ROOT) -> Path:
    """Return the file of the library that holds the text of a bug.

    Raises
    ------
    LookupError
        If the text does not occur in exactly one place.
    """
    texts = {file: file.read_text() for file in sorted((root / "limits").rglob("*.py"))}
    places = [file for file, text in texts.items() for _ in range(text.count(bug.right))]
    if len(places) != 1:
        raise LookupError(
            f"the text of the bug {bug.name!r}, {bug.right!r}, occurs {len(places)} times in the "
            "library and must occur once. Adapt tests/table_of_bugs.py to the library."
        )
    return places[0]


def rotated(commit: str, count: int = ROTATED) -> tuple[Bug, ...]:
    """Return bugs chosen by a text: every commit tries others, and trying again the same."""

    def draw(bug: Bug) -> str:
        return hashlib.sha256(f"{commit}:{bug.name}".encode()).hexdigest()

    return tuple(sorted(BUGS, key=draw)[:count])


def copy_of_the_checkout(folder: Path) -> Path:
    """Copy the files that git knows, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


def run(bugs: Sequence[Bug], *, workers: int, verbose: bool) -> list[Found]:
    """Try bugs on copies of the checkout, and say of each what came of it."""
    for bug in bugs:
        place_of(bug)
    # What takes most of the seconds of a small test: every process below begins with it.
    for name in _HEAVY:
        import_module(name)
    waiting, running, found = list(reversed(bugs)), {}, []
    with tempfile.TemporaryDirectory() as folder:
        free = [copy_of_the_checkout(Path(folder) / str(number)) for number in range(workers)]
        while waiting or running:
            while waiting and free:
                trial = _started(waiting.pop(), free.pop())
                running[trial.process] = trial
            process, status = os.wait()
            trial = running.pop(process)
            trial.file.write_text(trial.text)
            free.append(trial.copy)
            found.append(trial.found(os.waitstatus_to_exitcode(status)))
            _say(found[-1], verbose=verbose)
    return found


@dataclass(frozen=True)
class _Trial:
    bug: Bug
    copy: Path
    file: Path
    text: str
    process: int
    begun: float

    def found(self, status: int) -> Found:
        """Return what came of it, from the exit status of pytest."""
        return Found(self.bug, status, monotonic() - self.begun, _output(self.copy).read_text())


def _output(copy: Path) -> Path:
    return copy.with_suffix(".txt")


def _started(bug: Bug, copy: Path) -> _Trial:
    """Plant a bug and begin with its tests, in a process of their own."""
    file = place_of(bug, copy)
    text = file.read_text()
    file.write_text(text.replace(bug.right, bug.wrong))
    process = os.fork()
    if process == 0:
        status = -1
        try:
            status = _pytest(bug, copy)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(status) & 255)
    return _Trial(bug, copy, file, text, process, monotonic())


def _pytest(bug: Bug, copy: Path) -> int:
    # A bug may make a loop endless: the process is then ended by the signal.
    signal.alarm(_SECONDS_AT_MOST)
    with _output(copy).open("w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    # The copy's own tests, and not those that this process was started from.
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    sys.path[:] = [str(copy), *(each for each in sys.path if Path(each).absolute() != ROOT)]
    options = ("-x", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow")
    return pytest.main([*options, *shlex.split(bug.tests)])


def _say(found: Found, *, verbose: bool) -> None:
    word = "noticed" if found.noticed else "passed" if found.status == 0 else "ended"
    if not found.good:
        word = f"NOT GOOD, {word} (pytest ended with {found.status})"
    sys.stdout.write(f"{found.seconds:5.0f} s  {word}: {found.bug.name}\n")
    if verbose or not found.good:
        sys.stdout.write("\n".join(found.output.splitlines()[-15:]) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant bugs and see that tests notice.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs to try")
    parser.add_argument("--all", action="store_true", help="try all of them")
    parser.add_argument("--list", action="store_true", help="say what there is, and try nothing")
    parser.add_argument("--rotate", metavar="COMMIT", help=f"try {ROTATED}, chosen by this text")
    parser.add_argument("--workers", type=int, default=2, help="bugs tried at once")
    parser.add_argument("--verbose", action="store_true", help="show how each was noticed")
    parser.add_argument("--without", action="store_true", help="plant nothing: tests must pass")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - {bug.name for bug in BUGS})
    if unknown:
        parser.error(f"there is no bug called {', '.join(unknown)}; --list names all")
    if options.list:
        sys.stdout.write(
            "".join(f"{place_of(bug).relative_to(ROOT)}: {bug.name}\n" for bug in BUGS)
        )
        return 0
    chosen = list(BUGS) if options.all else [bug for bug in BUGS if bug.name in options.names]
    if options.rotate:
        chosen += rotated(options.rotate)
    if not chosen:
        parser.error("say which bugs: --all, --rotate COMMIT, or their names")
    if options.without:
        chosen = [replace(bug, wrong=bug.right) for bug in chosen]
    found = run(chosen, workers=options.workers, verbose=options.verbose)
    noticed, good = (sum(each) for each in zip(*((f.noticed, f.good) for f in found), strict=True))
    sys.stdout.write(f"{noticed} of {len(found)} noticed\n")
    return 0 if good == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
