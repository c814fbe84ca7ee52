"""PNG files and the metadata in them: what Pillow refuses to inflate, and what lies behind the pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import IO

_MAGIC = b"\x89PNG\r\n\x1a\n"
#: Chunks of text and profiles, which may be compressed.
_METADATA = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
#: Chunks that may hold EXIF.
_EXIF = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")

#: What is said of a file whose metadata was passed over.
PASSED_OVER = "text and profile passed over, since they are too large"


def has_late_exif(file: IO[bytes]) -> bool:
    """Whether a PNG has chunks behind its pixels that may hold EXIF: then its orientation takes decoding. Leaves
    ``file`` where it was."""
    place = file.tell()
    try:
        late = False
        for kind, _, _ in _chunks(file):
            late = late or kind == b"IDAT"
            if late and kind in _EXIF:
                return True
        return False
    finally:
        file.seek(place)


def is_too_large(file: IO[bytes], error: Exception) -> bool:
    """Whether Pillow refuses a PNG for its metadata alone: text or a profile that inflates to more than
    ``PngImagePlugin.MAX_TEXT_CHUNK``, which belongs to all of the process."""
    text = str(error).lower()
    if not isinstance(error, ValueError) or not ("data too large" in text or "used in text chunks" in text):
        return False
    file.seek(0)
    return file.read(len(_MAGIC)) == _MAGIC


def without_metadata(file: IO[bytes]) -> IO[bytes]:
    """The same PNG without its text and profile, in memory."""
    kept = io.BytesIO()
    kept.write(_MAGIC)
    for kind, start, size in _chunks(file):
        if kind not in _METADATA:
            file.seek(start)
            kept.write(file.read(size))
    kept.seek(0)
    return kept


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where it starts, bytes with length and checksum) of each whole chunk header."""
    start = len(_MAGIC)
    while True:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[:4], "big") + 12
        yield head[4:], start, size
        start += size
        if start > file.seek(0, os.SEEK_END):
            return
