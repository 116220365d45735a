"""A torch outside of the tested range is met with one sentence, and is not imported for it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from limits.torch_range import OLDEST, TOO_NEW

ROOT = Path(__file__).parents[2]


def imported(folder):
    """Return what Python says that imports the library beside a stand-in for torch."""
    source = f"import sys; sys.path.insert(0, {str(folder)!r}); import limits; import limits"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", source], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def stand_in(folder, version):
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "torch" / "version.py").write_text(f"__all__ = []\n__version__ = '{version}'\n")
    return folder


@pytest.mark.parametrize("version", ["2.14.0", "2.14.1+cpu", "3.0", "2.5.1", "1.13.1"])
def test_another_torch_is_met_with_one_sentence(tmp_path, version):
    said = imported(stand_in(tmp_path, version))
    assert said.count("UserWarning") == 1
    assert f"limits is tested with torch >= 2.6 and < 2.14, found {version}: if" in said
    assert 'pip install "torch>=2.6,<2.14"' in said


@pytest.mark.parametrize("version", ["2.6.0", "2.9.1+cu130", "2.13.0", "2.13.0a0+git1"])
def test_a_torch_of_the_range_is_met_with_silence(tmp_path, version):
    assert imported(stand_in(tmp_path, version)) == ""


def test_a_torch_that_is_imported_already_is_asked(tmp_path):
    source = "import sys, types; torch = types.ModuleType('torch'); torch.__version__ = '2.99'; "
    source += "sys.modules['torch'] = torch; import limits"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "found 2.99" in done.stderr


def test_the_range_is_that_of_the_installation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (torch,) = (each for each in project["dependencies"] if re.match(r"torch[<>=]", each))
    low, high = (".".join(map(str, each)) for each in (OLDEST, TOO_NEW))
    assert torch == f"torch>={low},<{high}"
