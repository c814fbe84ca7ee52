"""Tiles of a large image, for a bundle of LFM2-VL: its language model takes them and the whole image, small.

    tiles = make_tiles(image, navit_edge.load_manifest(bundle))
    results = session.run(tiles.images)  # tiles row by row, then the whole image
    embeds = for_transformers(results)["pooler_output"]

As ``Lfm2VlImageProcessor`` of transformers does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.manifest import processor_of
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """What a session takes of an image.

    images: The tiles, row by row, and then, if the bundle's processor adds it, the whole image; or the image alone.
    rows, columns: Of tiles; 1 and 1 if the image is not split.
    """

    images: list[Image]
    rows: int
    columns: int


def make_tiles(image: Image, manifest: Manifest) -> Tiles:
    """image: uint8 [height_px, width_px, 3].

    Raises InvalidInputError: The bundle knows no tiles, or gives them another size; the image is something else.
    """
    config, pre = manifest.model.config, manifest.preprocess
    if "tile_px" not in config:
        raise InvalidInputError(
            f"the bundle {manifest.name} is of the family {manifest.model.family}, which splits no images; expected "
            "one of lfm2-vl; run the images as they are"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InvalidInputError(
            f"the image is {image.dtype} {list(image.shape)}; expected uint8 [height, width, 3]; decode it first"
        )
    side, sizing = config["tile_px"], pre.sizing
    cell = pre.patch_px * config["merge"]
    if sizing.rule != "smart-resize" or side % cell or not sizing.min_pixels <= side**2 <= sizing.max_pixels:
        raise InvalidInputError(
            f"tiles are {side} x {side} pixels, which the sizing rule of {manifest.name} would resize; expected "
            f"smart-resize with multiples of {cell} pixels, and that area within its limits"
        )
    height, width = image.shape[:2]
    if not config["splits"] or not _is_large((height, width), manifest):
        return Tiles(images=[image], rows=1, columns=1)
    columns, rows = _layout(height, width, config)
    resized = _core.resize(np.ascontiguousarray(image), (rows * side, columns * side), pre.filter, processor_of(pre))
    parts = resized.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(rows * columns, side, side, 3)
    found = [np.ascontiguousarray(part) for part in parts]
    if config["thumbnail"] and len(found) > 1:
        found.append(image)
    return Tiles(images=found, rows=rows, columns=columns)


def _is_large(size: tuple[int, int], manifest: Manifest) -> bool:
    """Whether the image has ``tolerance`` times the pixels that it could keep."""
    patch_px, config = manifest.preprocess.patch_px, manifest.model.config
    cell = patch_px * config["merge"]
    height, width = (max(patch_px, round(side / cell) * cell) for side in size)
    return bool(height * width > manifest.preprocess.sizing.max_pixels * config["tile_tolerance"])


def _layout(height: int, width: int, config: dict[str, Any]) -> tuple[int, int]:
    """(columns, rows) whose aspect is closest to the image's; of two that are as close the later one, if the image has
    half its pixels."""
    least, most, side = config["least_tiles"], config["most_tiles"], config["tile_px"]
    several = {
        (columns, rows)
        for number in range(least, most + 1)
        for columns in range(1, number + 1)
        for rows in range(1, number + 1)
        if least <= columns * rows <= most
    }
    best, closest = (1, 1), float("inf")
    for columns, rows in sorted(several, key=lambda one: one[0] * one[1]):
        distance = abs(width / height - columns / rows)
        if distance < closest:
            best, closest = (columns, rows), distance
        elif distance == closest and height * width > 0.5 * side**2 * columns * rows:
            best = (columns, rows)
    return best
