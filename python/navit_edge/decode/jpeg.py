"""JPEG files by the C++ core, with the copy of libjpeg-turbo that Pillow uses: the same bytes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from navit_edge import _core
from navit_edge.decode import color, orientation
from navit_edge.decode.by_core import DecodedPixels, Plan, Resizing
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import ImageFile

    from navit_edge.decode.options import Recorded
    from navit_edge.vocabulary import Decode

#: Formats that are JPEG files: of several pictures the first.
FORMATS = ("JPEG", "MPO")


@dataclass(frozen=True, kw_only=True)
class JpegPlan(Plan):
    """mode: whether all of its frequencies are decoded."""

    mode: Decode = "exact"

    def decode(self, data: bytes) -> DecodedPixels:
        return DecodedPixels(_core.decode_jpeg(data, self.size, self.resize, *self.names, self.mode), self.done)


@functools.cache
def library() -> tuple[str, str]:
    """(the path of the library that decodes, ""), or ("", why Pillow decodes instead)."""
    from PIL import _imaging

    return _core.open_jpeg_library(_imaging.__file__)


def plan(image: ImageFile.ImageFile, recorded: Recorded, resizing: Resizing | None) -> JpegPlan | None:
    """For a JPEG file whose header Pillow has read; None if it is for Pillow to decode: images that have to be turned
    or converted, CMYK, files of several pictures."""
    if image.format != "JPEG" or image.mode not in ("L", "RGB") or not library()[0]:
        return None
    turn, why = orientation.orientation_of(image) if recorded.orientation == "apply" else (1, "")
    colours = color.words_if_unchanged(image, recorded.icc)
    if turn != 1 or colours is None:
        return None
    size = (image.height, image.width)
    resize = resizing.of(*size) if resizing else None
    scale = _core.jpeg_scale(size, resize) if resize and recorded.decode == "scaled" else 1
    scaled = f"decoded at 1/{scale} of its sides" if scale > 1 else ""
    done = tuple(word for word in (why, *colours, scaled) if word)
    channels = 1 if image.mode == "L" else 3
    return JpegPlan(size=size, resize=resize, channels=channels, resizing=resizing, done=done, mode=recorded.decode)


def check_scans(data: bytes) -> None:
    """Raises InvalidInputError if the file has more scans than any encoder makes: each costs as much as an image."""
    try:
        _core.check_jpeg_scans(data)
    except InvalidInputError as error:
        raise InvalidInputError(str(error).removeprefix("the JPEG file ")) from None
