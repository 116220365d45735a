"""Standard output and error of a command, whoever reads them and however long."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["OutputLost", "guarded_streams"]


class OutputLost(BaseException):
    """Standard output takes no more; no error of an experiment, whatever catches those.

    Parameters
    ----------
    error : OSError
        What the system said.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.reason = (error.strerror or str(error)).lower()
        self.reader_left = error.errno in (errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Raise `OutputLost` when standard output is lost; do without standard error if that is.

    A stream that the caller has closed is replaced by one that nobody reads: what it would have
    told is not asked for.

    Raises
    ------
    OutputLost
        From whatever writes, at the latest at the end of the block.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                stream = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
            setattr(sys, name, _Guarded(stream, needed=name == "stdout"))
        try:
            yield
        finally:
            ours = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = before
            for stream in ours:
                # What is still on its way when something else goes wrong is not the trouble.
                if isinstance(stream, _Guarded):
                    stream.flush()


class _Guarded:
    """A text stream whose failures are told apart from every other failure."""

    def __init__(self, stream: Any, *, needed: bool) -> None:
        self._stream = stream
        self._needed = needed
        self._lost = False

    def write(self, text: str) -> int:
        """Write, or note that nobody takes it."""
        if not self._lost:
            with self._noticing():
                return self._stream.write(_encodable(text, self._stream))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send what was written on its way."""
        if not self._lost:
            with self._noticing():
                self._stream.flush()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._lost = True
            _let_go(self._stream)
            if self._needed:
                raise OutputLost(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encodable(text: str, stream: Any) -> str:
    """Replace characters that a stream cannot write, as in the C locale."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    return text


def _let_go(stream: Any) -> None:
    """Let what is buffered go nowhere: Python would try again, and complain, as it ends."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
