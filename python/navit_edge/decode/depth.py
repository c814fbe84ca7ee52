"""Eight bits out of more: by the full range of a file's own samples, v * 255 / maximum rounded, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image

#: Values at a time, so that numbers wider than eight bits take no memory worth the name.
_CHUNK = 1 << 20

_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # TIFF tags
_WHITE_IS_ZERO = 0
_SIGNED = 2


def raw_mode_of(image: Image.Image) -> str:
    """Pillow's name for how the samples of an image that is not loaded lie in its file, as "RGB;16B"; "" if it is
    loaded, or its decoder does not say."""
    tile = getattr(image, "tile", None)
    args: Any = tile[0].args if tile and hasattr(tile[0], "args") else tile[0][3] if tile else None
    first = args[0] if isinstance(args, (tuple, list)) and args else args
    return first if isinstance(first, str) else ""


def check_samples(image: Image.Image) -> None:
    """Raises InvalidInputError for TIFF files whose samples Pillow reads as something else."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return
    bits, signed = _first(tags.get(_BITS, 1)), _first(tags.get(_SAMPLE_FORMAT, 1)) == _SIGNED
    if signed or image.mode == "I":
        kind = "signed" if signed else "unsigned"
        raise InvalidInputError(
            f"holds {kind} integers of {bits} bits, whose range of brightness no file says; expected unsigned ones of "
            "at most 16 bits; scale it to 0..255 yourself and pass an array of uint8"
        )
    tile = getattr(image, "tile", None)
    if tags.get(_PLANAR, 1) == 2 and bits > 8 and tile and tile[0][0] == "raw":
        raise InvalidInputError(
            f"holds uncompressed planes of {bits} bits, one for each colour, which Pillow does not read right; "
            "expected colours side by side; save it anew, or compressed"
        )


def to_eight_bits(image: Image.Image, raw_mode: str) -> tuple[Image.Image, str]:
    """A loaded image with eight bits a channel, and what was done, "" for nothing.

    raw_mode: of ``raw_mode_of``. Raises InvalidInputError for samples that have no range of their own: integers of 32
    bits, and floats outside of 0 to 1.
    """
    if image.mode.startswith("I;16"):
        return _from_gray(image, np.asarray(image), _tiff_maximum(image))
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # scaled to 16 bits by Pillow
        return _from_gray(image, np.asarray(image), 65535)
    if image.mode == "I":
        raise InvalidInputError(
            "holds integers of 32 bits, whose range of brightness no image says; expected at most 16; scale it to "
            "0..255 yourself and pass an array of uint8"
        )
    if image.mode == "F":
        return _from_float(image)
    deep = ";16" in raw_mode
    key = image.info.get("transparency")
    if isinstance(key, tuple) and (deep or max(key) > 255):  # the colour that is transparent, still in 16 bits
        image = _with_key(image, tuple(value >> 8 for value in key))
    elif raw_mode in ("L;2", "L;4") and isinstance(key, int):
        image = _with_key(image, key * (85 if raw_mode == "L;2" else 17))
    return image, "16 bits reduced to 8" if deep else ""


def _with_key(image: Image.Image, key: int | tuple[int, ...]) -> Image.Image:
    """A copy, since the image may be the caller's."""
    copy = image.copy()
    copy.info["transparency"] = key
    return copy


def wide_ppm(image: Image.Image) -> tuple[Image.Image, str] | None:
    """A binary PGM or PPM file whose largest value is not 255, in numpy; None for any other. Pillow's own loop over its
    bytes gives the same and takes microseconds a pixel."""
    from PIL import Image

    tile = getattr(image, "tile", None)
    if image.format != "PPM" or not tile or tile[0][0] != "ppm" or image.mode not in ("L", "I", "RGB"):
        return None
    maximum = int(tile[0][3][1])
    bands = 3 if image.mode == "RGB" else 1
    dtype = np.dtype("u1" if maximum < 256 else ">u2")
    expected = image.width * image.height * bands * dtype.itemsize
    file = image.fp  # type: ignore[attr-defined]
    file.seek(tile[0][2])
    data = file.read(expected)
    if len(data) < expected:
        raise InvalidInputError(f"ends after {len(data):,} of {expected:,} bytes of pixels; it is cut off")
    values = np.frombuffer(data, dtype).reshape(image.height, image.width * bands)
    pixels = _scaled(values, maximum).reshape(image.height, image.width, bands)
    made = Image.fromarray(pixels[:, :, 0] if bands == 1 else pixels)
    return made, f"values of 0 to {maximum} scaled to 255"


def _tiff_maximum(image: Image.Image) -> int:
    tags = getattr(image, "tag_v2", None)
    bits = _first(tags.get(_BITS, 16)) if tags is not None else 16
    return (1 << bits) - 1 if isinstance(bits, int) and 9 <= bits <= 16 else 65535


def _from_gray(image: Image.Image, values: npt.NDArray[Any], maximum: int) -> tuple[Image.Image, str]:
    from PIL import Image

    made = Image.fromarray(_scaled(values, maximum, inverted=_is_white_zero(image)))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        made = Image.merge("LA", (made, Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255)))))
    return made, f"{maximum.bit_length()} bits reduced to 8"


def _scaled(values: npt.NDArray[Any], maximum: int, *, inverted: bool = False) -> npt.NDArray[np.uint8]:
    """uint8 of the same shape [rows, columns]; values above ``maximum`` count as that."""
    steps = np.arange(maximum + 1, dtype=np.int64)
    table = ((steps * 510 + maximum) // (2 * maximum)).astype(np.uint8)
    table = table[::-1] if inverted else table
    found = np.empty(values.shape, np.uint8)
    rows = max(1, _CHUNK // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        found[start : start + rows] = table[np.clip(values[start : start + rows], 0, maximum)]
    return found


def _from_float(image: Image.Image) -> tuple[Image.Image, str]:
    from PIL import Image

    values = np.asarray(image)
    scale = image.info.get("scale", 1.0) if image.format == "PPM" else 1.0
    with np.errstate(invalid="ignore"):
        low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0) or scale != 1.0:
        found = f"{low:g} to {high:g}" + (f" with a scale of {scale:g}" if scale != 1.0 else "")
        raise InvalidInputError(
            f"holds floats of {found}; expected 0 to 1; scale it to 0..255 yourself and pass an array of uint8"
        )
    found_values = np.empty(values.shape, np.uint8)
    rows = max(1, _CHUNK // max(1, values.shape[1]))
    inverted = _is_white_zero(image)
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64) * 255
        found_values[start : start + rows] = np.rint(255 - part if inverted else part)
    return Image.fromarray(found_values), "floats of 0 to 1 scaled to 255"


def _is_white_zero(image: Image.Image) -> bool:
    """Of the modes that Pillow leaves as they are; it has inverted those of eight bits itself."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
