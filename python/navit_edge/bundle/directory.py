"""A bundle's files, reached through the descriptor of its directory: no link inside of it is ever followed.

A bundle may come from anywhere, and others may write to it meanwhile. So its directory is opened once (the path to it
may be a link), and all names are walked from there, one entry at a time, each opened without following links. What was
opened is what is read, replaced or removed, whatever is swapped in between.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from navit_edge.errors import BundleError
from navit_edge.files import kind_of, open_checked, write_whole

_CHUNK_BYTES = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_COPY_FILES = "copy the bundle with its files in place of links: cp -rL"


class Directory:
    """An open bundle directory. Names are those of the manifest: "engines/openvino-cpu.blob"."""

    def __init__(self, root: Path, handle: int) -> None:
        """``handle`` is borrowed; ``root`` names the directory in messages."""
        self.root = root
        self._handle = handle

    @contextlib.contextmanager
    def folder(self, name: str, *, create: bool = False) -> Iterator[int]:
        """The descriptor of a directory inside; "" is the bundle's own.

        Raises BundleError: A link or another thing than a directory is in its place.
        Raises FileNotFoundError: There is none.
        """
        at = os.dup(self._handle)
        try:
            path = ""
            for part in name.split("/") if name else ():
                path = f"{path}/{part}" if path else part
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=at)
                try:
                    inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                except OSError as error:
                    if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    raise self._refusal(path, at, part, "a directory") from None
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[int]:
        """The descriptor of a regular file inside, to be read. Raises BundleError, or OSError if it is not there."""
        folder, _, entry = name.rpartition("/")
        with self.folder(folder) as at:

            def check(found: os.stat_result) -> None:
                if not stat.S_ISREG(found.st_mode):
                    raise self._refusal(name, at, entry, "a regular file")

            handle = open_checked(entry, check, dir_fd=at)
        try:
            yield handle
        finally:
            os.close(handle)

    def check(
        self, name: str, sha256: str, size: int, *, remedy: str, use: Callable[[bytes], object] | None = None
    ) -> None:
        """Reads a file to its end, once, and hands each piece to ``use``: what it got counts only if this returns.

        Raises BundleError: It is missing, no regular file, or has another hash or size; the message ends with
            ``remedy``.
        """
        path = self.root / name
        try:
            with self.open(name) as handle:
                stated = os.fstat(handle).st_size
                if stated != size:
                    raise BundleError(f"{path} was altered: it has {stated} bytes; the manifest says {size}; {remedy}")
                found, read = digest(handle, most_bytes=size, use=use)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(f"{path} is missing; the manifest lists it with {size} bytes; {remedy}") from None
        except OSError as error:
            if use is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the copy
            raise BundleError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
        if read != size:
            raise BundleError(f"{path} changed while it was read; the manifest says {size} bytes; {remedy}")
        if found != sha256:
            raise BundleError(f"{path} was altered: its sha256 is {found}; the manifest says {sha256}; {remedy}")

    def has(self, name: str) -> bool:
        """Whether there is such a regular file."""
        try:
            with self.open(name):
                return True
        except (OSError, BundleError):
            return False

    def names(self, folder: str) -> list[str]:
        """What lies in a directory inside; nothing if there is none. Raises BundleError if it is a link."""
        try:
            with self.folder(folder) as at:
                return sorted(os.listdir(at))
        except FileNotFoundError:
            return []

    def place(self, source: Path, name: str) -> None:
        """Moves a file of the same file system in. A link that has the name already goes, its target stays."""
        folder, _, entry = name.rpartition("/")
        with self.folder(folder, create=True) as at:
            os.replace(source, entry, dst_dir_fd=at)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole or not at all, and syncs it."""
        folder, _, entry = name.rpartition("/")
        with self.folder(folder, create=True) as at:
            write_whole(entry, content, beside=f".{entry}.{os.getpid()}.tmp", dir_fd=at)

    def remove(self, name: str) -> None:
        """Removes a file, or the link that stands in its place; nothing if there is none."""
        folder, _, entry = name.rpartition("/")
        with contextlib.suppress(FileNotFoundError), self.folder(folder) as at:
            os.unlink(entry, dir_fd=at)

    def sync(self, folder: str) -> None:
        """Makes the renames in a directory inside durable."""
        with self.folder(folder) as at:
            os.fsync(at)

    def _refusal(self, name: str, at: int, entry: str, expected: str) -> BundleError:
        try:
            mode = os.stat(entry, dir_fd=at, follow_symlinks=False).st_mode
        except OSError:
            mode = 0
        found = kind_of(mode) or "a file"
        return BundleError(f"{self.root / name} is {found}; expected {expected} of the bundle itself; {_COPY_FILES}")


@contextlib.contextmanager
def opened(bundle: Path) -> Iterator[Directory]:
    """A bundle's directory, to be read. Raises BundleError if there is none."""
    try:
        handle = os.open(bundle, _DIRECTORY)
    except OSError as error:
        raise BundleError(f"{bundle} cannot be opened: {error.strerror}; expected a bundle directory") from error
    try:
        yield Directory(bundle, handle)
    finally:
        os.close(handle)


def digest(
    handle: int, *, most_bytes: int | None = None, use: Callable[[bytes], object] | None = None
) -> tuple[str, int]:
    """SHA-256 and size of an open file, read to its end, or to just past ``most_bytes``; ``use`` gets each piece."""
    hashed = hashlib.sha256()
    size = 0
    while chunk := os.read(handle, _CHUNK_BYTES):
        hashed.update(chunk)
        size += len(chunk)
        if most_bytes is not None and size > most_bytes:
            break
        if use is not None:
            use(chunk)
    return hashed.hexdigest(), size
