"""Pixels and weights as data URIs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

#: Longest sides, in pixels.
PICTURE_PX = 352
THUMBNAIL_PX = 96
#: Red, green and blue of a weight; how opaque it is says how large.
_WARM = (255, 120, 0)


def picture_uri(pixels: npt.NDArray[np.uint8], *, most_px: int = PICTURE_PX) -> str:
    """pixels: RGB [height_px, width_px, 3]. As JPEG, reduced to ``most_px`` if a side is longer."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return _uri(image, "JPEG", quality=85)


def map_uri(weights: npt.NDArray[np.floating[Any]]) -> str:
    """weights [rows, columns], 0 and up: a PNG of one pixel for each patch, as opaque as its share of the largest."""
    from PIL import Image

    largest = float(weights.max())
    alpha = np.zeros(weights.shape) if largest <= 0 else weights / largest
    rgba = np.empty((*weights.shape, 4), np.uint8)
    rgba[..., :3] = _WARM
    rgba[..., 3] = np.rint(255 * alpha)
    return _uri(Image.fromarray(rgba), "PNG")


def _uri(image: Image.Image, form: str, **options: Any) -> str:
    content = io.BytesIO()
    image.save(content, format=form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
