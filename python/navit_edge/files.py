"""Reading small files: regular ones, of a bounded size, and nothing that could block.

Files of a bundle are read without following a link; files that a user named may be reached through one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from navit_edge.errors import BundleError, NavitEdgeError

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str:
    """What a file of ``st_mode`` is, in words; empty where it is a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for test, words in _KINDS if test(mode)), "no file")


def open_regular(
    path: str | os.PathLike[str],
    *,
    most_bytes: int,
    follow_links: bool = False,
    dir_fd: int | None = None,
    error: type[NavitEdgeError] = BundleError,
) -> int:
    """A descriptor of the file, to be read and closed by the caller.

    Raises:
        error: It is no regular file, is a link where those are not followed, or has more than ``most_bytes``.
        OSError: It is missing, or the system does not open it.
    """
    _check(path, os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_links), most_bytes, error)
    # Looked at first: opening a device can do things. What is put there between the two does not block, either.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    handle = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        _check(path, os.fstat(handle), most_bytes, error)
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_regular(
    path: str | os.PathLike[str],
    *,
    most_bytes: int,
    follow_links: bool = False,
    dir_fd: int | None = None,
    error: type[NavitEdgeError] = BundleError,
) -> bytes:
    """The whole file. Raises as ``open_regular`` does, also where the file grows while it is read."""
    handle = open_regular(path, most_bytes=most_bytes, follow_links=follow_links, dir_fd=dir_fd, error=error)
    with open(handle, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise error(_too_large(path, f"more than {most_bytes:,}", most_bytes))
    return content


def _check(path: str | os.PathLike[str], found: os.stat_result, most_bytes: int, error: type[NavitEdgeError]) -> None:
    name = _shown(path)
    if stat.S_ISLNK(found.st_mode):
        raise error(f"{name} is a link; expected the file itself; copy it there (cp -L)")
    if kind := kind_of(found.st_mode):
        raise error(f"{name} is {kind}; expected a regular file; write its content to one")
    if found.st_size > most_bytes:
        raise error(_too_large(path, f"{found.st_size:,}", most_bytes))


def _too_large(path: str | os.PathLike[str], found: str, most_bytes: int) -> str:
    return f"{_shown(path)} has {found} bytes; expected at most {most_bytes:,}; check that it is the right file"


def _shown(path: str | os.PathLike[str]) -> str:
    """Bytes that are not UTF-8 as ``\\xNN``, so that the message can be written anywhere."""
    return os.fsencode(Path(path)).decode("utf-8", "backslashreplace")
