"""Ways to bring an image to the size of its grid: the product's own, and those that pipelines mix it up with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

import navit_edge as ne

Pixels: TypeAlias = npt.NDArray[np.uint8]
#: An image [h, w, 3] or [h, w, 4], and (height_px, width_px) -> RGB of that size.
Resizer: TypeAlias = Callable[[Pixels, tuple[int, int]], Pixels]


def on_white(image: Pixels) -> Pixels:
    """RGB, with what is transparent on white, as DINOv2's own processor has it."""
    if image.shape[2] == 3:
        return image
    alpha = image[:, :, 3:].astype(np.float32) / 255
    return np.rint(image[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def exact(image: Pixels, size: tuple[int, int]) -> Pixels:
    """What a session does: Pillow 13's bicubic, to the bit."""
    return ne.resize(on_white(image), size, "bicubic")


def without_alpha(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The colours that lie under what is transparent, as `cv2.imread` gives them."""
    return ne.resize(np.ascontiguousarray(image[:, :, :3]), size, "bicubic")


def swapped(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Red for blue: what `cv2.imread` gives, taken for RGB."""
    return np.ascontiguousarray(exact(image, size)[:, :, ::-1])


def bilinear(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Pillow's bilinear, which is antialiased, too."""
    return ne.resize(on_white(image), size, "bilinear")


def opencv(name: str) -> Resizer:
    """name: of the interpolation, such as "INTER_AREA"."""

    def resize(image: Pixels, size: tuple[int, int]) -> Pixels:
        import cv2

        method: int = getattr(cv2, name)
        return np.asarray(cv2.resize(on_white(image), (size[1], size[0]), interpolation=method), np.uint8)

    return resize


def torch_bytes(mode: str, *, antialias: bool) -> Resizer:
    """What `torchvision.transforms.v2.Resize` does with a tensor of bytes. mode: "bicubic" or "bilinear"."""

    def resize(image: Pixels, size: tuple[int, int]) -> Pixels:
        import torch
        from torch.nn.functional import interpolate

        planes = torch.from_numpy(np.ascontiguousarray(on_white(image).transpose(2, 0, 1)))[None]
        made = interpolate(planes, size=size, mode=mode, align_corners=False, antialias=antialias)
        return np.ascontiguousarray(made[0].permute(1, 2, 0).numpy())

    return resize


#: key -> (what the page calls it, the function), the exact one first.
RESIZERS: dict[str, tuple[str, Resizer]] = {
    "exact": ("exact: bicubic, antialiased", exact),
    "torchvision-bicubic": ("torchvision bicubic, antialias on", torch_bytes("bicubic", antialias=True)),
    "torchvision-bicubic-off": ("torchvision bicubic, antialias off", torch_bytes("bicubic", antialias=False)),
    "bilinear": ("Pillow bilinear", bilinear),
    "opencv-area": ("OpenCV INTER_AREA", opencv("INTER_AREA")),
    "opencv-linear": ("OpenCV INTER_LINEAR", opencv("INTER_LINEAR")),
    "without-alpha": ("exact, transparency ignored", without_alpha),
    "swapped": ("exact, red and blue swapped", swapped),
}
