"""What may stand for an image, and how it becomes pixels that C++ borrows: arrays, ``Pixels``, PIL images, files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image

    ImageLike: TypeAlias = npt.NDArray[np.uint8] | _core.Pixels | Image.Image | str | os.PathLike[str]

Pixels = _core.Pixels
Alpha = Literal["drop", "composite", "reject"]

#: Modes of PIL images whose memory is read as it is -> the format of that memory. Pillow keeps RGB in four bytes.
PIL_FORMATS = {"RGB": "rgbx", "RGBX": "rgbx", "RGBA": "rgba", "L": "gray"}


def as_pixels(image: ImageLike, who: str = "image") -> npt.NDArray[np.uint8] | Pixels:
    """The pixels of an array, ``Pixels``, a PIL image or a path, as the C++ core borrows them.

    Arrays and ``Pixels`` are passed on as they are; what would need a silent copy or a guess is refused with the
    remedy. A PIL image is borrowed where its rows are contiguous (Pillow 12 and later, below 16 MB); else its pixels
    are copied.
    """
    if isinstance(image, (str, os.PathLike)):
        return _of_pil(_decoded(image), who)
    if isinstance(getattr(image, "mode", None), str):  # PIL.Image, without importing it
        return _of_pil(image, who)  # type: ignore[arg-type]
    _core.check_image(image, who)
    return image  # type: ignore[return-value]  # check_image has refused everything else


def to_rgb(
    image: ImageLike, *, alpha: Alpha = "drop", background: tuple[int, int, int] = (255, 255, 255)
) -> npt.NDArray[np.uint8]:
    """What a model sees of ``image`` before the resize: uint8 RGB [height_px, width_px, 3].

    alpha: "drop" as Pillow's ``convert("RGB")``; "composite" over ``background`` (R, G, B) as its ``alpha_composite``;
        "reject" refuses images with an alpha channel. A bundle's ``preprocess`` has the same two fields.

    Raises InvalidInputError.
    """
    return _core.to_rgb(as_pixels(image), alpha, background)


def load_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Decodes an image file: ``Image.open(path).convert("RGB")``, as training loaders do; alpha is kept beside.

    Returns uint8 [height_px, width_px, 3], or [height_px, width_px, 4] where the file has transparency, whose first
    three channels are those of ``convert("RGB")``. Raises InvalidInputError where the file is missing or is no image.
    """
    image = _decoded(path)
    return np.asarray(image.convert("RGB") if image.mode == "L" else image)


def _decoded(path: str | os.PathLike[str]) -> Image.Image:
    """The file as a PIL image of mode L, RGB or RGBA."""
    from PIL import Image, UnidentifiedImageError

    try:
        image: Image.Image
        with Image.open(path) as image:
            image.load()
            if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
                return image
            alpha = image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info
            return image.convert("RGBA" if alpha else "RGB")
    except FileNotFoundError:
        raise InvalidInputError(f"{os.fspath(path)}: no such file; expected an image") from None
    except UnidentifiedImageError:
        raise InvalidInputError(
            f"{os.fspath(path)}: not an image that Pillow can decode; convert it to PNG or JPEG"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInputError(f"{os.fspath(path)}: cannot be decoded ({error}); check the file") from error


def _of_pil(image: Image.Image, who: str) -> npt.NDArray[np.uint8] | Pixels:
    """The memory of a PIL image, borrowed where Pillow exports it (the Arrow C data interface), else copied."""
    form = PIL_FORMATS.get(image.mode)
    if form is None:
        raise InvalidInputError(
            f'{who} is a PIL image of mode "{image.mode}"; expected one of {", ".join(PIL_FORMATS)}; '
            'convert it: image.convert("RGB")'
        )
    if image.width < 1 or image.height < 1:
        raise InvalidInputError(
            f"{who} is empty, {image.height}x{image.width} pixels; expected at least one pixel a side; leave it out"
        )
    try:
        return Pixels.from_arrow(image, image.height, image.width, form)
    except (AttributeError, ValueError):  # Pillow before 12; an image in several blocks of memory
        array = np.asarray(image)
        return array if image.mode != "RGBX" else np.ascontiguousarray(array[:, :, :3])
