"""Two ways to do the same thing, timed in turns in one run on a stated number of threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import torch

import limits

__all__ = ["Contest", "Peaks", "peaks", "rounds", "seconds_of"]

_NORMALS = 2**22
_DRAWS = 6
_MATRIX = 1024


@dataclass(frozen=True)
class Contest:
    """What is compared.

    Parameters
    ----------
    ours, peer : callable
        Do the work once.
    share : float
        How much of the work `peer` does, where all of it would take too long; its time is
        divided by this.
    normals : float
        Normals that the method behind `ours` cannot do without.
    products : float
        Floating-point operations of its matrix products.
    """

    ours: Callable[[], object]
    peer: Callable[[], object]
    share: float = 1.0
    normals: float = 0.0
    products: float = 0.0


@dataclass(frozen=True)
class Peaks:
    """What this machine does at its best in a second, on the threads that are given."""

    normals: float
    products: float

    def seconds(self, contest: Contest) -> float:
        """Return the least time that the normals and products of a contest can take."""
        return contest.normals / self.normals + contest.products / self.products


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time of one call, with what it has begun on a CUDA device."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    started = perf_counter()
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter() - started


def rounds(contest: Contest, repeats: int) -> list[tuple[float, float]]:
    """Return seconds of ours and of the peer, in turns, after one round that is not counted."""
    pairs = [
        (seconds_of(contest.ours), seconds_of(contest.peer) / contest.share)
        for _ in range(repeats + 1)
    ]
    return pairs[1:]


def peaks(device: str = "cpu") -> Peaks:
    """Measure the fastest normals (one stream a thread) and the fastest matrix product."""
    threads = torch.get_num_threads() if device == "cpu" else 1
    buffers = [torch.empty(1, _NORMALS, device=device) for _ in range(threads)]
    stream = limits.Stream(0, "peak")
    left, right = (torch.ones(_MATRIX, _MATRIX, device=device) for _ in range(2))

    def fill(which: int) -> None:
        stream.normals(which, 1, _NORMALS, out=buffers[which])

    def draw() -> None:
        list(pool.map(fill, range(threads)))

    def multiply() -> None:
        torch.mm(left, right)

    with ThreadPoolExecutor(threads) as pool:
        drawing = min(seconds_of(draw) for _ in range(_DRAWS))
    multiplying = min(seconds_of(multiply) for _ in range(6))
    return Peaks(threads * _NORMALS / drawing, 2 * _MATRIX**3 / multiplying)
