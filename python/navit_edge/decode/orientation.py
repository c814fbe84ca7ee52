"""Turning images upright: one rule for all formats, by the EXIF tag 274 and what Pillow puts there for containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_TAG = 274


def orientation_of(image: Image.Image) -> tuple[int, str]:
    """The orientation, 1 to 8 as EXIF has it, and what has to be said of it, "" for nothing.

    1 if there is none, or none that can be read. Pillow's ``getexif``: EXIF, a PNG's raw profile, XMP, the TIFF tag,
    of AVIF the container's ``irot`` and ``imir``. Of a PNG call it when the pixels are loaded: EXIF may lie behind
    them.
    """
    try:
        value = image.getexif().get(_TAG, 1)
    except MemoryError:
        raise
    except Exception:  # a damaged block of metadata does not make the pixels worse
        return 1, "its EXIF cannot be read"
    return (int(value), "") if isinstance(value, int) and 2 <= value <= 8 else (1, "")


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned and mirrored as the orientation says; itself for 1. As ``ImageOps.exif_transpose``, which also
    writes the EXIF anew and fails if that is damaged."""
    if orientation == 1:
        return image
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(methods[orientation])


def turns_sideways(orientation: int) -> bool:
    """Whether height and width change places."""
    return orientation >= 5
