"""Shapes in annotations are checked while the tests run.

jaxtyping has a hook for imports too. It wraps every function when its module is imported, and
checks every call: on two cores a minute of the suite, most of it in loops that call one function
thousands of times with the same shapes.
"""

import ast
import dataclasses
import functools
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped

CALLS = 25
"""Of one function in one test that are checked: more are loops."""

_calls: Counter[str] = Counter()


def forget_calls() -> None:
    """Check every function again, from the next call on."""
    _calls.clear()


def names_a_shape(hint: object) -> bool:
    """Say whether a jaxtyping array occurs anywhere in an annotation."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(names_a_shape(part) for part in typing.get_args(hint))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check those annotations of a function that name array shapes, and no others."""
    shaped = {name: hint for name, hint in function.__annotations__.items() if names_a_shape(hint)}
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype(function)


def checked(thing: Any) -> Any:
    """Check the first calls of a function, or how a dataclass is made, if they name shapes."""
    if not any(map(names_a_shape, getattr(thing, "__annotations__", {}).values())):
        return thing
    if isinstance(thing, type):
        made = dataclasses.is_dataclass(thing)
        return jaxtyped(thing, typechecker=check_shapes) if made else thing
    name = f"{thing.__module__}.{thing.__qualname__}"
    strict = functools.cache(lambda: jaxtyped(thing, typechecker=check_shapes))

    @functools.wraps(thing)
    def counted(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if _calls[name] >= CALLS:
            return thing(*args, **kwargs)
        _calls[name] += 1
        return strict()(*args, **kwargs)

    return counted


class _Decorate(ast.NodeTransformer):
    """Put `checked` next to every function, and above what makes a class a dataclass."""

    def _last(self, node: Any) -> Any:
        self.generic_visit(node)
        node.decorator_list.append(ast.copy_location(_name_of_checked(), node))
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _last

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        if node.decorator_list:
            node.decorator_list.insert(0, ast.copy_location(_name_of_checked(), node))
        return node


def _name_of_checked() -> ast.expr:
    return ast.parse(f"__import__({__name__!r}, fromlist=['checked']).checked", mode="eval").body


class _Loader(SourceFileLoader):
    def path_stats(self, path: str) -> Any:
        # What is compiled here must not be kept beside the source, nor be taken from there.
        raise OSError(f"nothing is kept of {path}")

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]
        tree = ast.fix_missing_locations(_Decorate().visit(ast.parse(data, str(path))))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class _Finder(MetaPathFinder):
    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(fullname == each or fullname.startswith(f"{each}.") for each in self.modules):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def check_imports(modules: Sequence[str]) -> None:
    """Check the shapes in the annotations of these modules and what is in them.

    Parameters
    ----------
    modules : sequence of str
        Their full names; none of them has been imported.
    """
    import sys

    sys.meta_path.insert(0, _Finder(modules))
