"""What may stand for an image, and how it becomes pixels that C++ borrows: arrays, tensors, ``Pixels``, PIL images,
image files as paths, bytes or open files.

The one door: whatever takes images comes through ``as_pixels``. What files and PIL images hold is decoded by
``navit_edge.decode``.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.vocabulary import LAYOUTS, WHITE, AlphaRule, Layout, OnError

if TYPE_CHECKING:
    from PIL import Image

    from navit_edge.decode import Decoded, DecodeOptions, Decoder
    from navit_edge.decode.by_core import DecodedPixels

    class Tensor(Protocol):
        """An array of another library that shares its memory: PyTorch's, JAX's."""

        def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    class ArrayLike(Protocol):
        """An object that numpy makes an array of."""

        def __array__(self, *args: Any, **kwargs: Any) -> npt.NDArray[Any]: ...

    File: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
    ImageLike: TypeAlias = npt.NDArray[np.uint8] | _core.Pixels | Image.Image | File | Tensor | ArrayLike

Pixels = _core.Pixels

#: What is taken, for messages.
TAKEN = (
    "a path, the bytes of an image file, an open binary file, a PIL image, or a uint8 numpy array or CPU tensor "
    "[height, width], [height, width, 3] or [height, width, 4]"
)
_CHANNELS = (1, 3, 4)
_ARRAYS = ("__array_interface__", "__array_struct__", "__array__")

#: Modes of PIL images whose memory is read as it is -> the format of that memory. Pillow keeps RGB in four bytes.
PIL_FORMATS = {"RGB": "rgbx", "RGBX": "rgbx", "RGBA": "rgba", "L": "gray"}


class Given(NamedTuple):
    """pixels: what C++ borrows. done: what decoding did to the image, in words; "" for nothing. new_bytes: of pixels
    that were made for it; 0 if the caller's own are borrowed. digest: of the file that it was, if the session remembers
    results; else empty."""

    pixels: npt.NDArray[np.uint8] | Pixels
    done: str = ""
    new_bytes: int = 0
    digest: bytes = b""

    @property
    def content(self) -> tuple[bytes, str] | None:
        """As the core takes it."""
        return (self.digest, self.done) if self.digest else None


@functools.cache
def default_decoder() -> Decoder:
    """That of calls without a bundle: images are turned upright, profiles are left alone."""
    from navit_edge.decode import Decoder

    return Decoder()


def as_pixels(image: Any, who: str = "image", decoder: Decoder | None = None, layout: Layout | None = None) -> Given:
    """The pixels of whatever ``TAKEN`` names, or of ``Pixels``, as the C++ core borrows them.

    Arrays and ``Pixels`` are passed on as they are, and so are arrays of other libraries that share CPU memory by
    DLPack (PyTorch, JAX) or numpy's protocols; what would need a guess is refused with the remedy. PIL images and
    files go through ``decoder``. Their pixels are borrowed if Pillow's rows are contiguous (Pillow 13 and later,
    below 16 MB), else copied.

    layout: of arrays and tensors of three dimensions: "hwc", or "chw", which are copied into rows. None: "hwc", but of
        a tensor only if its shape can mean nothing else.

    Raises InvalidInputError, whatever a decoder raises.
    """
    if isinstance(image, Given):  # a frame, which has been decoded
        words = _alpha_words(image.pixels, decoder)
        if not words or words in image.done.split("; "):  # it has been here before
            return image
        return image._replace(done=f"{image.done}; {words}" if image.done else words)
    checked_layout(layout)
    if isinstance(image, Pixels) or (isinstance(image, np.ndarray) and layout != "chw"):
        _core.check_image(image, who)
        return Given(image, _alpha_words(image, decoder))
    if isinstance(image, np.ndarray):
        return _of_array(image, who, decoder, layout)
    from navit_edge.decode.encoded import is_encoded

    if is_encoded(image):
        return given_by((decoder or default_decoder()).decode_pixels(image, who))
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        unread = bool(getattr(image, "tile", None))
        decoded = (decoder or default_decoder()).of_pil(image, who)
        return given_by(decoded, new=unread or decoded.image is not image)
    array = _shared(image, who)
    if layout is None and array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] in _CHANNELS:
        raise InvalidInputError(
            f"{who} is a {type(image).__name__} of shape {list(array.shape)}, whose channels may be the first axis or "
            'the last; say which: layout="chw" or layout="hwc"'
        )
    return _of_array(array, who, decoder, layout)


def checked_layout(layout: Layout | None) -> Layout | None:
    """Raises InvalidInputError."""
    if layout is not None and layout not in LAYOUTS:
        raise InvalidInputError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}, or None")
    return layout


def is_one_image(value: object) -> bool:
    """Whether ``value`` is an image, or an array of several, and no list of them."""
    from navit_edge.decode.encoded import is_encoded

    pil = sys.modules.get("PIL.Image")
    return (
        isinstance(value, (np.ndarray, Pixels, Given))
        or is_encoded(value)
        or (pil is not None and isinstance(value, pil.Image))
        or any(hasattr(type(value), name) for name in ("__dlpack__", *_ARRAYS))
    )


def checked_list(images: Any, call: str, stream: str = "") -> Sequence[Any]:
    """``images`` if it is a list of them. call, stream: what takes a list, and what takes any iterable, for messages.

    Raises InvalidInputError."""
    if isinstance(images, Sequence) and not is_one_image(images):
        return images
    kind = type(images).__name__
    remedy = f"{call}([image])"
    if is_one_image(images):
        remedy += f", or {call}(list(images)) of a batch" if getattr(images, "ndim", 0) == 4 else ""
    elif isinstance(images, Iterable):
        remedy = f"{call}(list(images))" + (f", or {stream}, which takes them as they come" if stream else "")
    raise InvalidInputError(f"images is of type {kind}; expected a list of images: {remedy}")


def gathered(
    images: Sequence[Any],
    decoder: Decoder,
    layout: Layout | None = None,
    *,
    on_error: OnError,
    look: Callable[[Any, str], Given | _core.Result | None] | None = None,
) -> tuple[list[Given | _core.Result | None], dict[int, NavitEdgeError]]:
    """The pixels of a list that is held as a whole, and what was wrong with each of which there are none.

    look: asked for each image and its name first: its result, its pixels, or None if it knows neither.
    Raises InvalidInputError if what is decoded for it takes more than ``max_run_bytes``, and with ``on_error``
    "raise" the first error of an image.
    """
    given: list[Given | _core.Result | None] = []
    refused: dict[int, NavitEdgeError] = {}
    room = decoder.options.max_run_bytes
    for index, image in enumerate(images):
        try:
            one = look(image, f"image {index}") if look else None
            if one is None:
                one = as_pixels(image, f"image {index}", decoder, layout)
        except NavitEdgeError as error:
            if on_error == "raise":
                raise
            given.append(None)
            refused[index] = error
            continue
        given.append(one)
        room -= one.new_bytes if isinstance(one, Given) else 0
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
    layout: Layout | None = None,
) -> npt.NDArray[np.uint8]:
    """What a model sees of ``image`` before the resize: uint8 RGB [height_px, width_px, 3].

    alpha: "drop" as Pillow's ``convert("RGB")``; "composite" over ``background`` (R, G, B) as its ``alpha_composite``;
        "reject" refuses images with an alpha channel. A bundle's ``preprocess`` has the same two fields.
    decode: how files and PIL images are decoded; without it upright, and without their ICC profile.
    image, layout: as of ``Session.run``.

    Raises InvalidInputError.
    """
    from navit_edge.decode import Decoder

    pixels = as_pixels(image, decoder=Decoder(decode) if decode else None, layout=layout).pixels
    return _core.to_rgb(pixels, alpha, background)


def load_image(path: str | os.PathLike[str], decoder: Decoder | None = None) -> npt.NDArray[np.uint8]:
    """A decoded file as an array of its own: uint8 [height_px, width_px, 3], or [height_px, width_px, 4] if it has
    transparency. Raises InvalidInputError."""
    image = (decoder or default_decoder()).decode(path).image
    return np.asarray(image.convert("RGB") if image.mode in ("L", "RGBX") else image)


def given_by(decoded: Decoded | DecodedPixels, *, new: bool = True) -> Given:
    """The pixels of a decoded image. new: they were made for it."""
    if isinstance(decoded, tuple):
        pixels = decoded.pixels
        size = pixels.height_px * pixels.width_px * {"gray": 1, "rgba": 4}.get(pixels.format, 3)
        return Given(pixels, "; ".join(decoded.done), size)
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


def _of_array(array: npt.NDArray[Any], who: str, decoder: Decoder | None, layout: Layout | None) -> Given:
    rows, new_bytes = array, 0
    if layout == "chw" and array.ndim == 3:
        rows = _in_rows(array, who, decoder or default_decoder())
        new_bytes = 0 if np.may_share_memory(rows, array) else rows.nbytes
    _core.check_image(rows, who)
    return Given(rows, _alpha_words(rows, decoder), new_bytes)


def _in_rows(array: npt.NDArray[Any], who: str, decoder: Decoder) -> npt.NDArray[Any]:
    """[channels, height, width] -> [height, width, channels], [height, width] of one channel: a copy, except where the
    memory is so already."""
    channels, height_px, width_px = array.shape
    if array.dtype != np.uint8 or hasattr(array, "mask") or not array.size:
        _core.check_image(array, who)  # says what is wrong with it
    if channels not in _CHANNELS:
        last = array.shape[2] in _CHANNELS
        raise InvalidInputError(
            f'{who} has shape {list(array.shape)} and layout is "chw"; expected [3, height, width] (RGB), '
            f"[4, height, width] (RGBA) or [1, height, width] (gray){'; its layout is hwc' if last else ''}"
        )
    rows: npt.NDArray[Any] = array[0] if channels == 1 else array.transpose(1, 2, 0)
    if channels == 1 and (rows.strides[1] == 1 or width_px == 1):
        return rows
    from navit_edge.decode.limits import check_pixels
    from navit_edge.decode.refusals import refusals

    with refusals(who):
        check_pixels(width_px, height_px, decoder.options.max_pixels)
        try:
            return np.ascontiguousarray(rows)
        except MemoryError as error:
            raise InvalidInputError("is too large for the memory that is left, where it is copied into rows") from error


def _shared(image: Any, who: str) -> npt.NDArray[Any]:
    """The array of an object that is none. Raises InvalidInputError."""
    kind = type(image)
    if not hasattr(kind, "__dlpack__"):
        if not any(hasattr(kind, name) for name in _ARRAYS):
            gpu = "; copy it to CPU memory" if hasattr(kind, "__cuda_array_interface__") else ""
            raise InvalidInputError(f"{who} is of type {kind.__name__}; expected {TAKEN}{gpu}")
        try:
            return np.asarray(image)
        except Exception as error:
            raise InvalidInputError(
                f"{who} is of type {kind.__name__}, of which numpy makes no array ({error}); expected {TAKEN}"
            ) from error
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
    from navit_edge.decode.color import alpha_words

    return alpha_words(decoder.recorded)
