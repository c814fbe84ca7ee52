"""The boxes of ISO media files (MP4, MOV): how long they say the file is, and what their tables would take in memory.

FFmpeg makes some seventy bytes of each sample that a table counts, and a count of 2^32 takes twelve bytes of a file.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import IO, NamedTuple

from navit_edge.errors import InvalidInputError

#: Samples of all tracks, if each has a place of its own in memory: 37 hours of 60 frames a second, 500 MiB.
MOST_SAMPLES = 8_000_000
#: Samples of a track times the entries of its edit list, each of which may show all of them again.
MOST_EDITED = 64_000_000
#: Of a header that QuickTime has compressed, inflated.
MOST_HEADER_BYTES = 64 << 20
_MOST_BOXES = 1_000_000
_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


class Box(NamedTuple):
    """start, end: of its content."""

    kind: bytes
    start: int
    end: int


def is_iso(file: IO[bytes]) -> bool:
    file.seek(4)
    return file.read(4) in _FIRST


def boxes(file: IO[bytes], start: int, end: int) -> Iterator[Box]:
    """Those that lie side by side; the end of the last one may lie behind ``end``. Ends if there is none."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        if length == 0:
            length = end - start
        if length < header:
            return
        yield Box(head[4:8], start + header, start + length)
        start += length


def stated_bytes(file: IO[bytes]) -> int | None:
    """Where the last box ends; None if there is none."""
    size = file.seek(0, os.SEEK_END)
    end = None
    for box in boxes(file, 0, size):
        end = box.end
    return end


def check_tables(file: IO[bytes]) -> None:
    """Raises InvalidInputError if tables count more samples than ``MOST_SAMPLES``. What is damaged is left for
    FFmpeg to judge."""
    size = file.seek(0, os.SEEK_END)
    samples = 0
    for box in boxes(file, 0, size):
        if box.kind == b"moov":
            if packed := next(_below(file, box, size, b"cmov", b"cmvd"), None):
                check_tables(_inflated(file, packed))
            samples += sum(_samples_of(file, track, size) for track in _below(file, box, size, b"trak"))
        elif box.kind == b"moof":
            for run in _below(file, box, size, b"traf", b"trun"):
                samples += _number(file, run, 4)
        if samples > MOST_SAMPLES:
            raise InvalidInputError(
                f"states {samples:,} samples in its tables; expected at most {MOST_SAMPLES:,}; check it, or split it"
            )


def _inflated(file: IO[bytes], packed: Box) -> IO[bytes]:
    """The ``moov`` of a QuickTime file that keeps it compressed; what is damaged, up to there."""
    file.seek(packed.start + 4)
    unpacker = zlib.decompressobj()
    data = b""
    with suppress(zlib.error):
        data = unpacker.decompress(file.read(max(0, packed.end - packed.start - 4)), MOST_HEADER_BYTES + 1)
    if len(data) > MOST_HEADER_BYTES:
        raise InvalidInputError(
            f"has a compressed header of more than {MOST_HEADER_BYTES:,} bytes; save it anew, uncompressed"
        )
    return io.BytesIO(data)


def _samples_of(file: IO[bytes], track: Box, size: int) -> int:
    """Of a track; 0 of plain sound, which FFmpeg keeps in chunks."""
    table = (b"mdia", b"minf", b"stbl")
    sizes = [*_below(file, track, size, *table, b"stsz"), *_below(file, track, size, *table, b"stz2")]
    samples = sum(_number(file, box, 8) for box in sizes)
    durations = next(_below(file, track, size, *table, b"stts"), None)
    if durations is not None and _number(file, durations, 4) == 1 and _number(file, durations, 12) == 1:
        handler = next(_below(file, track, size, b"mdia", b"hdlr"), None)
        if handler is not None and _number(file, handler, 8) == int.from_bytes(b"soun", "big"):
            return 0
    edits = sum(_number(file, box, 4) for box in _below(file, track, size, b"edts", b"elst"))
    if samples * edits > MOST_EDITED and edits > 1:
        raise InvalidInputError(
            f"states {edits:,} edits of {samples:,} samples; expected a product up to {MOST_EDITED:,}; save it anew"
        )
    return samples


def _below(file: IO[bytes], box: Box, size: int, *path: bytes) -> Iterator[Box]:
    """The boxes at ``path`` within one."""
    for inner in islice(boxes(file, box.start, min(box.end, size)), 10_000):
        if inner.kind == path[0]:
            if len(path) == 1:
                yield inner
            else:
                yield from _below(file, inner, size, *path[1:])


def _number(file: IO[bytes], box: Box, place: int) -> int:
    """The number of 32 bits at a place in a box; 0 if it ends before."""
    if box.start + place + 4 > box.end:
        return 0
    file.seek(box.start + place)
    return int.from_bytes(file.read(4), "big")
