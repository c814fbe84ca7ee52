"""The frames of an animation and the pages of a file, one after the other, each through the same decoder as an image of
its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from navit_edge.decode.limits import check_pixels, tiff_directories
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.decode.decoder import Decoded, FrameSource

#: Formats whose frames are shown one after the other and build on those before them; pages of others stand alone.
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
#: Browsers show a frame for so long that states at most ten milliseconds.
_SHORT_S = 0.1
_LEAST_S = 0.010
#: Bits of TIFF's tag 254: a smaller copy of another page, a mask.
_NO_PAGE = 1 | 4
_NEW_SUBFILE_TYPE = 254
_MP_ENTRIES = 0xB002


class FrameAt:
    """A frame that the file stands at. index: its place, from 0. duration_s: how long it is shown; None of a page."""

    def __init__(self, source: FrameSource, index: int, duration_s: float | None) -> None:
        self._source = source
        self.index = index
        self.duration_s = duration_s

    def decode(self) -> Decoded:
        """Its pixels, which stay. Only until the next frame is asked for. Raises InvalidInputError."""
        with self._source.refusals(self.index):
            return self._source.decode_frame()


class Frames:
    """The frames of an opened file, once, in order.

    timed: they are shown one after the other, and have durations; else they are pages, each an image of its own.
    count: how many the header says there are; None if it does not say.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._image: Any = source.image
        self.timed = self._image.format in _ANIMATED
        self.count = source.frame_count

    def __iter__(self) -> Iterator[FrameAt]:
        """Raises InvalidInputError behind the last one that there is, if frames are missing or cannot be reached.
        A page that cannot be decoded says so itself, and the next one follows; an animation ends there."""
        index = -1
        passed_over = int(self.timed and bool(getattr(self._image, "default_image", False)))  # APNG: no frame of it
        directories = tiff_directories(self._source.file) if self._image.format == "TIFF" else None
        place = passed_over
        while True:
            if not self._reach(place, directories, index):
                break
            if not self._is_picture(place):
                place += 1
                passed_over += 1
                continue
            index, place = place - (passed_over if self.timed else 0), place + 1
            yield FrameAt(self._source, index, self._duration_s(index) if self.timed else None)
        self._check_end(place, index)

    def _reach(self, place: int, directories: Iterator[int] | None, last: int) -> bool:
        """Goes to a frame; False behind the last one."""
        most = self._source.most_frames
        with self._source.refusals(last, "after frame {}"):
            if self.count is not None and place >= self.count:
                return False
            if place >= most:
                raise InvalidInputError(f"has more than {most:,} frames; allow more with DecodeOptions(max_frames=…)")
            if directories is not None:
                next(directories, None)  # before Pillow makes lists of its tags
            try:
                if place != self._image.tell():
                    self._image.seek(place)
            except EOFError:
                return False
            check_pixels(self._image.width, self._image.height, self._source.most_pixels)
        return True

    def _is_picture(self, place: int) -> bool:
        """Whether it is no smaller copy or mask of another page."""
        if self._image.format == "TIFF":
            kind = self._image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
            return not (isinstance(kind, int) and kind & _NO_PAGE)
        if self._image.format == "MPO":
            try:
                kind = self._image.mpinfo[_MP_ENTRIES][place]["Attribute"]["MPType"]
            except (KeyError, IndexError, TypeError, AttributeError):
                return True
            return not str(kind).startswith("Large Thumbnail")
        return True

    def _duration_s(self, index: int) -> float:
        with self._source.refusals(index):
            self._image.load()  # some formats learn it only here; and the next frame builds on it
        try:
            stated = float(self._image.info.get("duration", 0)) / 1000
        except (TypeError, ValueError):
            stated = 0.0
        return stated if math.isfinite(stated) and stated > _LEAST_S else _SHORT_S

    def _check_end(self, place: int, last: int) -> None:
        with self._source.refusals(last, "after frame {}"):
            if self.count is not None and place < self.count:
                raise InvalidInputError(f"ends after {place:,} of {self.count:,} frames; it is cut off or damaged")
            if self._image.format == "GIF" and not self._source.ends_with(b";"):
                raise InvalidInputError("ends without the mark of its end; it is cut off")
            if self._source.cut:
                raise InvalidInputError("ends in the middle of a frame; it is cut off")
