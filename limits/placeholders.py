"""Files that stand for other files: pointers of large-file storage, web pages."""

import re
from pathlib import Path

__all__ = ["placeholder"]

_HEAD = 1024
_POINTER = re.compile(rb"version https?://(git-lfs\.github|hawser\.github|git-media\.io)")
_SIZE = re.compile(rb"^size (\d+)", re.MULTILINE)
_ANNEX = re.compile(rb"(\.\./)*(\.git/annex|/annex)/objects/")
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml)", re.IGNORECASE)


def placeholder(path: str | Path) -> str:
    r"""Say what a file is if it only stands for the one that was meant, and how to get that.

    Parameters
    ----------
    path : str or Path
        A file that a user named.

    Returns
    -------
    str
        Two sentences, or nothing if the file may be what was meant or cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "model.safetensors"
    ...     _ = file.write_text("version https://git-lfs.github.com/spec/v1\nsize 498\n")
    ...     print(placeholder(file).removeprefix(str(file)))
     is a pointer of Git LFS (52 bytes) to a file of 498 bytes, which is not here. Run `git lfs
    pull` in its checkout, or download the file itself.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    if _POINTER.match(head):
        meant = _SIZE.search(head)
        of_size = f" of {int(meant[1]):,} bytes" if meant else ""
        return (
            f"{path} is a pointer of Git LFS ({size:,} bytes) to a file{of_size}, which is not "
            "here. Run `git lfs pull` in its checkout, or download the file itself."
        )
    if _ANNEX.match(head):
        return (
            f"{path} is a pointer of git-annex ({size:,} bytes), and its content is not here. Run "
            "`git annex get` in its checkout."
        )
    if _PAGE.match(head):
        return (
            f"{path} is a web page ({size:,} bytes), as downloads leave behind that ask for a "
            "login or show a file instead of sending it. Download the file itself."
        )
    return ""
