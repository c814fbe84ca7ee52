"""``--overlay``: every image of a job with its map over it, one picture each."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.page.overlay import overlay
from navit_edge.pixels import as_pixels
from navit_edge.place import OutputError, cannot_write, write_file
from navit_edge.result import attention
from navit_edge.run.rows import offered_shapes

if TYPE_CHECKING:
    from navit_edge.run.sources import Item
    from navit_edge.session import Result, Session

#: The longest side of a picture, in pixels.
MOST_PX = 1600
_STEM = 80  # characters of an image's name that its picture has


def require_map(bundle: Path) -> None:
    """Raises InvalidInputError: the bundle's results have nothing to show over an image."""
    offered = offered_shapes(bundle)
    if not {"attention_map", "tokens"} & set(offered):
        raise InvalidInputError(
            f"{bundle.name} gives {', '.join(offered)}, and a map needs a value for each patch; export it again with "
            f"--outputs {','.join(offered)},attention-map, or with tokens, whose norms are shown"
        )


class Overlays:
    """Takes a job's results as they come and writes ``NAME-HASH.jpg`` of each, the same name in every run."""

    def __init__(self, folder: Path, bundle: Path, session: Session) -> None:
        """Raises OutputError if there can be no such folder."""
        self._folder = folder
        self._preprocess = manifests.load(bundle).preprocess
        self._decoder = session.decoder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{folder} takes no new files; choose a folder that does")

    def take(self, item: Item, result: Result) -> None:
        """One result, with the image that it is of. An image that failed has no picture. Raises OutputError."""
        if item.image is None or item.error is not None or result.error is not None:
            return
        try:
            pixels = as_pixels(item.image, str(item.name), self._decoder).pixels
            rgb = _core.to_rgb(pixels, self._preprocess.alpha, self._preprocess.background)
        except NavitEdgeError:  # the file has gone since
            return
        write_file(self._folder / picture_name(str(item.name)), picture_of(rgb, result))


def picture_of(rgb: npt.NDArray[np.uint8], result: Result) -> bytes:
    """A JPEG of the image [height_px, width_px, 3] with its map over it, reduced to MOST_PX if a side is longer."""
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((MOST_PX, MOST_PX), Image.Resampling.LANCZOS)
    shown = overlay(np.asarray(image), result.on_image(map_of(result), size=(image.height, image.width)))
    content = io.BytesIO()
    Image.fromarray(shown).save(content, "JPEG", quality=90)
    return content.getvalue()


def map_of(result: Result) -> npt.NDArray[np.float32]:
    """float32 [n]: the attention map, the mean over its heads; without one the norms of the tokens."""
    if result.attention_map is None and result.tokens is not None:
        norms: npt.NDArray[np.float32] = np.linalg.norm(result.tokens, axis=1)
        return norms
    return attention(result)


def picture_name(name: str) -> str:
    """Of the image of that name: what of it a file's name may hold, and a hash, so that no two share one."""
    stem = re.sub(r"[^\w.-]+", "_", os.path.basename(name))[:_STEM].strip(".") or "image"
    return f"{stem}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}.jpg"
