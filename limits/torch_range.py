"""The releases of torch that the library is tested with, and a word where another is met."""

import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

__all__ = ["OLDEST", "TOO_NEW", "warn_outside_range"]

# As in pyproject.toml, which holds when the library is installed and not when what follows it
# moves torch.
OLDEST = (2, 6)
TOO_NEW = (2, 14)
_VERSION = re.compile(r"__version__ = ['\"]([^'\"]+)")


def warn_outside_range() -> None:
    """Warn, in one sentence, if torch is older or newer than what the library is tested with.

    Torch is not imported for it: that takes a second.

    Examples
    --------
    >>> warn_outside_range()
    """
    version = _version_of_torch()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and not OLDEST <= tuple(map(int, numbers.groups())) < TOO_NEW:
        low, high = (".".join(map(str, each)) for each in (OLDEST, TOO_NEW))
        warnings.warn(
            f"limits is tested with torch >= {low} and < {high}, found {version}: if something "
            f'fails, install one of that range (pip install "torch>={low},<{high}").',
            UserWarning,
            stacklevel=2,
        )


def _version_of_torch() -> str:
    """Return the version of torch, read from its files if it is not imported; may be empty."""
    if "torch" in sys.modules:
        return str(getattr(sys.modules["torch"], "__version__", ""))
    try:
        found = find_spec("torch")
        if found is None or found.origin is None:
            return ""
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except (OSError, ValueError, ImportError):
        return ""
    match = _VERSION.search(text)
    return match[1] if match else ""
