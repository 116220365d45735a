"""The uniforms that numpy's sfc64 gives, scaled as they are made.

References
----------
Doty-Humphrey, PractRand (2010): the generator sfc64.
"""

from typing import Any

import numpy as np

from limits.kernels.jit import loop

__all__ = ["fill_uniforms"]

_F, _U = np.float32, np.uint64
_CACHED = 2**12
"""Numbers that are scaled while they are still in the cache."""


@loop
def _step(words: Any, state: Any) -> None:
    a, b, c, counter = state[0], state[1], state[2], state[3]
    for i in range(words.size):
        word = a + b + counter
        counter += _U(1)
        a = b ^ (b >> _U(11))
        b = c + (c << _U(3))
        c = ((c << _U(24)) | (c >> _U(40))) + word
        words[i] = word
    state[0], state[1], state[2], state[3] = a, b, c, counter


@loop
def fill_uniforms(numbers: Any, states: Any, size: int, scale: Any) -> None:
    """Fill an array with `scale` times the signed 32-bit halves of words, without the GIL.

    Parameters
    ----------
    numbers : ndarray
        Flat, of type float32, of even size.
    states : ndarray
        Three words and the counter of every generator, ``(generator, 4)``, of type uint64; they
        are changed.
    size : int
        How many numbers each generator gives, even; the last gives what is left.
    scale : float32
        Common factor.

    Examples
    --------
    >>> bits = np.random.SFC64(0)
    >>> state = bits.state["state"]["state"][None].copy()
    >>> numbers = np.empty(8, np.float32)
    >>> fill_uniforms(numbers, state, 8, np.float32(1.0))
    >>> bool((numbers == bits.random_raw(4).view(np.int32).astype(np.float32)).all())
    True
    """
    for which in range(states.shape[0]):
        part = numbers[which * size : min((which + 1) * size, numbers.size)]
        for start in range(0, part.size, _CACHED):
            piece = part[start : min(start + _CACHED, part.size)]
            _step(piece.view(np.uint64), states[which])
            halves = piece.view(np.int32)
            for i in range(piece.size):
                piece[i] = _F(halves[i]) * scale
