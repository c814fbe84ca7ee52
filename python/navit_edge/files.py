"""Small files: read if they are regular, of a bounded size, and nothing could block; written whole or not at all.

Files of a bundle are read without following a link; files that a user named may be reached through one.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from navit_edge import _core
from navit_edge.errors import BundleError, InvalidInputError, NavitEdgeError

#: Most bytes of a text that a user names: a list of labels or of sizes, a config, a checkpoint's index.
MOST_TEXT_BYTES = 64 << 20

T = TypeVar("T")

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str:
    """What a file of ``st_mode`` is, in words; empty if it is a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((words for test, words in _KINDS if test(mode)), "no file")


def open_checked(
    path: str | os.PathLike[str],
    check: Callable[[os.stat_result], None],
    *,
    follow_links: bool = False,
    dir_fd: int | None = None,
) -> int:
    """A descriptor, to be read and closed by the caller, of a file that ``check`` has not refused.

    ``check`` looks first, since opening a device can do things and opening a pipe waits, and again at what was opened:
    something else may have been put there. Raises what ``check`` raises, and OSError.
    """
    check(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_links))
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    handle = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        check(os.fstat(handle))
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
    remedy: str = "check that it is the right file",
) -> bytes:
    """The whole file.

    Raises error: It is no regular file, is a link if those are not followed, or has more than ``most_bytes``.
    Raises OSError: It is missing, or the system does not open it.
    """

    def check(found: os.stat_result) -> None:
        if kind := kind_of(found.st_mode):
            raise error(f"{shown(path)} is {kind}; expected a regular file; {remedy}")
        if found.st_size > most_bytes:
            raise too_large(str(found.st_size))

    def too_large(size: str) -> NavitEdgeError:
        return error(f"{shown(path)} has {size} bytes; expected at most {most_bytes}; {remedy}")

    with open(open_checked(path, check, follow_links=follow_links, dir_fd=dir_fd), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:  # it grew while it was read
        raise too_large(f"more than {most_bytes}")
    return content


def read_text(path: str | os.PathLike[str], *, expected: str) -> str:
    """A text in UTF-8 that a user names, without its byte order mark. Raises InvalidInputError with ``expected``."""
    try:
        raw = read_regular(
            path, most_bytes=MOST_TEXT_BYTES, follow_links=True, error=InvalidInputError, remedy=f"with {expected}"
        )
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{shown(path)} cannot be read: {error.strerror}; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{shown(path)} is not text in UTF-8 ({error}); expected {expected}") from None


def read_json(path: str | os.PathLike[str]) -> Any:
    """The same of JSON, of whatever depth. Raises InvalidInputError."""
    return parse_json(read_text(path, expected="an object of fields, as JSON"), what=shown(path))


def parse_json(text: str | bytes, *, what: str) -> Any:
    """JSON of others, as Python takes it. Raises InvalidInputError for all that it does not take."""
    try:
        return json.loads(text)
    except RecursionError:
        problem: object = "it is nested too deep"
    except ValueError as error:  # also integers of thousands of digits, and bytes that are not UTF-8
        problem = error
    raise InvalidInputError(f"{what} is not JSON: {problem}; expected an object of fields")


def decode_json(raw: bytes, type: type[T], *, source: str) -> T:
    """A file that we wrote, such as a report: as strict as a manifest (docs/bundle.md). Raises BundleError."""
    _core.check_json(raw, source=source, remedy="make it anew")
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.DecodeError as error:
        raise BundleError(f"{source} is not what was expected: {error}; make it anew") from None


def write_whole(
    path: str | os.PathLike[str],
    content: bytes | memoryview,
    *,
    beside: str,
    mode: int | None = None,
    dir_fd: int | None = None,
) -> None:
    """Writes a file whole or not at all, and on the disk when it returns; a link that has the name goes itself.

    beside: Name of the file beside it that is written first; one that a killed process left goes.
    mode: Permissions of the new file; None: those that the process gives to new files.

    Raises OSError; then nothing is left beside, and what had the name stands.
    """
    folder, name = os.path.split(os.fspath(path))
    staged = os.path.join(folder, beside)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=dir_fd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(staged, flags, 0o666, dir_fd=dir_fd)
    try:
        try:
            if mode is not None:
                os.fchmod(handle, mode)
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(staged, os.path.join(folder, name), src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged, dir_fd=dir_fd)
        raise
    if dir_fd is not None and not folder:
        os.fsync(dir_fd)
        return
    with contextlib.suppress(PermissionError):  # a folder that may be written to and not read
        sync_folder(folder or ".")


def write_all(handle: int, content: bytes | memoryview) -> None:
    """Writes to a descriptor, however many pieces the system takes it in."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def sync_file(path: Path) -> None:
    """So that its content outlives a power cut. A link is not followed."""
    _sync(path, os.O_RDONLY | os.O_NOFOLLOW)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """So that names in it outlive a power cut."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str | os.PathLike[str], flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shown(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """A path in messages: bytes that are not UTF-8 as ``\\xNN``, so that it can be written anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
