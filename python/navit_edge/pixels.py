"""What may stand for an image, and how it becomes pixels that C++ borrows: arrays, ``Pixels``, PIL images, files.

The one door: whatever takes images comes through ``as_pixels``. What files and PIL images hold is decoded by
``navit_edge.decode``.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.vocabulary import WHITE, AlphaRule, OnError

if TYPE_CHECKING:
    from PIL import Image

    from navit_edge.decode import Decoded, DecodeOptions, Decoder

    ImageLike: TypeAlias = npt.NDArray[np.uint8] | _core.Pixels | Image.Image | str | os.PathLike[str]

Pixels = _core.Pixels

#: Modes of PIL images whose memory is read as it is -> the format of that memory. Pillow keeps RGB in four bytes.
PIL_FORMATS = {"RGB": "rgbx", "RGBX": "rgbx", "RGBA": "rgba", "L": "gray"}


class Given(NamedTuple):
    """pixels: what C++ borrows. done: what decoding did to the image, in words; "" for nothing. new_bytes: of pixels
    that were made for it; 0 if the caller's own are borrowed."""

    pixels: npt.NDArray[np.uint8] | Pixels
    done: str = ""
    new_bytes: int = 0


@functools.cache
def default_decoder() -> Decoder:
    """That of calls without a bundle: images are turned upright, profiles are left alone."""
    from navit_edge.decode import Decoder

    return Decoder()


def as_pixels(image: Any, who: str = "image", decoder: Decoder | None = None) -> Given:
    """The pixels of an array, ``Pixels``, a PIL image or a path, as the C++ core borrows them.

    Arrays and ``Pixels`` are passed on as they are, and so are arrays of other libraries that share CPU memory by
    DLPack (PyTorch, JAX); what would need a silent copy or a guess is refused with the remedy. PIL images and files go
    through ``decoder``. Their pixels are borrowed if Pillow's rows are contiguous (Pillow 13 and later, below
    16 MB), else copied.

    Raises InvalidInputError, whatever a decoder raises.
    """
    if isinstance(image, Given):  # a frame, which has been decoded
        words = "; ".join(word for word in (image.done, _alpha_words(image.pixels, decoder)) if word)
        return image if words == image.done else image._replace(done=words)
    if isinstance(image, (np.ndarray, Pixels)):
        _core.check_image(image, who)
        return Given(image, _alpha_words(image, decoder))
    if isinstance(image, (str, os.PathLike)):
        return given_by((decoder or default_decoder()).decode(image))
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        unread = bool(getattr(image, "tile", None))
        decoded = (decoder or default_decoder()).of_pil(image, who)
        return given_by(decoded, new=unread or decoded.image is not image)
    if hasattr(type(image), "__dlpack__"):
        image = _shared(image, who)
    _core.check_image(image, who)  # refuses everything else
    return Given(image, _alpha_words(image, decoder))


def gathered(
    images: Sequence[Any], decoder: Decoder, *, on_error: OnError
) -> tuple[list[Given | None], dict[int, NavitEdgeError]]:
    """The pixels of a list that is held as a whole, and what was wrong with each of which there are none.

    Raises InvalidInputError if what is decoded for it takes more than ``max_run_bytes``, and with ``on_error``
    "raise" the first error of an image.
    """
    given: list[Given | None] = []
    refused: dict[int, NavitEdgeError] = {}
    room = decoder.options.max_run_bytes
    for index, image in enumerate(images):
        try:
            one = as_pixels(image, f"image {index}", decoder)
        except NavitEdgeError as error:
            if on_error == "raise":
                raise
            given.append(None)
            refused[index] = error
            continue
        given.append(one)
        room -= one.new_bytes
        if room < 0:
            raise InvalidInputError(
                f"{len(images)} images: the first {index + 1} take more than {decoder.options.max_run_bytes:,} bytes "
                "when they are decoded, and one run holds all of them; take session.stream(images), which holds a few "
                "at a time, or allow more with DecodeOptions(max_run_bytes=…)"
            )
    return given, refused


def size_of(pixels: npt.NDArray[np.uint8] | Pixels) -> tuple[int, int]:
    """(height_px, width_px)."""
    if isinstance(pixels, Pixels):
        return pixels.height_px, pixels.width_px
    return pixels.shape[0], pixels.shape[1]


def to_rgb(
    image: ImageLike,
    *,
    alpha: AlphaRule = "drop",
    background: tuple[int, int, int] = WHITE,
    decode: DecodeOptions | None = None,
) -> npt.NDArray[np.uint8]:
    """What a model sees of ``image`` before the resize: uint8 RGB [height_px, width_px, 3].

    alpha: "drop" as Pillow's ``convert("RGB")``; "composite" over ``background`` (R, G, B) as its ``alpha_composite``;
        "reject" refuses images with an alpha channel. A bundle's ``preprocess`` has the same two fields.
    decode: how files and PIL images are decoded; without it upright, and without their ICC profile.

    Raises InvalidInputError.
    """
    from navit_edge.decode import Decoder

    return _core.to_rgb(as_pixels(image, decoder=Decoder(decode) if decode else None).pixels, alpha, background)


def load_image(path: str | os.PathLike[str], decoder: Decoder | None = None) -> npt.NDArray[np.uint8]:
    """A decoded file as an array of its own: uint8 [height_px, width_px, 3], or [height_px, width_px, 4] if it has
    transparency. Raises InvalidInputError."""
    image = (decoder or default_decoder()).decode(path).image
    return np.asarray(image.convert("RGB") if image.mode in ("L", "RGBX") else image)


def given_by(decoded: Decoded, *, new: bool = True) -> Given:
    """The pixels of a decoded image. new: they were made for it."""
    image = decoded.image
    size = image.width * image.height * (1 if image.mode == "L" else 4) if new else 0
    try:
        return Given(_borrowed(image), "; ".join(decoded.done), size)
    except MemoryError as error:
        raise InvalidInputError(
            f"memory ran out for the pixels of an image of {image.height}x{image.width}; let fewer be in flight "
            "(DecodeOptions.max_bytes_in_flight), or resize it"
        ) from error


def _borrowed(image: Image.Image) -> npt.NDArray[np.uint8] | Pixels:
    """The memory of a PIL image, borrowed if Pillow exports it (the Arrow C data interface), else copied."""
    if _exports_memory():
        with suppress(ValueError):  # an image in several blocks of memory
            return Pixels.from_arrow(image, image.height, image.width, PIL_FORMATS[image.mode])
    array = np.asarray(image)
    return array if image.mode != "RGBX" else np.ascontiguousarray(array[:, :, :3])


@functools.cache
def _exports_memory() -> bool:
    """Pillow 11.2 to 12.3 export it, too, and crash with images over memory of others (``Image.fromarray``)."""
    import PIL

    return int(PIL.__version__.partition(".")[0]) >= 13


def _shared(image: Any, who: str) -> npt.NDArray[Any]:
    try:
        return np.from_dlpack(image)
    except Exception as error:  # each library has its own for devices, gradients and types
        raise InvalidInputError(
            f"{who} is of type {type(image).__name__}, whose memory cannot be shared ({error}); expected an array in "
            "CPU memory; copy it there, as image.detach().cpu()"
        ) from error


def _alpha_words(image: npt.NDArray[np.uint8] | Pixels, decoder: Decoder | None) -> str:
    if decoder is None or (image.format[-1] != "a" if isinstance(image, Pixels) else image.shape[2:] != (4,)):
        return ""
    from navit_edge.decode.decoder import alpha_words

    return alpha_words(decoder.recorded)
