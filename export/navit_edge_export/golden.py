"""What Pillow, or torch for the processor torchvision, makes of a few drawn images; `navit-edge verify` compares the
runtime's own patches."""

from __future__ import annotations

from navit_edge.bundle.manifest import Golden, Preprocess, processor_of
from navit_edge.verify.golden import SIZES, digest, draw
from navit_edge_export.preprocess import patchify, prepare


def golden_images(spec: Preprocess, frames: int) -> tuple[Golden, ...]:
    """One for each of ``SIZES``, all frames of a patch alike; the grid is that of the bundle's own sizing rule."""
    found = []
    for index, (height_px, width_px) in enumerate(SIZES):
        resized = prepare(
            draw(height_px, width_px, spec.channels, seed=index),
            patch_px=spec.patch_px,
            sizing=spec.sizing,
            resample=spec.filter,
            processor=processor_of(spec),
        )
        grid = (resized.shape[0] // spec.patch_px, resized.shape[1] // spec.patch_px)
        patches = digest(patchify(resized, spec.patch_px, frames))
        found.append(Golden(height_px=height_px, width_px=width_px, grid=grid, sha256=patches))
    return tuple(found)
