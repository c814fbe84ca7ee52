"""One image as it is seen this time: flipped, cropped with its aspect kept, coloured, resized to its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge.planning import resize

UInt8Array = npt.NDArray[np.uint8]

BACKGROUNDS = ("white", "black", "random", "half-white")
#: Shares of red, green and blue in brightness (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What may happen to an image; nothing by default.

    flip: probability of a mirror image.
    crop: the least share of the area that a crop has; 1: no crops. The crop has the image's aspect.
    brightness, contrast, saturation: b: a factor between 1 - b and 1 + b.
    gray: probability of no colours.
    background: what shows through where an image is transparent; "random": one colour an image; "half-white": white
        behind half of the images, one colour behind each other.
    """

    flip: float = 0.0
    crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    gray: float = 0.0
    background: str = "white"

    def __post_init__(self) -> None:
        for name in ("flip", "gray", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"augment: {name} is {getattr(self, name)}; expected 0 to 1")
        if not 0 < self.crop <= 1:
            raise InvalidInputError(f"augment: crop is {self.crop}; expected more than 0, at most 1")
        if self.background not in BACKGROUNDS:
            raise InvalidInputError(f'background "{self.background}" is unknown; expected {", ".join(BACKGROUNDS)}')

    def apply(self, image: UInt8Array, height_px: int, width_px: int, rng: np.random.Generator) -> UInt8Array:
        """[h, w, 3] or [h, w, 4] -> [height_px, width_px, 3]. What is drawn does not depend on the image."""
        share, place, mirror, colours = rng.uniform(self.crop, 1), rng.random(2), rng.random(), rng.random(4)
        background = rng.integers(0, 256, 3)
        if self.crop < 1:
            image = crop(image, share, place[0], place[1])
        image = resize(image, (height_px, width_px))
        if image.shape[2] == 4:
            image = over(image, self._fill(background))
        if mirror < self.flip:
            image = image[:, ::-1]
        return self._colour(np.ascontiguousarray(image), colours)

    def _fill(self, drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self.background == "random" or (self.background == "half-white" and drawn.sum() % 2):
            return drawn
        return np.zeros(3, np.int64) if self.background == "black" else np.full(3, 255, np.int64)

    def _colour(self, image: UInt8Array, draws: npt.NDArray[np.float64]) -> UInt8Array:
        if not (self.brightness or self.contrast or self.saturation or self.gray):
            return image
        brightness, contrast, saturation = (
            np.float32(1 + width * (2 * draw - 1))
            for width, draw in zip((self.brightness, self.contrast, self.saturation), draws[:3], strict=True)
        )
        if draws[3] < self.gray:
            saturation = np.float32(0)
        pixels = image.astype(np.float32) * brightness
        gray = pixels @ LUMA
        pixels = gray[..., None] + saturation * (pixels - gray[..., None])
        pixels = gray.mean() + contrast * (pixels - gray.mean())
        coloured: UInt8Array = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        return coloured


def crop(image: UInt8Array, share: float, down: float, across: float) -> UInt8Array:
    """A part with ``share`` of the area and the image's aspect; ``down`` and ``across`` (0 to 1) say where."""
    height, width = image.shape[:2]
    rows, columns = (max(1, round(side * share**0.5)) for side in (height, width))
    top, left = round((height - rows) * down), round((width - columns) * across)
    return image[top : top + rows, left : left + columns]


def over(image: UInt8Array, background: npt.NDArray[np.int64]) -> UInt8Array:
    """An image [h, w, 4] laid over a colour: [h, w, 3]."""
    alpha = image[..., 3:].astype(np.uint32)
    mixed = image[..., :3] * alpha + background.astype(np.uint32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
