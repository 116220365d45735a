"""Named random streams whose numbers depend on nothing but their name.

A *path* is numbered by an integer, and sixteen consecutive paths form a *block*. Every
(seed, name, block, part) owns one generator, so that the numbers of a path depend neither
on how many paths are drawn, nor on chunks, threads, workers or devices.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limits.checks import check_seed
from limits.compiled import WORDS, generator_of, loops_for
from limits.exceptions import LimitsError

__all__ = ["BLOCK", "Stream", "blocks_of", "memory_of"]

BLOCK = 16
"""Paths in a block. Also the granularity at which torch's vectorised normals are a prefix."""

_THREAD = threading.local()


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

    @property
    def label(self) -> str:
        """Seed and name as one word: equal labels mean equal numbers."""
        return f"{self.seed}:{self.name}"

    def child(self, name: str) -> "Stream":
        """Return the stream of the same seed under a longer name."""
        return Stream(self.seed, f"{self.name}/{name}")

    def generator(self, block: int, part: int = 0) -> torch.Generator:
        """Return a fresh generator at the start of one block's part."""
        return generator_of(self._digest(block, part, WORDS // 2))

    def normals(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        part: int = 0,
        *,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Return standard normals of shape ``(n_paths, size)`` in float32.

        With numba installed, a process that draws many of them draws the same numbers, in every
        bit, in a quarter of the time.

        Parameters
        ----------
        memory : Tensor, optional
            Where to put them, of at least `memory_of` numbers; fresh memory costs as much as
            the numbers.
        """
        buffer = _rows(n_paths, size, memory)
        loops = loops_for(buffer.numel())
        if loops is None or n_paths == 0:
            return self._draw(Tensor.normal_, first_path, buffer, part)[:, :size]
        blocks = blocks_of(first_path, n_paths)
        digests = bytearray().join(self._digest(block, part, WORDS // 2) for block, *_ in blocks)
        states = np.frombuffer(digests, np.uint32).reshape(-1, WORDS)
        loops.normals(buffer.view(-1).numpy(), states, BLOCK * buffer.shape[1])
        return buffer[:, :size]

    def uniforms(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        part: int = 0,
        *,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Return uniforms on [0, 1) of shape ``(n_paths, size)`` in float32.

        With `memory` as for normals.
        """
        buffer = _rows(n_paths, size, memory)
        return self._draw(Tensor.uniform_, first_path, buffer, part)[:, :size]

    def centred_uniforms(
        self,
        first_path: int,
        n_paths: int,
        size: int,
        half_width: float,
        part: int = 0,
        *,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Return uniforms on [-`half_width`, `half_width`], ``(n_paths, size)``, in float32.

        From the 64-bit words of a generator that is three times faster than that of torch, which
        takes longer to draw dense weights than a network to use them. Two numbers a word. Numba
        makes them faster still, the same in every bit. With `memory` as for normals.

        References
        ----------
        Doty-Humphrey, PractRand (2010): the generator sfc64.
        """
        buffer, scale = _rows(n_paths, size, memory), half_width * 2.0**-31
        blocks = blocks_of(first_path, n_paths)
        # Three words and the counter of every generator.
        states = np.ones((len(blocks), 4), np.uint64)
        for state, (block, _, _) in zip(states, blocks, strict=True):
            state[:3] = np.frombuffer(self._digest(block, part, 3), np.uint64)
        loops = loops_for(buffer.numel())
        if loops is not None:
            flat = buffer.view(-1).numpy()
            loops.uniforms(flat, states, BLOCK * buffer.shape[1], np.float32(scale))
            return buffer[:, :size]
        for state, (_, start, stop) in zip(states, blocks, strict=True):
            rows = buffer[start:stop]
            words = _sfc64(state).integers(
                0, 2**64 - 1, rows.numel() // 2, dtype=np.uint64, endpoint=True
            )
            halves = torch.from_numpy(words.view(np.int32)).view_as(rows)
            rows.copy_(halves).mul_(scale)
        return buffer[:, :size]

    def _digest(self, block: int, part: int, words: int) -> bytes:
        """Return words of 64 bits that depend on every part of the name."""
        key = f"limits:{self.label}:{block}:{part}".encode()
        return hashlib.shake_128(key).digest(8 * words)

    def _draw(
        self, fill: Callable[..., Tensor], first_path: int, buffer: Tensor, part: int
    ) -> Tensor:
        for block, start, stop in blocks_of(first_path, len(buffer)):
            fill(buffer[start:stop], generator=self.generator(block, part))
        return buffer


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


def memory_of(n_paths: int, size: int) -> int:
    """Return how many numbers a draw of `size` numbers a path fills: a multiple of sixteen each.

    Examples
    --------
    >>> memory_of(3, 20)
    96
    """
    return n_paths * (-(-size // BLOCK) * BLOCK)


def _rows(n_paths: int, size: int, memory: Tensor | None = None) -> Tensor:
    needed = memory_of(n_paths, size)
    if memory is None:
        memory = torch.empty(needed, dtype=torch.float32, device="cpu")
    usable = memory.dtype == torch.float32 and memory.device.type == "cpu" and memory.ndim == 1
    if not usable or not memory.is_contiguous() or memory.numel() < needed:
        raise LimitsError(
            f"memory for {n_paths} paths of {size} numbers must be {needed} or more consecutive "
            f"float32 numbers on the CPU, found {tuple(memory.shape)}, {memory.dtype}, "
            f"{memory.device}. Pass torch.empty({needed}, dtype=torch.float32)."
        )
    return memory[:needed].view(n_paths, memory_of(1, size))


def _sfc64(state: np.ndarray) -> np.random.Generator:
    """Return this thread's generator in a state; to make one takes longer than to set it."""
    if not hasattr(_THREAD, "generator"):
        _THREAD.generator = np.random.Generator(np.random.SFC64(0))
    _THREAD.generator.bit_generator.state = {
        "bit_generator": "SFC64",
        "state": {"state": state},
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _THREAD.generator
