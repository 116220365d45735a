"""When compiled loops draw: where numba is installed, agrees with torch, and has enough to do."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch

__all__ = ["Loops", "loops_for"]

_PAYS = 2**25
"""Numbers after which a process loads the loops, which takes as long as to draw them."""

_COMPARED = 2**15
"""Normals that are compared; a rounding that differs shows in one of a thousand."""

_DRAWN = {"numbers": 0}
_WORDS_START, _WORDS_STOP = 24, 24 + 8 * 624


@dataclass(frozen=True)
class Loops:
    """Loops that fill flat arrays from the states of several generators.

    Parameters
    ----------
    normals : callable
        ``normals(numbers, states, size)``: those of torch on this machine.
    uniforms : callable
        ``uniforms(numbers, states, size, scale)``: those of numpy's sfc64.
    """

    normals: Callable[[np.ndarray, np.ndarray, int], None]
    uniforms: Callable[[np.ndarray, np.ndarray, int, np.float32], None]


def loops_for(count: int) -> Loops | None:
    """Count the numbers this process draws; return the loops once they pay, if there are any.

    The numbers are the same in every bit, so nobody sees when the loops take over.
    """
    _DRAWN["numbers"] += count
    return _loops() if _DRAWN["numbers"] > _PAYS else None


@cache
def _loops() -> Loops | None:
    if find_spec("numba") is None:
        return None
    try:
        from limits.compiled.normals import fill_normals
        from limits.compiled.uniforms import fill_uniforms

        loops = Loops(fill_normals, fill_uniforms)
        return loops if _agree(loops) else None
    except Exception as error:  # a numpy newer than numba knows, a cache that cannot be written
        warnings.warn(
            f"numba is installed but could not compile the drawing of numbers: {error}. torch "
            "draws the same ones, four times slower. Update or remove numba.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _agree(loops: Loops) -> bool:
    """Return whether this build of torch rounds its normals as the loops do."""
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()[_WORDS_START:_WORDS_STOP].view(torch.int32)[::2].numpy()
    found = torch.empty(_COMPARED)
    loops.normals(found.numpy(), state.view(np.uint32)[None].copy(), _COMPARED)
    return torch.equal(found, torch.empty(_COMPARED).normal_(generator=generator))
