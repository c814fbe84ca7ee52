"""From pixels to graph inputs, in numpy and Pillow: the reference that the C++ core is judged by.

Letters: T tokens in a pack (padding included), N images in a pack, P patch side in pixels, C channels, F = P*P*C,
L longest image in a pack in tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def native_grid(height_px: int, width_px: int, patch_px: int) -> tuple[int, int]:
    """(rows, columns) of the patch grid nearest to the image's own size: each side rounded half up, at least 1."""
    if height_px < 1 or width_px < 1:
        raise InvalidInputError(
            f"the image is {height_px}x{width_px} pixels; both sides must be at least 1; leave empty images out"
        )
    rows = max(1, (2 * height_px + patch_px) // (2 * patch_px))
    columns = max(1, (2 * width_px + patch_px) // (2 * patch_px))
    return rows, columns


def capped_grid(height_px: int, width_px: int, patch_px: int, max_tokens: int) -> tuple[int, int]:
    """The largest (rows, columns) on the aspect-preserving path from 1x1 to the native grid with at most
    ``max_tokens`` cells.

    Scaling the image up from nothing, rows passes from r to r+1 where its scaled height reaches (r + 1/2) patches;
    the side whose boundary comes first gains a patch. All in integers, so that C++ agrees exactly.
    """
    if max_tokens < 1:
        raise InvalidInputError(f"max_tokens is {max_tokens}; it must be at least 1")
    native_rows, native_columns = native_grid(height_px, width_px, patch_px)
    if native_rows * native_columns <= max_tokens:
        return native_rows, native_columns
    rows = columns = 1
    while True:
        rows_first = (2 * rows + 1) * width_px <= (2 * columns + 1) * height_px
        if columns == native_columns or (rows_first and rows < native_rows):
            next_rows, next_columns = rows + 1, columns
        else:
            next_rows, next_columns = rows, columns + 1
        if next_rows * next_columns > max_tokens:
            return rows, columns
        rows, columns = next_rows, next_columns


def target_grid(height_px: int, width_px: int, *, patch_px: int, rule: str, max_tokens: int = 0) -> tuple[int, int]:
    """(rows, columns) an image is resized to under the sizing rule ``token-cap`` or ``native``."""
    if rule == "native":
        return native_grid(height_px, width_px, patch_px)
    if rule == "token-cap":
        return capped_grid(height_px, width_px, patch_px, max_tokens)
    raise InvalidInputError(f'sizing rule "{rule}" is unknown; expected "token-cap" or "native"')


def resize(image: UInt8Array, height_px: int, width_px: int, *, resample: str = "bilinear") -> UInt8Array:
    """The image [h, w, 3] resized to [height_px, width_px, 3] as Pillow does it (antialiased when shrinking)."""
    from PIL import Image

    if resample not in FILTERS:
        raise InvalidInputError(f'filter "{resample}" is unknown; expected one of {", ".join(FILTERS)}')
    if image.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(image)
    method = Image.Resampling[resample.upper()]
    return np.asarray(Image.fromarray(image).resize((width_px, height_px), method), dtype=np.uint8)


def prepare(
    image: UInt8Array, *, patch_px: int, rule: str = "token-cap", max_tokens: int = 1024, resample: str = "bilinear"
) -> UInt8Array:
    """An image [h, w, C] of any size, resized to its target grid: [rows*P, columns*P, C]."""
    rows, columns = target_grid(image.shape[0], image.shape[1], patch_px=patch_px, rule=rule, max_tokens=max_tokens)
    return resize(image, rows * patch_px, columns * patch_px, resample=resample)


def patchify(image: UInt8Array, patch_px: int) -> UInt8Array:
    """An image [rows*P, columns*P, C] as patches [rows*columns, F], row-major; (row, column, channel) in a patch."""
    if image.dtype != np.uint8 or image.ndim != 3:
        raise InvalidInputError(
            f"found an array of {image.dtype} with {image.ndim} dimensions; expected uint8 of shape [height, width, C]"
        )
    height_px, width_px, channels = image.shape
    if not height_px or not width_px or height_px % patch_px or width_px % patch_px:
        raise InvalidInputError(
            f"the image is {height_px}x{width_px} pixels; both sides must be positive multiples of the patch "
            f"side {patch_px}; call preprocess.prepare first"
        )
    rows, columns = height_px // patch_px, width_px // patch_px
    cells = image.reshape(rows, patch_px, columns, patch_px, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cells).reshape(rows * columns, patch_px * patch_px * channels)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The graph inputs of one pass. Images lie one after another, padding rows last."""

    patches: UInt8Array  # [T, F]
    positions: Int32Array  # [T, 2] (row, column); prefix token k has (-1-k, -1-k)
    segment_ids: Int32Array  # [T]; N for padding rows
    grid_hw: Int32Array  # [N, 2] (rows, columns); (1, 1) for images that own no token
    attention_index: Int32Array  # [N, L] pack row of token l of image n; -1 where there is none
    token_index: Int32Array  # [T] n*L + l; 0 for padding rows

    @property
    def lengths(self) -> list[int]:
        """Tokens of each image, prefix tokens included: N integers."""
        return [int(n) for n in (self.attention_index >= 0).sum(axis=1)]

    def inputs(self) -> dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.int32]]:
        """All graph inputs by name; a graph takes those it lists."""
        return {name: getattr(self, name) for name in INPUT_NAMES}


INPUT_NAMES = ("patches", "positions", "segment_ids", "grid_hw", "attention_index", "token_index")


def pack(
    images: Sequence[UInt8Array],
    *,
    patch_px: int,
    prefix_tokens: int = 0,
    padding_tokens: int = 0,
    padding_images: int = 0,
    min_longest: int = 0,
) -> Pack:
    """Packs images [rows*P, columns*P, C] in the given order.

    ``padding_tokens`` rows are added at the end; ``padding_images`` images without a token are added, as engines with a
    fixed N have them; L is at least ``min_longest``.
    """
    if not images:
        raise InvalidInputError("found no images; a pack needs at least one")
    patches: list[UInt8Array] = []
    positions: list[Int32Array] = []
    grids: list[tuple[int, int]] = []
    for image in images:
        cells = patchify(image, patch_px)
        rows, columns = image.shape[0] // patch_px, image.shape[1] // patch_px
        patches.append(np.zeros((prefix_tokens, cells.shape[1]), np.uint8))
        patches.append(cells)
        prefix = -1 - np.arange(prefix_tokens, dtype=np.int32)
        positions.append(np.stack([prefix, prefix], axis=1))
        row, column = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
        positions.append(np.stack([row, column], axis=1).astype(np.int32))
        grids.append((rows, columns))
    features = patches[-1].shape[1]
    patches.append(np.zeros((padding_tokens, features), np.uint8))
    positions.append(np.zeros((padding_tokens, 2), np.int32))
    grids.extend([(1, 1)] * padding_images)

    owned = [prefix_tokens + rows * columns for rows, columns in grids[: len(images)]]
    lengths = np.array(owned + [0] * padding_images)
    count = len(lengths)
    segment_ids = np.concatenate([np.repeat(np.arange(count), lengths), np.full(padding_tokens, count)])
    attention_index, token_index = index_tensors(lengths, padding_tokens=padding_tokens, min_longest=min_longest)
    return Pack(
        patches=np.concatenate(patches),
        positions=np.concatenate(positions),
        segment_ids=segment_ids.astype(np.int32),
        grid_hw=np.array(grids, np.int32),
        attention_index=attention_index,
        token_index=token_index,
    )


def index_tensors(
    lengths: Sequence[int] | npt.NDArray[np.int64], *, padding_tokens: int = 0, min_longest: int = 0
) -> tuple[Int32Array, Int32Array]:
    """(attention_index [N, L], token_index [T]) of images with these token counts, packed one after another."""
    sizes = np.asarray(lengths, np.int64)
    longest = max(int(sizes.max()), min_longest, 1)
    starts = np.cumsum(sizes) - sizes
    offsets = np.arange(longest)
    attention_index = np.where(offsets[None, :] < sizes[:, None], starts[:, None] + offsets[None, :], -1)
    image, offset = np.nonzero(attention_index >= 0)
    token_index = np.concatenate([image * longest + offset, np.zeros(padding_tokens, np.int64)])
    return attention_index.astype(np.int32), token_index.astype(np.int32)
