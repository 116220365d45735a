"""When compiled loops draw: where numba is installed, agrees with torch, and has enough to do."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch

from limits.compiled.mersenne import WORDS, generator_of

__all__ = ["Loops", "loops_for"]

_PAYS = 2**25
"""Numbers after which a process loads the loops, which takes half a second. They are then ahead
after twice as many more; the very first process of an installation compiles for some seconds."""

_COMPARED = 2**15
"""Numbers that are compared; a rounding that differs shows in one of a thousand."""

_DRAWN = {"numbers": 0}
_SAID: list[str] = []


@dataclass(frozen=True)
class Loops:
    """Loops that fill flat arrays from the states of several generators.

    Parameters
    ----------
    normals : callable
        ``normals(numbers, states, size)``: those of torch on this machine.
    uniforms : callable
        ``uniforms(numbers, states, size, scale)``: `scale` times the signed 32-bit halves of the
        words of numpy's sfc64.
    """

    normals: Callable[[np.ndarray, np.ndarray, int], None]
    uniforms: Callable[[np.ndarray, np.ndarray, int, np.float32], None]


def loops_for(count: int) -> Loops | None:
    """Count the numbers this process draws; return the loops once they pay, if there are any.

    The numbers are the same in every bit, so nobody sees when the loops take over.
    """
    _DRAWN["numbers"] += count
    if _DRAWN["numbers"] <= _PAYS:
        return None
    loops, problem = _found()
    if problem and problem not in _SAID:
        _SAID.append(problem)
        warnings.warn(
            f"numba is installed but its loops cannot draw random numbers ({problem}). torch "
            "draws the same ones, four times slower. Mend or remove numba.",
            RuntimeWarning,
            stacklevel=3,
        )
    return loops


@cache
def _found() -> tuple[Loops | None, str]:
    """Return the loops, or what is wrong with them."""
    if find_spec("numba") is None or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None, ""
    try:
        from limits.compiled.normals import fill_normals
        from limits.compiled.uniforms import fill_uniforms

        loops = Loops(fill_normals, fill_uniforms)
        return (loops if _agree(loops) else None), ""
    except Exception as error:  # a numpy newer than numba knows, a disk that is full
        return None, f"{type(error).__name__}: {error}"


def _agree(loops: Loops) -> bool:
    """Return whether the loops draw what torch and numpy draw on this machine."""
    words = np.random.SFC64(0).random_raw(WORDS // 2)
    theirs = torch.empty(_COMPARED, dtype=torch.float32, device="cpu")
    theirs.normal_(generator=generator_of(words.tobytes()))
    ours = np.empty(_COMPARED, np.float32)
    loops.normals(ours, words.view(np.uint32)[None].copy(), _COMPARED)
    bits = np.random.SFC64(0)
    uniforms = np.empty(_COMPARED, np.float32)
    state = bits.state["state"]["state"][None].copy()
    loops.uniforms(uniforms, state, _COMPARED, np.float32(0.3))
    halves = bits.random_raw(_COMPARED // 2).view(np.int32).astype(np.float32)
    return np.array_equal(ours, theirs.numpy()) and np.array_equal(
        uniforms, halves * np.float32(0.3)
    )
