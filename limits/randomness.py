"""Named random streams whose numbers depend on nothing but their name.

A *path* is numbered by an integer, and sixteen consecutive paths form a *block*. Every
(seed, name, block, part) owns one generator, so that the numbers of a path depend neither
on how many paths are drawn, nor on chunks, threads, workers or devices.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from limits.exceptions import LimitsError

__all__ = ["BLOCK", "Stream", "blocks_of", "check_seed"]

BLOCK = 16
"""Paths in a block. Also the granularity at which torch's vectorised normals are a prefix."""

_THREAD = threading.local()
_WORDS = 624
_WORDS_START = 24
_WORDS_STOP = _WORDS_START + 8 * _WORDS


@dataclass(frozen=True)
class Stream:
    """A family of random numbers with a name, one generator per block of sixteen paths.

    The 624 words of a Mersenne Twister are filled from SHAKE-128 of the key text: the whole
    state, because ``torch.manual_seed`` keeps only 32 bits of a seed and hashed seeds of that
    width collide. Numbers are drawn in float32 on the CPU (the same ones whatever dtype or
    device they are used in), at multiples of sixteen, where a shorter draw is a prefix of a
    longer one.

    Parameters
    ----------
    seed : int
        Any non-negative integer, of any size.
    name : str
        What is drawn; different names give independent numbers.

    Raises
    ------
    LimitsError
        If ``seed`` is not a non-negative integer.

    References
    ----------
    Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998); FIPS 202 (SHAKE-128).

    Examples
    --------
    >>> stream = Stream(seed=0, name="example")
    >>> few, many = stream.normals(0, 16, 5), stream.normals(0, 48, 5)
    >>> bool((few == many[:16]).all())
    True
    """

    seed: int
    name: str

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def child(self, name: str) -> "Stream":
        """Return the stream of the same seed under a longer name."""
        return Stream(self.seed, f"{self.name}/{name}")

    def generator(self, block: int, part: int = 0) -> torch.Generator:
        """Return a fresh generator at the start of one block's part."""
        digest = hashlib.shake_128(self._key(block, part)).digest(4 * _WORDS)
        words = torch.frombuffer(bytearray(digest), dtype=torch.int32)
        state = _fresh_state().clone()
        # The state keeps each 32-bit word in 64 bits, low half first.
        state[_WORDS_START:_WORDS_STOP].view(torch.int32)[::2] = words
        generator = torch.Generator()
        generator.set_state(state)
        return generator

    def normals(self, first_path: int, n_paths: int, size: int, part: int = 0) -> Tensor:
        """Return standard normals of shape ``(n_paths, size)`` in float32."""
        return self._draw(Tensor.normal_, first_path, n_paths, size, part)

    def uniforms(self, first_path: int, n_paths: int, size: int, part: int = 0) -> Tensor:
        """Return uniforms on [0, 1) of shape ``(n_paths, size)`` in float32."""
        return self._draw(Tensor.uniform_, first_path, n_paths, size, part)

    def centred_uniforms(
        self, first_path: int, n_paths: int, size: int, half_width: float, part: int = 0
    ) -> Tensor:
        """Return uniforms on [-`half_width`, `half_width`], ``(n_paths, size)``, in float32.

        From the 64-bit words of a generator that is three times faster than that of torch, which
        takes longer to draw dense weights than a network to use them. Two numbers a word.

        References
        ----------
        Doty-Humphrey, PractRand (2010): the generator sfc64.
        """
        padded = -(-size // BLOCK) * BLOCK
        buffer = torch.empty(n_paths, padded, dtype=torch.float32)
        for block, start, stop in blocks_of(first_path, n_paths):
            rows = buffer[start:stop]
            words = self._words(block, part).integers(
                0, 2**64 - 1, rows.numel() // 2, dtype=np.uint64, endpoint=True
            )
            halves = torch.from_numpy(words.view(np.int32)).view_as(rows)
            rows.copy_(halves).mul_(half_width * 2.0**-31)
        return buffer[:, :size]

    def _words(self, block: int, part: int) -> np.random.Generator:
        generator = _sfc64()
        words = np.frombuffer(hashlib.shake_128(self._key(block, part)).digest(24), np.uint64)
        state = {"state": np.append(words, np.uint64(1))}
        generator.bit_generator.state = {
            "bit_generator": "SFC64",
            "state": state,
            "has_uint32": 0,
            "uinteger": 0,
        }
        return generator

    def _key(self, block: int, part: int) -> bytes:
        return f"limits:{self.seed}:{self.name}:{block}:{part}".encode()

    def _draw(
        self, fill: Callable[..., Tensor], first_path: int, n_paths: int, size: int, part: int
    ) -> Tensor:
        padded = -(-size // BLOCK) * BLOCK
        buffer = torch.empty(n_paths, padded, dtype=torch.float32)
        for block, start, stop in blocks_of(first_path, n_paths):
            fill(buffer[start:stop], generator=self.generator(block, part))
        return buffer[:, :size]


def blocks_of(first_path: int, n_paths: int) -> list[tuple[int, int, int]]:
    """Split a range of paths into (block, start, stop), the rows counted from `first_path`.

    Examples
    --------
    >>> blocks_of(16, 20)
    [(1, 0, 16), (2, 16, 20)]
    """
    if first_path % BLOCK:
        raise LimitsError(
            f"cannot draw paths from number {first_path} on, because draws start at a multiple "
            f"of {BLOCK}. Start at {first_path - first_path % BLOCK}."
        )
    first = first_path // BLOCK
    return [
        (first + i, start, min(start + BLOCK, n_paths))
        for i, start in enumerate(range(0, n_paths, BLOCK))
    ]


def check_seed(seed: object) -> int:
    """Return `seed` if it is a non-negative integer, else say what to pass."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise LimitsError(
            f"seed must be a non-negative integer, found {seed!r}. Pass for example seed=0."
        )
    return seed


def _sfc64() -> np.random.Generator:
    """Return this thread's generator; to make one takes longer than to set its state."""
    if not hasattr(_THREAD, "generator"):
        _THREAD.generator = np.random.Generator(np.random.SFC64(0))
    return _THREAD.generator


@cache
def _fresh_state() -> Tensor:
    state = torch.Generator().manual_seed(0).get_state()
    if state.numel() < _WORDS_STOP:
        raise LimitsError(
            f"the random generator of torch {torch.__version__} has a state of {state.numel()} "
            f"bytes where at least {_WORDS_STOP} were expected. Install torch>=2.6,<2.14."
        )
    return state
