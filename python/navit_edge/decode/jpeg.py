"""JPEG files by the C++ core, with the copy of libjpeg-turbo that Pillow uses: the same bytes, without Python's lock,
and row by row into the resize if it is known to what. What it does not take, Pillow decodes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from navit_edge import _core
from navit_edge.decode import color, orientation
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import ImageFile

    from navit_edge.decode.options import Recorded
    from navit_edge.vocabulary import Decode

#: Formats that are JPEG files: of several pictures the first.
FORMATS = ("JPEG", "MPO")


class DecodedPixels(NamedTuple):
    """pixels: gray or RGB, upright; resized if ``resized_from`` of it says so. done: what was done, in words."""

    pixels: _core.Pixels
    done: tuple[str, ...]


class Resizing(NamedTuple):
    """To what a session resizes the images of a policy."""

    session: _core.Session
    policy: _core.Policy | None

    def of(self, height_px: int, width_px: int) -> tuple[int, int] | None:
        """(height_px, width_px); None if the session needs all of the image's pixels."""
        return self.session.resized_size(height_px, width_px, self.policy)


class Plan(NamedTuple):
    """How a file is decoded. size, resize: (height_px, width_px). done: what will have been done, in words."""

    size: tuple[int, int]
    resize: tuple[int, int] | None
    channels: int
    resizing: Resizing | None
    done: tuple[str, ...]
    mode: Decode = "exact"

    @property
    def pixel_bytes(self) -> int:
        """Of the pixels that come out."""
        height_px, width_px = self.resize or self.size
        return height_px * width_px * self.channels

    def decode(self, data: bytes) -> DecodedPixels:
        """Raises InvalidInputError for whatever is wrong with the file."""
        names = self.resizing.session.resizing if self.resizing else ("bilinear", "pillow")
        return DecodedPixels(_core.decode_jpeg(data, self.size, self.resize, *names, self.mode), self.done)


@functools.cache
def library() -> tuple[str, str]:
    """(the path of the library that decodes, ""), or ("", why Pillow decodes instead)."""
    from PIL import _imaging

    return _core.open_jpeg_library(_imaging.__file__)


def plan(
    image: ImageFile.ImageFile, recorded: Recorded, resizing: Resizing | None, mode: Decode = "exact"
) -> Plan | None:
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
    scale = _core.jpeg_scale(size, resize) if resize and mode == "scaled" else 1
    scaled = f"decoded at 1/{scale} of its sides" if scale > 1 else ""
    done = tuple(word for word in (why, *colours, scaled) if word)
    return Plan(size, resize, 1 if image.mode == "L" else 3, resizing, done, mode)


def check_scans(data: bytes) -> None:
    """Raises InvalidInputError if the file has more scans than any encoder makes: each costs as much as an image."""
    try:
        _core.check_jpeg_scans(data)
    except InvalidInputError as error:
        raise InvalidInputError(str(error).removeprefix("the JPEG file ")) from None
