"""Small labelled images that a model can learn: stripes of the class's own direction, on noise."""

from __future__ import annotations

import numpy as np

from navit_edge_export.training.dataset import ArrayDataset

CLASSES = ("down", "across")


def stripes(images: int, *, seed: int = 0, least_px: int = 20, most_px: int = 60) -> ArrayDataset:
    """Images of many sizes and aspects, uint8 [h, w, 3], half of each class."""
    rng = np.random.default_rng(seed)
    pixels = []
    labels = np.arange(images) % 2
    for label in labels:
        height, width = rng.integers(least_px, most_px, 2)
        wave = np.sin(np.arange(max(height, width)) * rng.uniform(0.9, 1.2))
        plane = np.broadcast_to(wave[None, :width] if label else wave[:height, None], (height, width))
        image = 128 + 60 * plane[..., None] + rng.normal(0, 15, (height, width, 3))
        pixels.append(np.clip(image, 0, 255).astype(np.uint8))
    return ArrayDataset(images=pixels, labels=labels, class_names=CLASSES)
