"""Models that ``torch.compile`` has seen: watched as they are written, compiled anew if changed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["compiled_anew", "uncompiled"]


def compiled_anew() -> None:
    """Let compiled code be made again when it is next called.

    Compiled code does not look whether hooks of its modules came or went after it was made; it
    would go on without them, or with them, and say nothing. What is dropped costs the time of
    compiling and no number.
    """
    dynamo = _compiler()
    if dynamo is not None:
        dynamo.reset()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run models as they are written, so that what watches them sees every operation."""
    if _compiler() is None:
        yield
        return
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield


def _compiler() -> Any:
    # Seconds to import, and whoever has compiled anything has done so.
    return sys.modules.get("torch._dynamo")
