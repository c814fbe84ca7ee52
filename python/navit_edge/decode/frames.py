"""The frames of an animation and the pages of a file, one after the other, each through the same decoder as an image of
its own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from navit_edge.decode.limits import check_pixels, pixel_limit, tiff_directories
from navit_edge.decode.refusals import refusals
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    from navit_edge.decode.options import DecodeOptions

#: Formats whose header says how many frames there are; in others it would have to be counted.
COUNTED = ("AVIF", "HEIF", "MPO", "PNG", "WEBP")
#: Formats whose frames are shown one after the other and build on those before them; pages of others stand alone.
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
#: Browsers show a frame for so long that states at most ten milliseconds.
_SHORT_S = 0.1
_LEAST_S = 0.010
#: Bits of TIFF's tag 254: a smaller copy of another page, a mask.
_NO_PAGE = 1 | 4
_NEW_SUBFILE_TYPE = 254
_MP_ENTRIES = 0xB002


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """image: loaded, upright, of mode L, RGB or RGBA. done: what was done on the way, in words, each once."""

    image: Image.Image
    done: tuple[str, ...] = ()


class FrameSource:
    """What ``Frames`` needs of an opened file."""

    def __init__(
        self,
        finish: Callable[[Image.Image, tuple[str, ...]], Decoded],
        options: DecodeOptions,
        image: ImageFile.ImageFile,
        file: IO[bytes],
        name: str,
        *,
        cut: bool,
    ) -> None:
        self._finish, self._name, self.cut = finish, name, cut
        self.image, self.file = image, file
        self.most_frames, self.most_pixels = options.max_frames, options.max_pixels
        self.frame_count = int(getattr(image, "n_frames", 1)) if image.format in COUNTED else None

    def decode_frame(self) -> Decoded:
        """The frame where the image stands, in memory of its own."""
        decoded = self._finish(self.image, ())
        return replace(decoded, image=decoded.image.copy()) if decoded.image is self.image else decoded

    @contextmanager
    def refusals(self, frame: int, where: str = "frame {}") -> Iterator[None]:
        """As of images, with the frame in the message."""
        name = f"{self._name}, {where.format(frame)}" if frame >= 0 else self._name
        with refusals(name), pixel_limit(self.most_pixels):
            yield

    def ends_with(self, mark: bytes) -> bool:
        """Whether the file's last bytes, zeros apart, are ``mark``."""
        place = self.file.tell()
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(max(0, size - 4096))
        last = self.file.read().rstrip(b"\0")
        self.file.seek(place)
        return last.endswith(mark) or not last


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
