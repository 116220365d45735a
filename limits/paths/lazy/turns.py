"""Who may ask about which paths: one thread at a time, in the order of coming."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Turns"]


@dataclass(eq=False)
class _Turn:
    first: int
    stop: int


class Turns:
    """Lets one thread at a time ask about a path.

    An answer depends on what was answered before, so that two questions at once would be answered
    by different matrices. Threads that ask about different paths do not wait for each other; one
    that waits for many paths is not overtaken, or it might wait for ever.

    Examples
    --------
    >>> turns = Turns()
    >>> with turns.of(0, 4), turns.of(4, 8):
    ...     len(turns)
    2
    """

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._turns)

    @contextmanager
    def of(self, first: int, stop: int) -> Iterator[None]:
        """Wait until nobody asks about these paths, and keep others from it meanwhile."""
        mine = _Turn(first, stop)
        try:
            with self._changed:
                self._turns.append(mine)
                while self._is_behind(mine):
                    self._changed.wait()
            yield
        finally:
            with self._changed:
                self._turns.remove(mine)
                self._changed.notify_all()

    def _is_behind(self, mine: _Turn) -> bool:
        for turn in self._turns:
            if turn is mine:
                return False
            if turn.first < mine.stop and mine.first < turn.stop:
                return True
        return False
