"""One name, one thing: of what is public, of modules, and of the rooms that hold them."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "limits").rglob("*.py"))
MODULES_OF_A_ROOM = 9
# Rooms that hold more, and why they are not two.
LARGE_ROOMS = {
    "limits": "the face, and the ground and the vocabulary that every room stands on",
    "limits/cli": "one command a module, and what finds and asks for experiments",
    "limits/paths": "one law of the weights a module, and what a draw of any law consists of",
    "limits/sweeps": "one closed subject that imports nothing of the other rooms",
}


def named(path):
    return path.relative_to(ROOT).as_posix()


def body(path):
    return ast.parse(path.read_text(encoding="utf-8")).body


def definitions(path):
    """Yield the names in `__all__` that a module defines at its top, overloads once."""
    nodes = body(path)
    public = {name for node in nodes for name in _listed(node)}
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found = [node.name]
            case ast.Assign():
                found = [target.id for target in node.targets if isinstance(target, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case _:
                found = []
        yield from (name for name in found if name in public)


def _listed(node):
    match node:
        # The face lists what its tables hold, and defines none of it.
        case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple() as value):
            return [each.value for each in value.elts if isinstance(each, ast.Constant)]
    return ()


def exported(init):
    """Return the names that the `__init__` of a package takes from its modules."""
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def rooms():
    return sorted({path.parent for path in LIBRARY})


def test_no_public_name_is_defined_twice():
    places = defaultdict(set)
    for path in LIBRARY:
        for name in definitions(path):
            places[name].add(named(path))
    twice = {name: sorted(where) for name, where in places.items() if len(where) > 1}
    assert twice == {}


@pytest.mark.parametrize("room", rooms(), ids=named)
def test_no_package_hides_a_module_behind_a_function_of_its_name(room):
    inside = {path.stem for path in room.glob("*.py")} | {
        path.name for path in room.iterdir() if (path / "__init__.py").is_file()
    }
    taken = {
        name
        for name in exported(room / "__init__.py")
        if name in inside and name != "__init__" and not _is_module(room, name)
    }
    assert taken == set()


def _is_module(room, name):
    """Say whether `name` is exported as the module that it names: `from limits import data`."""
    package = ".".join(room.relative_to(ROOT).parts)
    return any(
        node.module == package and any(alias.name == name for alias in node.names)
        for node in ast.walk(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    )


@pytest.mark.parametrize("room", rooms(), ids=named)
def test_rooms_above_nine_modules_have_a_reason(room):
    modules = [path for path in room.glob("*.py") if path.name != "__init__.py"]
    if named(room) in LARGE_ROOMS:
        assert len(modules) > MODULES_OF_A_ROOM, f"{named(room)} needs no reason any more"
    else:
        assert len(modules) <= MODULES_OF_A_ROOM
