"""Planning and resizing on their own, without a bundle: the session's own code (csrc/src/plan.cc, resize.cc)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from navit_edge import _core

Strategy = Literal["first-fit-decreasing", "similar-length"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


def plan(
    token_counts: Sequence[int],
    *,
    token_budget: int | Sequence[int],
    max_images: int,
    strategy: Strategy = "first-fit-decreasing",
) -> list[list[int]]:
    """Distributes images over packs.

    token_counts: tokens of each image.
    token_budget: most tokens in a pack, or the budgets to choose from.
    max_images: most images in a pack.
    strategy: "first-fit-decreasing" wastes the fewest tokens; "similar-length" puts images of like length together, for
        attention that pads within a pack.

    Returns the packs, each a list of indices into ``token_counts``; every image is in exactly one. Raises
    OverBudgetError for an image above every budget, InvalidInputError for counts or limits below 1.
    """
    budgets = [token_budget] if isinstance(token_budget, int) else sorted(token_budget)
    return _core.plan(token_counts, token_budgets=budgets, max_images=max_images, strategy=strategy)


def resize(
    image: npt.NDArray[np.uint8] | _core.Pixels,
    size: tuple[int, int],
    filter: Filter = "bilinear",
) -> npt.NDArray[np.uint8]:
    """``image`` at ``size`` (height_px, width_px), bit for bit as Pillow 13's ``Image.resize``, antialiased.

    image: uint8 [h, w] or [h, w, 1] (one channel), [h, w, 3], or [h, w, 4], whose last channel is alpha: the others
        are premultiplied with it for the resize, as Pillow does, except by "nearest". Any row stride; read where it
        lies. Or
        ``Pixels``: gray gives one channel, RGBA and BGRA give RGBA, the rest RGB.
    size: 1 to 2**20 a side.

    Returns uint8 [height_px, width_px, C]. Raises InvalidInputError.
    """
    return _core.resize(image, size, filter)
