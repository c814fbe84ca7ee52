"""A map over an image, as one picture: the image in gray below, colours from dark to bright over it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Of the lowest value, the highest, and those between; as matplotlib's "inferno" has them there.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
#: Of the colour in a pixel, at the lowest value and at the highest.
_OPACITY = (0.35, 0.75)
#: The highest colour is that of this percentile: a few outliers would leave all else dark.
_TOP = 99.5
#: How bright the image is where the map has no data.
_NO_DATA = 0.3


def overlay(
    rgb: npt.NDArray[np.uint8], values: npt.NDArray[np.floating], span: tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """rgb [height_px, width_px, 3]; values [height_px, width_px], NaN where there is no data -> uint8, as rgb.

    span: the values of the darkest colour and of the brightest; so are those below and above. None: the lowest value,
        and the 99.5th percentile.
    """
    gray = (rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    known = np.isfinite(values)
    level = np.zeros(values.shape, np.float32)
    if known.any():
        low, high = span or (float(values[known].min()), float(np.percentile(values[known], _TOP)))
        level[known] = ((values[known] - low) / (high - low)).clip(0, 1) if high > low else 0.0
    place = level * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(np.int32), len(_COLOURS) - 2)
    part = (place - below)[..., None]
    colour = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    opacity = (_OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * level)[..., None]
    shown = np.where(known[..., None], gray * (1 - opacity) + colour * opacity, gray * _NO_DATA)
    return np.rint(shown).astype(np.uint8)
