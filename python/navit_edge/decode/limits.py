"""Limits that are looked at before memory is taken: pixels by the header, values of TIFF tags."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from navit_edge.errors import InvalidInputError

#: Most values of one TIFF tag that are numbers: each becomes an object of some hundred bytes, a strip for one.
MOST_TAG_VALUES = 1 << 18


class TooManyPixelsError(InvalidInputError):
    """An image has more pixels than ``DecodeOptions.max_pixels``."""


class _ThreadLimit(threading.local):
    most: int | None = None


_thread = _ThreadLimit()


def check_pixels(width_px: int, height_px: int, most: int) -> None:
    """Raises TooManyPixelsError if the image has more pixels than ``most``."""
    if width_px * height_px > most:
        raise TooManyPixelsError(
            f"is {height_px}x{width_px} pixels (height x width), {width_px * height_px:,} in all; expected at most "
            f"{most:,}; allow more with DecodeOptions(max_pixels=…) or --max-pixels, or scale it down"
        )


@contextmanager
def pixel_limit(most: int) -> Iterator[None]:
    """Within it Pillow's decoders hold to ``most`` pixels, in this thread."""
    before, _thread.most = _thread.most, most
    try:
        yield
    finally:
        _thread.most = before


def hook_into_pillow() -> None:
    """Pillow checks sizes, some of them before it takes memory in the middle of a header, against one number for all of
    the process, which belongs to whoever set it. If a thread decodes for us the same check takes ``pixel_limit``;
    for everybody else it stays Pillow's own."""
    from PIL import Image

    original = getattr(Image, "_decompression_bomb_check", None)
    if original is None:  # a Pillow that checks otherwise: its limit stands beside ours
        return

    def check(size: tuple[int, int], *args: Any, **kwargs: Any) -> None:
        if _thread.most is None:
            original(size, *args, **kwargs)
        else:
            check_pixels(size[0], size[1], _thread.most)

    setattr(Image, "_decompression_bomb_check", check)  # noqa: B010


def check_tiff_tags(file: IO[bytes]) -> None:
    """Raises InvalidInputError if a tag of a TIFF file's first directory has more than ``MOST_TAG_VALUES`` numbers,
    which Pillow would make into a list of objects. What is no TIFF file, or a damaged one, is left for Pillow to judge.
    Leaves ``file`` at its start."""
    try:
        next(tiff_directories(file), None)
    finally:
        file.seek(0)


def tiff_directories(file: IO[bytes]) -> Iterator[int]:
    """Where each directory of a TIFF file begins, one for each page, after its tags have been checked as above. Ends
    where it is damaged, or leads in a circle. Leaves ``file`` anywhere while it is asked."""
    try:
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        big = 43 in head[2:4]
        if order is None or not (big or 42 in head[2:4]):
            return
        link = struct.Struct(f"{order}Q" if big else f"{order}L")
        entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHL4x")
        (start,) = link.unpack(head[8:16] if big else head[4:8])
        seen: set[int] = set()
        while start and start not in seen:
            seen.add(start)
            file.seek(start)
            (entries,) = struct.unpack(f"{order}Q" if big else f"{order}H", file.read(8 if big else 2))
            for _ in range(min(entries, 1 << 16)):
                _check_tiff_tag(*entry.unpack(file.read(entry.size)))
            behind = file.tell()
            yield start
            file.seek(behind)
            (start,) = link.unpack(file.read(link.size))
    except (struct.error, OSError, OverflowError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise


def _check_tiff_tag(tag: int, kind: int, count: int) -> None:
    if kind not in (1, 2, 7) and count > MOST_TAG_VALUES:  # bytes and text stay as they are
        raise InvalidInputError(
            f"has a TIFF tag ({tag}) with {count:,} values; expected at most {MOST_TAG_VALUES:,}; save it anew"
        )
