"""The sizing rules in plain Python: what judges ``csrc/src/sizing/rules.cc``, and what training uses.

Rules of other libraries are theirs, operation by operation on the same floats; ``tests/conformance/test_sizing.py``
compares both with the libraries themselves. docs/preprocessing.md has the table.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from navit_edge.bundle.sizing_rule import Sizing, fault
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Enlarge

Grid = tuple[int, int]  # rows, columns, in patches


class Placement(NamedTuple):
    """Where an image lies that is moved, not resized: its first pixel is at (top_px, left_px) of the grid."""

    top_px: int
    left_px: int


def target_grid(height_px: int, width_px: int, *, patch_px: int, sizing: Sizing) -> Grid:
    """(rows, columns) of an image under a sizing rule.

    Raises InvalidInputError for an empty image, for one that the rule refuses, and for wrong fields of the rule.
    """
    if height_px < 1 or width_px < 1:
        raise InvalidInputError(
            f"the image is {height_px}x{width_px} pixels; both sides must be at least 1; leave empty images out"
        )
    if wrong := fault(sizing, patch_px):
        raise InvalidInputError(f"sizing: {wrong}")
    if sizing.rule == "token-cap":
        return capped_grid(height_px, width_px, patch_px, sizing.max_tokens, upscale=sizing.upscale)
    if sizing.rule == "native":
        return native_grid(height_px, width_px, patch_px, sizing.fit)
    if sizing.rule == "naflex":
        return naflex_grid(height_px, width_px, patch_px, sizing.max_tokens)
    if sizing.rule == "smart-resize":
        return smart_resize_grid(height_px, width_px, patch_px, sizing)
    if sizing.rule == "longest-side":
        return longest_side_grid(height_px, width_px, patch_px, sizing.longest_px, merge=max(1, sizing.merge))
    if sizing.rule == "navit-resize":
        return navit_resize_grid(height_px, width_px, patch_px, sizing)
    if sizing.rule == "patch-budget":
        return patch_budget_grid(height_px, width_px, patch_px, sizing.merge, sizing.max_tokens)
    return sizing.height_px // patch_px, sizing.width_px // patch_px  # fixed


def native_grid(height_px: int, width_px: int, patch_px: int, fit: str = "resize") -> Grid:
    """Each side in patches, at least 1: rounded half up if the image is resized, up for "pad", down for "crop"."""

    def count(side_px: int) -> int:
        if fit == "pad":
            return -(-side_px // patch_px)
        if fit == "crop":
            return max(1, side_px // patch_px)
        return max(1, (2 * side_px + patch_px) // (2 * patch_px))

    return count(height_px), count(width_px)


def capped_grid(height_px: int, width_px: int, patch_px: int, max_tokens: int, *, upscale: bool = False) -> Grid:
    """The largest (rows, columns) on the aspect-preserving path that starts at 1x1 with at most ``max_tokens`` cells.
    The path ends at the native grid, or never with ``upscale``.

    Scaling the image up from nothing, rows passes from r to r+1 where its scaled height reaches (r + 1/2) patches;
    the side whose boundary comes first gains a patch. All in integers, so that C++ agrees exactly.
    """
    end_rows, end_columns = native_grid(height_px, width_px, patch_px)
    if upscale:
        end_rows = end_columns = max_tokens + 1
    elif end_rows * end_columns <= max_tokens:
        return end_rows, end_columns
    rows = columns = 1
    while True:
        rows_first = (2 * rows + 1) * width_px <= (2 * columns + 1) * height_px
        if columns == end_columns or (rows_first and rows < end_rows):
            next_rows, next_columns = rows + 1, columns
        else:
            next_rows, next_columns = rows, columns + 1
        if next_rows * next_columns > max_tokens:
            return rows, columns
        rows, columns = next_rows, next_columns


def naflex_grid(height_px: int, width_px: int, patch_px: int, max_tokens: int) -> Grid:
    """SigLIP2's rule: the scale by bisection, each side rounded up to patches; small images are scaled up.

    transformers, ``get_image_size_for_max_num_patches``; timm, ``get_image_size_for_seq``.
    """

    def at(scale: float) -> Grid:
        return max(1, math.ceil(height_px * scale / patch_px)), max(1, math.ceil(width_px * scale / patch_px))

    eps = 1e-5
    lowest, highest = eps / 10, 100.0
    while highest - lowest >= eps:
        scale = (lowest + highest) / 2
        rows, columns = at(scale)
        if rows * columns <= max_tokens:
            lowest = scale
        else:
            highest = scale
    rows, columns = at(lowest)
    if rows * columns > max_tokens:
        raise InvalidInputError(
            f"the image is {height_px}x{width_px} pixels: too long for the sizing rule naflex with {max_tokens} "
            "patches; make it smaller first"
        )
    return rows, columns


def smart_resize_grid(height_px: int, width_px: int, patch_px: int, sizing: Sizing) -> Grid:
    """Qwen2-VL's rule: sides in multiples of P * merge, the area in a range of pixels, aspects up to 200.

    transformers, ``models/qwen2_vl``: ``smart_resize``.
    """
    factor = patch_px * sizing.merge
    height_px, width_px = enlarged(height_px, width_px, factor, sizing.enlarge)
    aspect = max(height_px, width_px) / min(height_px, width_px)
    if aspect > 200:
        raise InvalidInputError(
            f"the image is {height_px}x{width_px} pixels, an aspect of {aspect:g}; the sizing rule smart-resize takes "
            "at most 200; crop it first"
        )
    rows, columns = round(height_px / factor), round(width_px / factor)
    if rows * factor * columns * factor > sizing.max_pixels:
        beta = math.sqrt((height_px * width_px) / sizing.max_pixels)
        rows = max(1, math.floor(height_px / beta / factor))
        columns = max(1, math.floor(width_px / beta / factor))
    elif rows * factor * columns * factor < sizing.min_pixels:
        beta = math.sqrt(sizing.min_pixels / (height_px * width_px))
        rows = math.ceil(height_px * beta / factor)
        columns = math.ceil(width_px * beta / factor)
    return rows * sizing.merge, columns * sizing.merge


def enlarged(height_px: int, width_px: int, cell_px: int, enlarge: Enlarge) -> tuple[int, int]:
    """(height, width) of an image that has a side below a cell, as ``smart-resize`` takes it under ``enlarge``.

    transformers, ``smart_resize`` of ``models/glm4v`` ("floor", where rounding may leave the side a pixel below the
    cell) and of ``models/paddleocr_vl`` ("nearest").
    """
    if enlarge == "floor" and min(height_px, width_px) < cell_px:
        scale = max(cell_px / height_px, cell_px / width_px)
        return int(height_px * scale), int(width_px * scale)
    if enlarge == "nearest":
        if height_px < cell_px:
            height_px, width_px = cell_px, round((width_px * cell_px) / height_px)
        if width_px < cell_px:
            height_px, width_px = round((height_px * cell_px) / width_px), cell_px
    return height_px, width_px


def patch_budget_grid(height_px: int, width_px: int, patch_px: int, merge: int, max_tokens: int) -> Grid:
    """Gemma 4's rule: scaled up or down to the area of ``max_tokens`` patches, each side rounded down to P * merge.

    transformers, ``models/gemma4``: ``get_aspect_ratio_preserving_size``. There some squares come out as
    nothing by rounding if the limit is merge * merge patches, and are refused; here they get these.
    """
    factor = math.sqrt(max_tokens * patch_px**2 / (height_px * width_px))
    cell_px = merge * patch_px
    rows, columns = (math.floor(factor * side_px / cell_px) for side_px in (height_px, width_px))
    most = max_tokens // merge**2
    if rows == 0 and columns == 0:
        rows = columns = 1
    elif rows == 0:
        rows, columns = 1, min(math.floor(width_px / height_px), most)
    elif columns == 0:
        rows, columns = min(math.floor(height_px / width_px), most), 1
    return rows * merge, columns * merge


def longest_side_grid(height_px: int, width_px: int, patch_px: int, longest_px: int, *, merge: int = 1) -> Grid:
    """Pixtral's rule: scaled down until no side is above ``longest_px``, each side rounded up to ``merge`` patches.

    transformers, ``models/pixtral``: ``get_resize_output_image_size``, with patches of P * merge as
    ``PixtralProcessor`` asks for them. There a side of very long images comes out with no patch; here it has one.
    """
    ratio = max(height_px / longest_px, width_px / longest_px)
    if ratio > 1:
        height_px, width_px = math.floor(height_px / ratio), math.floor(width_px / ratio)
    cell_px = patch_px * merge
    return max(1, -(-height_px // cell_px)) * merge, max(1, -(-width_px // cell_px)) * merge


def navit_resize_content(height_px: int, width_px: int, patch_px: int, sizing: Sizing) -> tuple[int, int]:
    """(height, width) in pixels that Kimi's rule scales an image to, before its sides are filled up: down, until whole
    patches are at most ``max_tokens`` and no side is above ``longest_px``.

    transformers, ``models/kimi_k25``: ``navit_resize``.
    """
    count = max(1.0, height_px // patch_px) * max(1.0, width_px // patch_px)
    longest = sizing.longest_px
    scale = min(1.0, math.sqrt(sizing.max_tokens / count), longest / height_px, longest / width_px)
    return min(max(1, int(height_px * scale)), longest), min(max(1, int(width_px * scale)), longest)


def navit_resize_grid(height_px: int, width_px: int, patch_px: int, sizing: Sizing) -> Grid:
    """Kimi's rule: scaled down as ``navit_resize_content`` says, then each side filled up to ``merge`` patches."""
    height_px, width_px = navit_resize_content(height_px, width_px, patch_px, sizing)
    cell_px = patch_px * sizing.merge
    return -(-height_px // cell_px) * sizing.merge, -(-width_px // cell_px) * sizing.merge


def placement(height_px: int, width_px: int, *, patch_px: int, sizing: Sizing) -> Placement | None:
    """Where an image lies on its grid under fit "pad" (its corner) or "crop" (its centre); None if it is resized."""
    if sizing.rule != "native" or sizing.fit == "resize":
        return None
    if sizing.fit == "pad":
        return Placement(0, 0)

    def centred(side_px: int, target_px: int) -> int:
        return (target_px - side_px) // 2 if side_px < target_px else -round((side_px - target_px) / 2)

    rows, columns = native_grid(height_px, width_px, patch_px, sizing.fit)
    return Placement(centred(height_px, rows * patch_px), centred(width_px, columns * patch_px))
