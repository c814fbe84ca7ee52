"""Where a result is written: a file, a pipe, a device, a descriptor of this process; what stands there already.

One rule for every option that names an output (docs/run.md, "Where it is written"): what is no regular file is written
to and never replaced; a link is followed, and what it leads to is written.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from navit_edge.errors import NavitEdgeError
from navit_edge.files import write_all, write_whole
from navit_edge.text import shown

#: Names of the descriptors that this process was started with.
_DESCRIPTOR = re.compile(r"/(?:dev/fd|proc/(?:self|thread-self|\d+)/fd)/(\d+)\Z")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
#: What a file that cannot be replaced, only written over, gives: one that is mounted into a container; a folder that
#: takes no new names.
_ONLY_IN_PLACE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS}


class OutputError(NavitEdgeError):
    """Results cannot be written: the disk is full, a limit is reached, the place cannot be written to."""


class Kind(Enum):
    """What stands where something is to be written."""

    NOTHING = "nothing"
    FILE = "a file"
    FOLDER = "a folder"
    PIPE = "a pipe"
    DEVICE = "a device"
    DESCRIPTOR = "a descriptor"
    SOCKET = "a socket"


@dataclass(frozen=True, kw_only=True)
class Place:
    """given: as it was named, for messages. path: what it leads to. descriptor: of a ``/dev/fd/N``, else -1."""

    given: str
    path: Path
    kind: Kind
    descriptor: int = -1

    @property
    def is_stream(self) -> bool:
        """Written from its beginning to its end, never replaced, never gone on with."""
        return self.kind in (Kind.PIPE, Kind.DEVICE, Kind.DESCRIPTOR)

    def open_stream(self) -> int:
        """A descriptor to be written to and closed. Waits until a pipe has a reader. Raises OutputError."""
        try:
            if self.kind is Kind.DESCRIPTOR:
                return os.dup(self.descriptor)
            return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise cannot_open(self.given, error) from error


def find_place(output: str | os.PathLike[str]) -> Place:
    """What stands at ``output``. Raises OutputError if there can be nothing: there is no folder, links go round."""
    given = os.fspath(output)
    if not given:
        raise OutputError("the output's name is empty (''); expected a path")
    descriptor = _descriptor_of(given)
    if descriptor >= 0:
        try:
            kind = _kind_of(os.fstat(descriptor).st_mode)
        except OSError as error:
            raise cannot_open(given, error) from error
        if kind is not Kind.FOLDER:
            return Place(given=given, path=Path(given), kind=Kind.DESCRIPTOR, descriptor=descriptor)
    try:
        path = Path(os.path.realpath(given))
        kind = _kind_of(os.stat(path).st_mode)
    except FileNotFoundError:
        if given.endswith("/") or not path.parent.is_dir():
            parent = path if given.endswith("/") else path.parent
            raise OutputError(f"{shown(given)}: there is no folder {shown(parent)}; make it first") from None
        kind = Kind.NOTHING
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise cannot_open(given, error) from error
    if kind is Kind.SOCKET:
        raise OutputError(f"{shown(given)} is a socket; expected a file, a pipe or a device")
    return Place(given=given, path=path, kind=kind)


def cannot_open(given: str | os.PathLike[str], error: OSError | ValueError) -> OutputError:
    """In the system's words."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{shown(os.fspath(given))} cannot be written: {reason}; check the path and its permissions")


def cannot_write(given: str | os.PathLike[str], error: OSError) -> OutputError:
    """Where a report or a picture ends half-way: nothing of it is kept."""
    return OutputError(
        f"{shown(os.fspath(given))} cannot be written: {error.strerror or error}; make room there, or take another "
        "place"
    )


def check_file_place(output: str | os.PathLike[str]) -> Place:
    """Where ``write_file`` will write: before work is begun that would be lost. Raises OutputError."""
    place = find_place(output)
    if place.kind is Kind.FOLDER:
        raise OutputError(f"{shown(place.given)} is a folder; expected a file: name one in it")
    require_writable(place)
    return place


def require_writable(place: Place) -> None:
    """Raises OutputError if the system's permissions are against it."""
    if place.kind is Kind.DESCRIPTOR:
        return
    folder = place.path if place.kind is Kind.FOLDER else place.path.parent
    if place.kind in (Kind.NOTHING, Kind.FOLDER) and not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"{shown(place.given)} cannot be written: {shown(folder)} takes no new files; check its permissions"
        )
    if place.kind not in (Kind.NOTHING, Kind.FOLDER) and not os.access(place.path, os.W_OK):
        raise OutputError(f"{shown(place.given)} cannot be written: Permission denied; check its permissions")


def write_file(output: str | os.PathLike[str], data: bytes) -> None:
    """Writes a report, a trace, a picture.

    A file appears whole or not at all, in place of one that was there, with the permissions of that one; nothing else
    is left behind. A pipe or a device is written to. Raises OutputError; BrokenPipeError if the reader has gone.
    """
    place = check_file_place(output)
    try:
        if place.is_stream:
            _write_and_close(place.open_stream(), data)
        else:
            _replace(place, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(place.given, error) from error


def _replace(place: Place, data: bytes) -> None:
    path = place.path
    try:
        beside = f".navit-edge-{secrets.token_hex(4)}.tmp"
        write_whole(path, data, beside=beside, mode=_mode_of(path))
    except OSError as error:
        if place.kind is not Kind.FILE or error.errno not in _ONLY_IN_PLACE:
            raise
        _write_and_close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), data)


def _mode_of(path: Path) -> int | None:
    """Permissions of the file that is there."""
    with suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    return None


def _write_and_close(handle: int, data: bytes) -> None:
    try:
        write_all(handle, data)
    finally:
        os.close(handle)


def _descriptor_of(given: str) -> int:
    """Of this process; -1 if ``given`` names none. A link to ``/dev/stdout`` is followed."""
    seen = given
    for _ in range(8):
        plain = os.path.normpath(seen)
        if plain in _STANDARD:
            return _STANDARD[plain]
        match = _DESCRIPTOR.search(plain) if plain.startswith(("/dev/fd/", "/proc/")) else None
        if match and (plain.startswith("/dev/fd/") or plain.split("/")[2] in ("self", "thread-self", str(os.getpid()))):
            return int(match[1])
        if not os.path.islink(seen):
            return -1
        try:
            seen = os.path.join(os.path.dirname(seen), os.readlink(seen))
        except OSError:
            return -1
    return -1


def _kind_of(mode: int) -> Kind:
    tests = ((stat.S_ISREG, Kind.FILE), (stat.S_ISDIR, Kind.FOLDER), (stat.S_ISFIFO, Kind.PIPE),
             (stat.S_ISSOCK, Kind.SOCKET))  # fmt: skip
    return next((kind for test, kind in tests if test(mode)), Kind.DEVICE)
