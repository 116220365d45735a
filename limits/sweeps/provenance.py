"""Where numbers come from: code, configuration, versions and machine, but never a folder."""

import dataclasses
import functools
import hashlib
import json
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from limits.exceptions import ExperimentError

__all__ = ["code_version", "config_as_json", "environment", "library_version", "processor"]

_DISTRIBUTION = "resnet-limits"
_RECORDED = ("torch", "numpy", "torchsde", "torchdiffeq", "xarray")
_ROOT = Path(__file__).resolve().parents[2]
_SURFACE = frozenset({"cli", "plots", "reports", "experiments"})
"""Parts of the library that draw and print, and never change a number."""


def environment() -> dict[str, str]:
    """Return versions, platform, processor and, in a checkout, the git revision.

    Returns
    -------
    dict of str to str
        ``versions`` (a JSON object), ``platform``, ``cpu`` and ``git_revision``, which ends in
        ``-dirty`` when the code was changed since, and is missing outside of a checkout.
    """
    recorded = {
        "versions": json.dumps(_versions()),
        "platform": platform.platform(),
        "cpu": processor(),
    }
    revision = _git_revision()
    return recorded | ({"git_revision": revision} if revision else {})


def library_version() -> str:
    """Return the version of this library, in a checkout that is not installed too."""
    project = _ROOT / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return _version(_DISTRIBUTION)


def code_version(experiment_file: str | None) -> str:
    """Return a digest of everything that decides what numbers a task gives.

    The library's source without its surface, the experiment's module with the private modules
    beside it, and the versions of the packages underneath. Unlike a git revision it tells two
    uncommitted changes apart, and ignores commits that change no code.

    Parameters
    ----------
    experiment_file : str or None
        Where the experiment's module lies, if it is one.
    """
    library = Path(__file__).resolve().parents[1]
    files = [
        file
        for file in sorted(library.rglob("*.py"))
        if file.relative_to(library).parts[0] not in _SURFACE
    ]
    if experiment_file:
        own = Path(experiment_file)
        files += [own, *sorted(own.parent.glob("_*.py"))]
    digest = hashlib.sha256(json.dumps(_versions(), sort_keys=True).encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def config_as_json(config: object) -> str:
    """Return a configuration as a JSON object with its fields in order.

    Raises
    ------
    ExperimentError
        If `config` is not a dataclass instance.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ExperimentError(
            f"a configuration must be an instance of a frozen dataclass, found "
            f"{type(config).__name__}. Pass one of the experiment's SCALES, or Config(...)."
        )
    return json.dumps(dataclasses.asdict(config), default=_plain)


def _plain(value: object) -> object:
    """Return a value in full as something that JSON can hold."""
    import numpy as np
    import torch

    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    raise ExperimentError(
        f"a field of the configuration holds a {type(value).__name__}, which cannot be recorded. "
        "Use numbers, text, and tuples of them."
    )


def _versions() -> Mapping[str, str]:
    # Commands that only read never come here, and start without torch.
    from limits.kernels import STREAM_VERSION

    return {
        "limits": library_version(),
        "streams": str(STREAM_VERSION),
        **{name: _version(name) for name in _RECORDED},
        "python": platform.python_version(),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def processor() -> str:
    """Return the model of this machine's processor."""
    # On Linux platform.processor() is empty or names the architecture only.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _git_revision() -> str | None:
    # A library installed somewhere inside another project's checkout is not that project.
    top = _git("rev-parse", "--show-toplevel")
    revision = _git("rev-parse", "HEAD")
    if not top or not revision or Path(top).resolve() != _ROOT:
        return None
    # Figures change whenever an experiment is run; only code and versions count as changes.
    changes = _git("status", "--porcelain", "--", "limits", "experiments", "pyproject.toml")
    return f"{revision}-dirty" if changes else revision


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments],
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
