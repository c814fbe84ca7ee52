"""Opening image files: regular ones, of a bounded size, and nothing that could block."""

from __future__ import annotations

import io
import os
from typing import IO

from navit_edge.errors import InvalidInputError
from navit_edge.files import kind_of, open_checked, shown

__all__ = ["open_regular", "shown"]

#: Most calls of ``read`` for one file. A JPEG of 100 MB takes ten thousand, a PNG a few hundred thousand; a header of
#: millions of empty comments, read byte by byte, would take minutes of processor time.
MOST_READS = 4_000_000


class _Reader(io.BufferedReader):
    """A file that gives up when somebody reads it in too many pieces."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads = _one_more(self._reads)
        return super().read(size)


class MemoryFile(io.BytesIO):
    """The same of bytes in memory."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads = _one_more(self._reads)
        return super().read(size)


def _one_more(reads: int) -> int:
    if reads >= MOST_READS:
        raise InvalidInputError(
            f"has a header that takes more than {MOST_READS:,} reads; expected metadata of a usual size; save it anew"
        )
    return reads + 1


def open_regular(path: str | os.PathLike[str], most_bytes: int, *, expected: str = "an image") -> IO[bytes]:
    """The file, to be read. Raises InvalidInputError if it is missing, no regular file, empty, or too large.

    expected: what messages say was looked for."""
    try:
        handle = open_checked(path, lambda found: _check(found, most_bytes, expected), follow_links=True)
    except FileNotFoundError:
        raise InvalidInputError(f"no such file; expected {expected}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, InvalidInputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"cannot be opened ({reason}); check the path and its permissions") from error
    return _Reader(io.FileIO(handle, "rb"))


def _check(found: os.stat_result, most_bytes: int, expected: str) -> None:
    if kind := kind_of(found.st_mode):
        raise InvalidInputError(
            f"is {kind}; expected {expected} file; read it yourself and pass an array or a PIL image"
        )
    if found.st_size == 0:
        raise InvalidInputError(f"is an empty file, 0 bytes; expected {expected}; check how it was written")
    check_bytes(found.st_size, most_bytes)


def check_bytes(size: int, most_bytes: int) -> None:
    """Raises InvalidInputError if an image file of ``size`` bytes is too large."""
    if size > most_bytes:
        raise InvalidInputError(
            f"has {size:,} bytes; expected at most {most_bytes:,}; allow more with DecodeOptions(max_file_bytes=…) or "
            "--max-file-bytes"
        )
