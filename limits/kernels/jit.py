"""How loops are compiled: without Python's lock, and kept on disk where there is a place."""

import _thread
import hashlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

__all__ = ["FALSE", "ONE", "TRUE", "ZERO", "bitcast", "inlined", "lean", "loop"]

ZERO, ONE = np.int64(0), np.int64(1)
FALSE, TRUE = np.bool_(False), np.bool_(True)
"""For calls within compiled code: a literal, or a tuple of one, compiles the callee once more."""

_instruction: Any = intrinsic
_A_MOMENT = 0.01
"""Seconds, in which what was being finalised is."""


def loop(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it lets other threads run.

    Never fast mathematics: a compiler that may fuse or reorder makes other bits. Divisions by zero
    are not looked for, which would keep them out of vectors: they give infinity.
    """
    return _compiled(function, counts=True)


def lean(function: Callable[..., Any]) -> Any:
    """Compile a function as `loop` does that makes no array, and counts no holder of any.

    The counting takes as long as a sum of forty numbers, at every call.
    """
    return _compiled(function, counts=False)


def _compiled(function: Callable[..., Any], *, counts: bool) -> Any:
    # Whether holders are counted is said both ways, because callees ask their callers.
    settings = {"nogil": True, "error_model": "numpy", "_nrt": counts}
    try:
        return _dated(njit(cache=True, **settings)(function))
    except RuntimeError:  # neither the installation nor the home of the user can be written
        _say_once()
        return _heard(njit(**settings)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into every loop that calls it."""
    return njit(inline="always")(function)


def bitcast(kind: ir.Type, result: Any, number: Any) -> Any:
    """Return an instruction that reads the bits of a number as another type."""

    @_instruction
    def cast(_: Any, _given: Any) -> Any:
        def build(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], kind)

        return result(number), build

    return cast


def _dated(compiled: Any) -> Any:
    """Let code that was kept serve only as long as no file of the kernels' room has changed.

    Numba looks at the file of the function itself, but loops are compiled into those that call
    them, and the tuples they are called with are kept by name.
    """
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._version = f"{file._version} {_digest()}"
    return _heard(compiled)


def _heard(compiled: Any) -> Any:
    """Let Ctrl-C be heard while a function is compiled or loaded.

    Compilers let go of objects and are called back all the time, and Python drops an exception
    that comes while one is finalised, or out of such a call, whose work is then not done.
    """
    compile_for = getattr(compiled, "_compile_for_args", None)
    if compile_for is None:
        return compiled

    def heard(*args: Any, **kwargs: Any) -> Any:
        with _interrupts_said_again():
            return compile_for(*args, **kwargs)

    compiled._compile_for_args = heard
    return compiled


@contextmanager
def _interrupts_said_again() -> Iterator[None]:
    """Interrupt the main thread once more, a moment later, where its interrupt was dropped.

    What fails meanwhile, fails of that, and is the interrupt.
    """
    before, timers = sys.unraisablehook, list[threading.Timer]()

    def dropped(given: Any) -> None:
        if issubclass(given.exc_type, KeyboardInterrupt):
            timers.append(threading.Timer(_A_MOMENT, _thread.interrupt_main))
            timers[-1].start()
        else:
            before(given)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sys.unraisablehook = dropped
    try:
        yield
    except Exception as error:
        if not timers:
            raise
        for timer in timers:
            timer.cancel()
        raise KeyboardInterrupt from error
    finally:
        sys.unraisablehook = before


@cache
def _digest() -> str:
    room = Path(__file__).parent
    texts = (file.read_bytes() for file in sorted(room.rglob("*.py")))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


@cache
def _say_once() -> None:
    warnings.warn(
        "compiled loops cannot be kept: neither the installation nor the user's cache can be "
        "written. Every process compiles them again, for some seconds. Set NUMBA_CACHE_DIR to a "
        "folder that can be written.",
        RuntimeWarning,
        stacklevel=3,
    )
