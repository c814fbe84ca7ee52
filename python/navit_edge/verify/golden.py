"""Pixels to patches: hashes that export took from Pillow and numpy, against this machine's own.

The images are drawn in integers alone, so that every machine draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.manifest import Golden, Manifest
from navit_edge.bundle.sizing_rule import to_json
from navit_edge.oracle.reference import patches_of

#: Up, down, extreme, exact: each path through sizing and resizing.
SIZES = ((48, 64), (37, 211), (200, 1), (1, 200), (480, 640), (224, 224), (333, 517), (97, 31))


def draw(height_px: int, width_px: int, channels: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 [height_px, width_px, channels]: the top byte of a multiplicative hash of each position."""
    position = np.arange(height_px * width_px * channels, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
    mixed = position * np.uint32(2654435761)
    mixed ^= mixed >> np.uint32(15)
    values: npt.NDArray[np.uint8] = ((mixed * np.uint32(2246822519)) >> np.uint32(24)).astype(np.uint8)
    return values.reshape(height_px, width_px, channels)


def digest(patches: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(patches).tobytes()).hexdigest()


def mismatches(manifest: Manifest, goldens: Sequence[Golden]) -> list[str]:
    """In words, each golden image whose grid or patches come out otherwise here."""
    pre = manifest.preprocess
    wrong = []
    for index, golden in enumerate(goldens):
        image = draw(golden.height_px, golden.width_px, pre.channels, seed=index)
        who = f"{golden.height_px} x {golden.width_px} px"
        size = np.array([image.shape[:2]], np.int32)
        rows, columns = _core.resize_targets(size, patch_px=pre.patch_px, sizing=to_json(pre.sizing))[0]
        grid = (int(rows), int(columns))
        if grid != tuple(golden.grid):
            wrong.append(f"{who}: grid {list(grid)}, exported with {list(golden.grid)}")
            continue
        if digest(patches_of(image, grid, manifest)) != golden.sha256:
            wrong.append(f"{who}: other patches")
    return wrong
