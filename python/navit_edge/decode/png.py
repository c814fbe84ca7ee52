"""PNG files by the C++ core, with the copy of libpng that Pillow's wheel brings, or the system's: the same bytes, since
PNG loses nothing."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge import _core
from navit_edge.decode import color, depth, orientation
from navit_edge.decode.by_core import DecodedPixels, Plan, Resizing
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import ImageFile

    from navit_edge.decode.options import Recorded

#: Pillow's modes of PNG files -> of what type what it says of transparent colours is, if there are any.
_MODES: dict[str, tuple[type, ...]] = {"1": (), "L": (int,), "I;16": (), "LA": (), "P": (int, bytes), "RGB": (tuple,),
                                       "RGBA": ()}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PngPlan(Plan):
    """channels: of the pixels that come out; what has an alpha channel and is resized becomes RGB before, by
    ``recorded``. interlaced: all of the image is in memory at once."""

    recorded: Recorded
    interlaced: bool

    @property
    def pixel_bytes(self) -> int:
        height_px, width_px = self.size
        return height_px * width_px * self.channels if self.interlaced else super().pixel_bytes

    def decode(self, data: bytes) -> DecodedPixels:
        pixels, transparent = _core.decode_png(
            data, self.size, self.resize, *self.names, self.recorded.alpha, self.recorded.background
        )
        alpha = color.alpha_words(self.recorded) if transparent else ""
        return DecodedPixels(pixels, (*self.done, alpha) if alpha else self.done)


@functools.cache
def library() -> tuple[str, str]:
    """(the path of the library that decodes, ""), or ("", why Pillow decodes instead)."""
    import PIL

    wheel = Path(PIL.__file__).parent.parent / "pillow.libs"
    return _core.open_png_library(str(next(iter(sorted(wheel.glob("libpng16*"))), "")))


def is_whole(data: bytes) -> bool:
    """Whether the chunks of a file can be followed to the last, within the core's limits, and nothing behind the pixels
    says anything of the image: the core does not look for it there, and Pillow does."""
    try:
        return not _core.has_late_png_metadata(data)
    except InvalidInputError:
        return False


def plan(image: ImageFile.ImageFile, recorded: Recorded, resizing: Resizing | None) -> PngPlan | None:
    """For a PNG file whose header Pillow has read, if it ``is_whole``; None if it is for Pillow to decode: images that
    have to be turned or converted, animations, a transparent gray of 1 or 16 bits, alpha that is to be refused, and
    files whose texts have names that stand for something else in Pillow."""
    if image.format != "PNG" or not library()[0] or not _is_plain(image):
        return None
    turn, why = _orientation_of(image) if recorded.orientation == "apply" else (1, "")
    colours = color.words_if_unchanged(image, recorded.icc)
    alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
    if turn != 1 or colours is None or (alpha and recorded.alpha == "reject"):
        return None
    size = (image.height, image.width)
    resize = resizing.of(*size) if resizing else None
    channels = 3 if resize else 4
    if not alpha:
        channels = 1 if image.mode in ("L", "I;16") else 3
    deep = "16 bits reduced to 8" if ";16" in depth.raw_mode_of(image) else ""
    return PngPlan(
        size=size,
        resize=resize,
        channels=channels,
        resizing=resizing,
        done=tuple(word for word in (why, deep, *colours) if word),
        recorded=recorded,
        interlaced="interlace" in image.info,
    )


def _is_plain(image: ImageFile.ImageFile) -> bool:
    """Whether it is one picture, and what Pillow has noted of it is from chunks that are for that."""
    info = image.info
    if image.mode not in _MODES or getattr(image, "custom_mimetype", None) is not None or len(image.tile) != 1:
        return False
    whole = image.tile[0].extents == (0, 0, image.width, image.height)
    key = info.get("transparency")
    return whole and info.get("interlace") in (None, 1) and (key is None or isinstance(key, _MODES[image.mode]))


def _orientation_of(image: ImageFile.ImageFile) -> tuple[int, str]:
    """By what Pillow has read before the pixels; the image's own ``getexif`` would read those too."""
    from PIL import Image

    stand_in = Image.new("L", (1, 1))
    stand_in.info = image.info
    return orientation.orientation_of(stand_in)
