"""Whether a container is all there, by the sizes that it states itself: what is cut off decodes without an error.

Only the structure is read: headers of boxes and elements, no pictures. Whatever makes no sense ends the walk.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import IO

from navit_edge.run import iso

#: Most headers that are looked at, of a film of some days.
_MOST_STEPS = 4_000_000
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_EBML = b"\x1aE\xdf\xa3"
_UNKNOWN = -1


def stated_bytes(file: IO[bytes]) -> int | None:
    """How long the file is by its own sizes: of the boxes of ISO media (MP4, MOV), of Matroska's segment, of AVI's
    RIFF chunks. None if it does not say, as of a stream that was still being written."""
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF":
        return _riff(file)
    if head[:4] == _EBML:
        ends = [end for kind, _, end in _elements(file, 0, file.seek(0, os.SEEK_END)) if kind == _SEGMENT]
        return ends[-1] if ends and ends[-1] != _UNKNOWN else None
    return iso.stated_bytes(file) if iso.is_iso(file) else None


def cut_words(file: IO[bytes]) -> str:
    """What has to be said of a file that ends before its own sizes do; "" for any other."""
    expected, size = stated_bytes(file), file.seek(0, os.SEEK_END)
    return f"it is cut off, {size:,} of {expected:,} bytes" if expected is not None and expected > size else ""


def has_hole(file: IO[bytes]) -> bool:
    """Whether the structure of a Matroska file breaks off within: FFmpeg passes over such a place without a word."""
    file.seek(0)
    if file.read(4) != _EBML:
        return False
    size = file.seek(0, os.SEEK_END)
    return any(kind == 0 for kind, _, _ in _elements(file, 0, size, deep=True))


def _riff(file: IO[bytes]) -> int | None:
    start, size = 0, file.seek(0, os.SEEK_END)
    while start < size:
        file.seek(start)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):  # not filled in when it was written
            break
        start += 8 + length
    return start or None


def _elements(file: IO[bytes], start: int, end: int, *, deep: bool = False) -> Iterator[tuple[int, int, int]]:
    """(id, where it starts, where it ends) of EBML elements; an end of -1 if that is unknown. deep: those of
    segments and clusters, too. An id of 0 stands if there is none that makes sense, and is the last one."""
    for _ in range(_MOST_STEPS):
        if start >= end:
            return
        file.seek(start)
        head = io.BytesIO(file.read(12))
        kind, length = _number(head, keep_marker=True, most=4), _number(head, keep_marker=False, most=8)
        if kind is None or length is None:
            yield 0, start, start
            return
        content = start + head.tell()
        known = length != _UNKNOWN
        yield kind, start, content + length if known else _UNKNOWN
        inner = deep and kind in (_SEGMENT, _CLUSTER)
        start = content if inner or not known else content + length


def _number(data: io.BytesIO, *, keep_marker: bool, most: int) -> int | None:
    """EBML's numbers of varying length; -1 for "unknown", None for none."""
    first = data.read(1)
    width = 9 - first[0].bit_length() if first else most + 1
    if width > most:
        return None
    rest = data.read(width - 1)
    if len(rest) < width - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    if keep_marker:
        return value
    value &= (1 << 7 * width) - 1
    return _UNKNOWN if value == (1 << 7 * width) - 1 else value
