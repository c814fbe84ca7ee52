"""The image sets of the benchmarks: crops of real photographs, already at whole patches, so that nobody resizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PATCH_PX = 16


def photograph() -> npt.NDArray[np.uint8]:
    """One photograph [427, 640, 3] that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("china.jpg"))


def mixed_grids(count: int = 30, *, least: int = 32, most: int = 1024, seed: int = 0) -> list[tuple[int, int]]:
    """(rows, columns) of ``count`` images with ``least``..``most`` tokens: log-uniform, aspect ratios 1:2 to 2:1."""
    rng = np.random.default_rng(seed)
    grids: list[tuple[int, int]] = []
    while len(grids) < count:
        tokens = np.exp(rng.uniform(np.log(least), np.log(most)))
        aspect = np.exp(rng.uniform(np.log(0.5), np.log(2.0)))
        rows, columns = max(1, round((tokens * aspect) ** 0.5)), max(1, round((tokens / aspect) ** 0.5))
        if least <= rows * columns <= most:
            grids.append((rows, columns))
    return grids


def small_grids(count: int = 64) -> list[tuple[int, int]]:
    """``count`` images of 64 tokens: 8 x 8 patches."""
    return [(8, 8)] * count


def images_of(grids: list[tuple[int, int]]) -> list[npt.NDArray[np.uint8]]:
    """The photograph at each grid: [rows * 16, columns * 16, 3] uint8."""
    from PIL import Image

    source = Image.fromarray(photograph())
    return [
        np.asarray(source.resize((columns * PATCH_PX, rows * PATCH_PX), Image.Resampling.BILINEAR), dtype=np.uint8)
        for rows, columns in grids
    ]
