"""Paths on standard input, as they come."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import BinaryIO

from navit_edge.errors import InvalidInputError

#: Bytes of one path; Linux takes 4096.
_LONGEST_PATH = 1 << 16
_MARK = b"\xef\xbb\xbf"


def read_paths(stream: BinaryIO, *, null: bool, stop_fd: int) -> Iterator[bytes]:
    """Paths that end with a line's end, or with a NUL; none collected, empty ones left out.

    A byte order mark before the first path, and a carriage return before a line's end, belong to the list, unless there
    is a file with that name. Ends once ``stop_fd`` is readable. Raises InvalidInputError if it is no list of paths.
    """
    first = True
    for path in _read(stream, b"\0" if null else b"\n", stop_fd):
        if first and path.startswith((b"\xff\xfe", b"\xfe\xff")) and not os.path.lexists(path.split(b"\0")[0]):
            raise InvalidInputError(
                "standard input is UTF-16, as PowerShell writes it; expected paths in UTF-8: convert the list"
            )
        if not null and path.endswith(b"\r") and (b"\0" in path or not os.path.lexists(path)):
            path = path[:-1]
        if first and path.startswith(_MARK) and (b"\0" in path or not os.path.lexists(path)):
            path = path[len(_MARK) :]
        first = False
        if b"\0" in path:
            raise InvalidInputError("a path on standard input has a NUL in it; paths that end with one need --null")
        if path:
            yield path


def _read(stream: BinaryIO, separator: bytes, stop_fd: int) -> Iterator[bytes]:
    try:
        handle = stream.fileno()
    except (OSError, AttributeError):  # a buffer that stands for standard input
        handle = -1
    pending = b""
    while True:
        if handle < 0:
            chunk = stream.read(_LONGEST_PATH)
        else:
            waiting = [handle] if stop_fd < 0 else [handle, stop_fd]
            if stop_fd in select.select(waiting, [], [])[0]:
                return
            chunk = os.read(handle, _LONGEST_PATH)
        *paths, pending = (pending + chunk).split(separator)
        if not chunk and pending:
            paths, pending = [pending], b""
        yield from paths
        if len(pending) > _LONGEST_PATH:
            raise InvalidInputError(
                f"standard input is no list of paths: {len(pending)} bytes without a line end; expected a path a line, "
                "or --null"
            )
        if not chunk:
            return
