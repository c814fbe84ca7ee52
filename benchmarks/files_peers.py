"""Other libraries for ``files.py``: what each makes of a file, on one core, as its own documentation has it.

Each lies in a folder of its own, since one of them is a Pillow, too:

    for name in simplejpeg "pyvips[binary]" pillow-simd; do pip install --target PEERS/"${name%[*}" "$name" numpy; done
    python benchmarks/files.py --peers PEERS
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Peer(NamedTuple):
    """package: its folder. kinds: of files, by how they begin. scaled: it decodes fewer frequencies of a JPEG."""

    package: str
    kinds: tuple[str, ...]
    scaled: bool


PEERS = {
    "simplejpeg, decode alone": Peer("simplejpeg", ("JPEG",), False),
    "simplejpeg, decode alone, scaled": Peer("simplejpeg", ("JPEG",), True),
    "pyvips, resize": Peer("pyvips", ("JPEG", "PNG, RGB"), False),
    "pyvips, thumbnail": Peer("pyvips", ("JPEG",), True),
    "Pillow-SIMD, resize": Peer("pillow-simd", ("JPEG", "PNG, RGB"), False),
    "Pillow-SIMD, draft and resize": Peer("pillow-simd", ("JPEG",), True),
}


def takes(name: str, kind: str) -> bool:
    return kind.startswith(PEERS[name].kinds) and kind != "PNG, RGBA"


def peer(name: str, size: tuple[int, int], target: tuple[int, int]) -> Callable[[bytes], Any]:
    """What turns a file of ``size`` (width_px, height_px) into pixels of ``target`` (height_px, width_px)."""
    scaled = PEERS[name].scaled
    height, width = target
    if name.startswith("simplejpeg"):
        import simplejpeg

        least = {"min_height": 2 * height, "min_width": 2 * width, "min_factor": 1} if scaled else {}
        return lambda data: simplejpeg.decode_jpeg(data, **least)
    if name.startswith("pyvips"):
        os.environ["VIPS_CONCURRENCY"] = "1"
        import pyvips

        pyvips.cache_set_max(0)  # else a file that comes again is not decoded
        if scaled:
            return lambda data: np.asarray(pyvips.Image.thumbnail_buffer(data, width, height=height, size="force"))
        across, down = width / size[0], height / size[1]
        return lambda data: np.asarray(
            pyvips.Image.new_from_buffer(data, "", access="sequential").resize(across, vscale=down, kernel="linear")
        )
    from PIL import Image

    def by_pillow(data: bytes) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            if scaled:
                image.draft("RGB", (2 * width, 2 * height))
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))

    return by_pillow
