"""Files that are either whole or not there, whatever happens while they are written."""

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from limits.exceptions import StoreError
from limits.placeholders import placeholder

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = [
    "dataset_bytes",
    "dataset_of",
    "load_dataset",
    "prepare_folder",
    "refusal",
    "save_dataset",
    "write_bytes",
]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ENGINE = "netcdf4"
# Two threads inside the HDF5 library end the process.
_ONE_AT_A_TIME = threading.Lock()
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_bytes(path: str | Path, payload: bytes) -> None:
    """Write a file so that a reader finds the old one or the new one, and never a part of it.

    The bytes go to a file beside the target, are flushed to the disk, and the file is then
    renamed onto the target. The file aside is removed on any failure, an interrupt included.

    Parameters
    ----------
    path : str or Path
        Where to write. The folder must exist; an existing file is replaced.
    payload : bytes
        What to write.

    Raises
    ------
    StoreError
        If the operating system refuses: no space, no permission, no such folder. The target is
        then what it was before.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        _write_flushed(aside, payload)
        aside.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(refusal(f"{len(payload):,} bytes to {path}", path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def save_dataset(dataset: "Dataset", path: str | Path) -> None:
    """Write a dataset as one netCDF-4 file, whole or not at all.

    Parameters
    ----------
    dataset : xarray.Dataset
        What to keep.
    path : str or Path
        Where to write, usually ending in ``.nc``. The folder must exist.

    Raises
    ------
    StoreError
        If the dataset holds something that netCDF cannot, or the file cannot be written.
    """
    write_bytes(path, dataset_bytes(dataset))


def dataset_bytes(dataset: "Dataset") -> bytes:
    """Return a dataset as the bytes of one netCDF-4 file, made in memory.

    Raises
    ------
    StoreError
        If the dataset holds something that netCDF cannot.
    """
    try:
        with _ONE_AT_A_TIME:
            return bytes(dataset.to_netcdf(engine=_ENGINE))
    except (AttributeError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(
            f"cannot store a dataset with variables {_names(dataset)}, because netCDF has no way "
            f"to hold it: {error}. Use numbers and text for variables, coordinates and attributes."
        ) from error


def load_dataset(path: str | Path) -> "Dataset":
    """Read a netCDF-4 file into memory; the file is closed when this returns.

    Parameters
    ----------
    path : str or Path
        A file written by `save_dataset`.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    StoreError
        If the file is missing, unreadable, damaged or of another kind.
    """
    path = Path(path)
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise StoreError(_cannot_read(path, error)) from error
    return dataset_of(payload, path)


def dataset_of(payload: bytes, path: str | Path) -> "Dataset":
    """Return the dataset in the bytes of a netCDF-4 file; `path` is for messages."""
    if not payload.startswith(_SIGNATURE):
        other = placeholder(path)
        if other:
            raise StoreError(f"cannot read it: {other}")
        raise StoreError(
            f"cannot read {path}, because it is not a netCDF-4 file: it has {len(payload):,} bytes "
            f"and starts with {payload[:8]!r}. Pass a .nc file that `limits run` wrote."
        )
    # The C libraries underneath answer damage with whatever exception comes first.
    try:
        with _ONE_AT_A_TIME:
            # Encodings of one file, such as the length of its texts, would cut those of others
            # that are joined to it.
            import xarray

            return xarray.load_dataset(payload, engine=_ENGINE).drop_encoding()
    except Exception as error:
        raise StoreError(
            f"cannot read {path}, because its {len(payload):,} bytes are damaged: {error}. Run the "
            "experiment again or fetch the file again."
        ) from error


def prepare_folder(path: str | Path) -> Path:
    """Make a folder, parents included, and prove that a file can be written in it.

    Worth calling before an hour of computing rather than after.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If the folder cannot be made or written to.
    """
    path = Path(path)
    probe = path / f".{uuid4().hex}.partial"
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write_flushed(probe, b"\0")
    except OSError as error:
        raise StoreError(refusal(f"into the folder {path}", path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return path


def _write_flushed(path: Path, payload: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        rest = memoryview(payload)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    # Without this a power cut can undo the rename. Only POSIX systems can open a folder.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refusal(what: str, path: Path, error: OSError) -> str:
    """Return the message for a file that the operating system refuses to write."""
    space = _free_space(path) if error.errno in _NO_SPACE else ""
    return (
        f"cannot write {what}: {_reason(error)}{space}. {_remedy(error)} "
        "Nothing half-written was left."
    )


def _cannot_read(path: Path, error: OSError) -> str:
    found = ""
    if isinstance(error, FileNotFoundError):
        near = sorted(file.name for file in path.parent.glob("*.nc"))[:5]
        found = f"; {path.parent} holds {', '.join(near) or 'no .nc file'}"
    return f"cannot read {path}: {_reason(error)}{found}. Pass a .nc file that `limits run` wrote."


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _free_space(path: Path) -> str:
    with contextlib.suppress(OSError):
        existing = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path())
        return f" ({shutil.disk_usage(existing).free:,} bytes are free there)"
    return ""


def _remedy(error: OSError) -> str:
    if error.errno in _NO_SPACE:
        return "Free some space or write to another disk."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "Part of that path is a file and not a folder: choose another folder."
    if error.errno == errno.ENOENT:
        return "Make the folder first, or choose one that exists."
    if error.errno == errno.EISDIR:
        return "A folder has that name: choose another file name."
    return "Choose a folder that you may write to."


def _names(dataset: "Dataset") -> str:
    return ", ".join(str(name) for name in dataset.variables) or "(none)"
