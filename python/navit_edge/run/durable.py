"""Files that are whole after any crash: appended to piece by piece, or published by a rename."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path

from navit_edge.files import sync_folder, write_whole
from navit_edge.place import OutputError
from navit_edge.text import shown


def cannot_write(path: str | os.PathLike[str], error: OSError) -> OutputError:
    return OutputError(
        f"{shown(os.fspath(path))}: {error.strerror or error}; what was written before is whole: make room there, or "
        "take another place, and run again with --resume"
    )


class AppendFile:
    """A regular file that grows by whole pieces: a piece that cannot be written whole is cut off again.

    Opens ``path``, or makes it. ``size`` is its length in whole pieces; what lies behind it is cut off by ``cut``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from error
        found = os.fstat(self._handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._handle)
            raise OutputError(f"{shown(path)} is no regular file; expected one")
        self.size = found.st_size

    def append(self, data: bytes) -> None:
        """Raises OutputError, and leaves the file as it was."""
        try:
            self._write(data, self.size)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._handle, self.size)
            raise cannot_write(self.path, error) from error
        self.size += len(data)

    def replace(self, offset: int, data: bytes) -> None:
        """Over bytes that are there already."""
        try:
            self._write(data, offset)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def cut(self, size: int) -> None:
        os.ftruncate(self._handle, size)
        self.size = size

    def sync(self) -> None:
        """Until the disk has it."""
        try:
            os.fdatasync(self._handle)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, offset)
            view, offset = view[written:], offset + written


def publish(path: Path, data: bytes) -> None:
    """Writes ``path`` at once: it is there whole, on the disk, or not at all. Raises OutputError."""
    try:
        write_whole(path, data, beside=f".{path.name}.tmp")
    except OSError as error:
        raise cannot_write(path, error) from error


class StagedFile:
    """A file that is written piece by piece beside ``path``, and has the name once it is whole and on the disk.

    file: To write to. Its errors are OSError: ``cannot_write`` says what to do.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._staged = path.with_name(f".{path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._staged.unlink(missing_ok=True)  # of a killed process
            self.file: BufferedWriter = open(os.open(self._staged, flags, 0o666), "wb")  # noqa: SIM115
        except OSError as error:
            raise cannot_write(path, error) from error

    def publish(self) -> None:
        """Raises OutputError; then nothing is left beside."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self._staged.replace(self._path)
            with suppress(PermissionError):  # a folder that may be written to and not read
                sync_folder(self._path.parent)
        except OSError as error:
            self.drop()
            raise cannot_write(self._path, error) from error

    def drop(self) -> None:
        with suppress(OSError):
            self.file.close()
        self._staged.unlink(missing_ok=True)


def remove_new(path: Path) -> None:
    """What a job that does not begin after all has made, under the lock of its journal: a file, or a folder of them."""
    with suppress(OSError):
        if not path.is_dir():
            path.unlink()
            return
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
