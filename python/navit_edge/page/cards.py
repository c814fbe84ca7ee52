"""From an image and its result to its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import NavitEdgeError
from navit_edge.page.content import Box, Card
from navit_edge.page.pictures import THUMBNAIL_PX, map_uri, picture_uri
from navit_edge.pixels import as_pixels
from navit_edge.result import attention

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Preprocess
    from navit_edge.decode import Decoder
    from navit_edge.pixels import Given, ImageLike
    from navit_edge.result import Classify, Prediction
    from navit_edge.session import Result


def make_card(
    name: str,
    image: ImageLike | Given | None,
    result: Result,
    preprocess: Preprocess,
    *,
    top_k: int = 3,
    classify: Classify | None = None,
    error: Exception | None = None,
    weights: npt.NDArray[np.floating[Any]] | None = None,
    truth: str = "",
    decoder: Decoder | None = None,
) -> Card:
    """``image`` as the session got it; ``decoder``, the session's, decodes it again for its picture.

    preprocess: of the bundle. truth: what the image is, if that is known. classify: gives the classes, in place of
    the bundle's own.

    weights: [rows, columns] of the grid, of each patch; shown over the image. By default those of the result's
        attention map, if it has one.
    error: in place of the result's. Never raises for a bad image: its card says what was wrong.
    """
    error = error or result.error
    picture = thumbnail = ""
    try:
        if image is not None:
            pixels = as_pixels(image, name, decoder).pixels
            rgb = _core.to_rgb(pixels, preprocess.alpha, preprocess.background)
            picture, thumbnail = picture_uri(rgb), picture_uri(rgb, most_px=THUMBNAIL_PX)
    except NavitEdgeError:  # the error of the result says it, or the file has gone since
        pass
    if error is not None:
        return Card(name=name, error=str(error), truth=truth, picture=picture)
    if weights is None and result.attention_map is not None:
        weights = result.on_grid(attention(result))
    best: Sequence[Prediction] = ()
    if classify is not None:
        best = classify(result, top_k)
    elif result.logits is not None:
        best = result.top_k(top_k)
    return Card(
        name=name,
        box=_box(result, preprocess.patch_px),
        pixels=(int(result.pixels[0]), int(result.pixels[1])),
        grid=(int(result.grid[0]), int(result.grid[1])),
        tokens=int(result.token_count),
        pack=int(result.pack),
        first_token=int(result.first_token),
        pack_tokens=int(result.pack_tokens),
        latency_ms=float(result.latency_ms),
        classes=_classes(best),
        truth=truth,
        map="" if weights is None else map_uri(weights),
        peak=0.0 if weights is None else float(weights.max() / weights.mean()),
        note=result.reason,
        picture=picture,
        thumbnail=thumbnail,
    )


def _classes(best: Sequence[Prediction]) -> list[tuple[str, float]]:
    return [(one.label or f"class {one.index}", one.score) for one in best]


def _box(result: Result, patch_px: int) -> Box:
    height, width = (side * patch_px for side in result.grid)
    (scale_y, scale_x), (top, left) = result.scale, result.offset
    return Box(
        left=left / width,
        top=top / height,
        width=result.pixels[1] * scale_x / width,
        height=result.pixels[0] * scale_y / height,
    )
