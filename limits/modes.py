"""The modes of torch: what belongs to a thread, and what must not belong to a number.

Whether autograd records, inference mode and autocast are properties of the calling thread. A
computation that is spread over threads has to take the first two along, or its memory depends on
the number of threads; it has to keep the third out, or its numbers do. A tensor that is kept for
later calls must not be an inference tensor, which no later gradient could pass through.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

__all__ = ["Modes", "keeps_dtypes", "kept", "recording", "without_autocast"]

P = ParamSpec("P")
T = TypeVar("T")
_DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Modes:
    """What a thread that computes for another one has to take over.

    Parameters
    ----------
    recording : bool
        Whether autograd records.
    inference : bool
        Whether inference mode is on.

    Examples
    --------
    >>> with torch.no_grad():
    ...     modes = Modes.of_this_thread()
    >>> with modes.entered():
    ...     torch.is_grad_enabled()
    False
    """

    recording: bool
    inference: bool

    @classmethod
    def of_this_thread(cls) -> "Modes":
        """Return the modes of the calling thread."""
        return cls(torch.is_grad_enabled(), torch.is_inference_mode_enabled())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Give the calling thread these modes, and no autocast."""
        with (
            torch.inference_mode(self.inference),
            torch.set_grad_enabled(self.recording),
            without_autocast(),
        ):
            yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in the dtypes of the operands, whatever autocast the caller is under.

    Examples
    --------
    >>> a = torch.ones(2, 2)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast():
    ...     (a @ a).dtype
    torch.float32
    """
    with ExitStack() as stack:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def keeps_dtypes(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function return the dtype it was asked for, under autocast too.

    Examples
    --------
    >>> @keeps_dtypes
    ... def squared(a: torch.Tensor) -> torch.Tensor:
    ...     return a @ a
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     squared(torch.ones(2, 2)).dtype
    torch.float32
    """

    @wraps(function)
    def keeping(*args: P.args, **kwargs: P.kwargs) -> T:
        with without_autocast():
            return function(*args, **kwargs)

    return keeping


def recording(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function that differentiates do so under `torch.no_grad` and in inference mode too.

    Examples
    --------
    >>> @recording
    ... def slope(x: float) -> float:
    ...     point = torch.tensor(x, requires_grad=True)
    ...     (found,) = torch.autograd.grad(point.square(), point)
    ...     return float(found)
    >>> with torch.inference_mode():
    ...     slope(3.0)
    6.0
    """

    @wraps(function)
    def differentiating(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return differentiating


def kept(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keep the last `most` results of a function, made as if no mode were on.

    The first caller may be in inference mode, and a later one may differentiate.

    Examples
    --------
    >>> @kept(1)
    ... def ones(size: int) -> torch.Tensor:
    ...     return torch.ones(size)
    >>> with torch.inference_mode():
    ...     ones(2).is_inference()
    False
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def made(*args: P.args, **kwargs: P.kwargs) -> T:
            with torch.inference_mode(False), torch.no_grad(), without_autocast():
                return function(*args, **kwargs)

        return cast("Callable[P, T]", lru_cache(maxsize=most)(made))

    return decorate
