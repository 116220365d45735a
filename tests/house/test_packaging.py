import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import limits

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = (".ci", "experiments", "figures", "limits", "tests")
LIBRARY = sorted((ROOT / "limits").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
LONGEST_MODULE = 300


def named(path):
    return str(path.relative_to(ROOT))


def every_file():
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path for path in (*top, *below) if "__pycache__" not in path.parts]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_license_is_mit():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License")
    assert "The limits authors" in text
    assert PROJECT["project"]["license"] == "MIT"


def test_the_citation_file_names_the_software_and_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == "MIT"
    assert {"title", "message", "authors"} <= set(citation)
    identifiers = [each["identifiers"][0]["value"] for each in citation["references"]]
    papers = ("2206.06929", "1903.07120", "2509.10167", "2603.18168")
    assert identifiers == [f"arXiv:{paper}" for paper in papers]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[([\d.]+)\]", changes, re.MULTILINE)[0] == version


def test_every_package_is_shipped():
    library = {".".join(file.parent.relative_to(ROOT).parts) for file in LIBRARY}
    folders = {file.parent.relative_to(ROOT).parts for file in EXPERIMENTS}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == (
        library | {".".join(("limits", *parts)) for parts in folders}
    )
    assert (ROOT / "limits" / "py.typed").is_file()


def test_every_folder_of_experiments_is_a_package():
    for folder in {file.parent for file in EXPERIMENTS}:
        assert (folder / "__init__.py").is_file(), f"{named(folder)} lacks __init__.py"


def test_no_file_holds_a_folder_of_a_machine():
    pattern = re.compile(rb"(?<![\w.])/(?:home|root|Users|work|tmp|mnt|opt)/\w")
    guilty = {named(path) for path in every_file() if pattern.search(path.read_bytes())}
    assert guilty == set()


def test_no_module_is_long():
    lines = {
        named(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in LIBRARY + EXPERIMENTS
    }
    assert {name: n for name, n in lines.items() if n > LONGEST_MODULE} == {}


def test_no_module_asserts():
    # python -O drops assertions, and their messages help nobody.
    guilty = {
        f"{named(path)}:{node.lineno}"
        for path in LIBRARY + EXPERIMENTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    }
    assert guilty == set()


def test_the_library_does_not_import_its_own_public_names():
    assert {named(path) for path in LIBRARY if "limits" in imported_modules(path)} == set()


@pytest.mark.thorough
def test_experiments_use_only_public_names():
    guilty = {
        f"{named(path)}: {module}"
        for path in EXPERIMENTS
        for module in imported_modules(path)
        if module.startswith("limits.") and not module.startswith("limits.experiments")
        # What is open at the top of the library is as public as its names.
        if module.removeprefix("limits.") not in dir(limits)
    }
    assert guilty == set()


def test_the_readme_marks_what_ci_runs(capsys):
    spec = importlib.util.spec_from_file_location("readme", ROOT / ".ci" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.blocks(text, "main-job")) == 1
    assert len(readme.blocks(text, "tests")) == 1
    assert len(readme.blocks(text, "python")) >= 1
    assert readme.main(["no-such-name", str(ROOT / "README.md")]) == 1
    assert "no fenced block" in capsys.readouterr().err
