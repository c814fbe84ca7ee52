"""From pixels to graph inputs in numpy, Pillow and (for torchvision) torch: the reference to judge the C++ core by.

Letters: T tokens in a pack (padding included), N images in a pack, P patch side in pixels, C channels, F = P*P*C,
L longest image in a pack in tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.bundle.merging import MERGE_INPUTS, Merging, merge_inputs
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import PROCESSOR_FILTERS, Processor
from navit_edge_export.sizing import Placement, navit_resize_content, placement, target_grid

UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]


def resize(
    image: UInt8Array,
    height_px: int,
    width_px: int,
    *,
    resample: str = "bilinear",
    processor: Processor = "pillow",
) -> UInt8Array:
    """The image [h, w, 3] resized to [height_px, width_px, 3] as Pillow 13 does it (antialiased when shrinking), or as
    torch does it for torchvision.

    Pillow before 13, the newest for Python 3.10, always goes across first: it is asked for one side at a time.
    """
    import PIL
    from PIL import Image

    if resample not in PROCESSOR_FILTERS[processor]:
        known = ", ".join(PROCESSOR_FILTERS[processor])
        raise InvalidInputError(f'filter "{resample}" is unknown; expected one of {known}')
    if image.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(image)
    if processor == "torchvision":
        return _resize_by_torch(image, height_px, width_px, resample)
    method = Image.Resampling[resample.upper()]
    picture = Image.fromarray(image)
    rows_lost, columns_lost = image.shape[0] - height_px, image.shape[1] - width_px
    if int(PIL.__version__.partition(".")[0]) < 13 and rows_lost > 0 and rows_lost > 2 * columns_lost:
        picture = picture.resize((image.shape[1], height_px), method)
    return np.asarray(picture.resize((width_px, height_px), method), dtype=np.uint8)


def _resize_by_torch(image: UInt8Array, height_px: int, width_px: int, resample: str) -> UInt8Array:
    """What torchvision's resize calls for 8-bit pixels where the CPU has AVX2."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size=(height_px, width_px), mode=resample, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def place(image: UInt8Array, height_px: int, width_px: int, at: Placement, pad_rgb: tuple[int, int, int]) -> UInt8Array:
    """[height_px, width_px, 3] of the colour ``pad_rgb`` with the image [h, w, 3] on it; what sticks out is cut off."""
    canvas = np.empty((height_px, width_px, 3), np.uint8)
    canvas[:] = np.array(pad_rgb, np.uint8)
    top, left = max(0, at.top_px), max(0, at.left_px)
    part = image[max(0, -at.top_px) :, max(0, -at.left_px) :][: height_px - top, : width_px - left]
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas


def prepare(
    image: UInt8Array,
    *,
    patch_px: int,
    sizing: Sizing | None = None,
    max_tokens: int = 1024,
    resample: str = "bilinear",
    processor: Processor = "pillow",
) -> UInt8Array:
    """An image [h, w, C] of any size, brought onto its grid by ``sizing``: [rows*P, columns*P, C].

    Without ``sizing`` the rule is token-cap with ``max_tokens``.
    """
    rule = sizing or Sizing(rule="token-cap", max_tokens=max_tokens)
    height_px, width_px = image.shape[:2]
    rows, columns = target_grid(height_px, width_px, patch_px=patch_px, sizing=rule)
    at = placement(height_px, width_px, patch_px=patch_px, sizing=rule)
    if at is not None:
        return place(image, rows * patch_px, columns * patch_px, at, rule.pad_rgb)
    if rule.rule == "navit-resize":
        height_px, width_px = navit_resize_content(height_px, width_px, patch_px, rule)
        content = resize(image, height_px, width_px, resample=resample, processor=processor)
        return place(content, rows * patch_px, columns * patch_px, Placement(0, 0), rule.pad_rgb)
    return resize(image, rows * patch_px, columns * patch_px, resample=resample, processor=processor)


def normalize(
    pixels: UInt8Array, mean: Sequence[float], std: Sequence[float], *, processor: Processor
) -> npt.NDArray[np.float32]:
    """Pixels [..., C] as the processor hands them to a model, in float32 and in its order of operations.

    A graph has this folded into its first layer; here it is for the record, and for models that run beside it.
    """
    values: npt.NDArray[np.float32] = pixels.astype(np.float32)
    centre, scale = np.array(mean, np.float32), np.array(std, np.float32)
    if processor == "torchvision":  # transformers' TorchvisionBackend: rescaling and normalization are one
        centre, scale = centre * np.float32(255), scale * np.float32(255)
    elif processor == "timm":  # ToTensor, then Normalize, in float32
        values = values / np.float32(255)
    else:  # transformers' rescale, in float64
        values = (pixels.astype(np.float64) * (1 / 255)).astype(np.float32)
    return np.asarray((values - centre) / scale, np.float32)


def patchify(image: UInt8Array, patch_px: int, frames: int = 1) -> UInt8Array:
    """An image [rows*P, columns*P, C] as patches [rows*columns, F], row-major; (row, column, channel) in a patch.

    frames: So many of a film are in a patch, one after another, [rows*columns, frames * F]; the image is then
    [frames, rows*P, columns*P, C], or one that is all of them.
    """
    if frames > 1:
        film = image if image.ndim == 4 else np.broadcast_to(image, (frames, *image.shape))
        return np.concatenate([patchify(frame, patch_px) for frame in film], axis=1)
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
    attention_index: Int32Array  # [N, L] pack row of token l of image n; -1 if there is none
    token_index: Int32Array  # [T] n*L + l; 0 for padding rows
    cu_seqlens: Int32Array  # [N+1] tokens of the images before image n; last, of all: padding rows do not count

    @property
    def lengths(self) -> list[int]:
        """Tokens of each image, prefix tokens included: N integers."""
        return [int(n) for n in np.diff(self.cu_seqlens)]

    def inputs(
        self, merging: Merging | None = None, *, prefix_tokens: int = 0
    ) -> dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.int32]]:
        """All graph inputs by name; a graph takes those it lists. Those of a merge, too, if there is one."""
        found = {name: getattr(self, name) for name in INPUT_NAMES}
        if merging is not None:
            found |= merge_inputs(
                merging,
                self.lengths,
                prefix_tokens=prefix_tokens,
                tokens=len(self.patches),
                longest=self.attention_index.shape[1],
            )
        return found


INPUT_NAMES = ("patches", "positions", "segment_ids", "grid_hw", "attention_index", "token_index", "cu_seqlens")
#: What the graph of a lowering may list.
GRAPH_INPUTS = {
    "masked": INPUT_NAMES[:4],
    "padded": INPUT_NAMES[:6],
    "packed": (*INPUT_NAMES[:4], "cu_seqlens"),
}


def graph_inputs(lowering: str, merging: Merging | None = None) -> tuple[str, ...]:
    """What a graph may list; ``merging``: of a model that merges tokens."""
    merges = () if merging is None else MERGE_INPUTS if lowering == "padded" else MERGE_INPUTS[:5]
    return (*GRAPH_INPUTS[lowering], *merges)


def pack(
    images: Sequence[UInt8Array],
    *,
    patch_px: int,
    prefix_tokens: int = 0,
    padding_tokens: int = 0,
    padding_images: int = 0,
    min_longest: int = 0,
    frames: int = 1,
) -> Pack:
    """Packs images [rows*P, columns*P, C] in the given order; ``frames``: as of ``patchify``.

    ``padding_tokens`` rows are added at the end; ``padding_images`` images without a token are added, as engines with a
    fixed N have them; L is at least ``min_longest``.
    """
    if not images:
        raise InvalidInputError("found no images; a pack needs at least one")
    patches: list[UInt8Array] = []
    positions: list[Int32Array] = []
    grids: list[tuple[int, int]] = []
    for image in images:
        cells = patchify(image, patch_px, frames)
        rows, columns = image.shape[-3] // patch_px, image.shape[-2] // patch_px
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
        cu_seqlens=cumulative_lengths(lengths),
    )


def cumulative_lengths(lengths: Sequence[int] | npt.NDArray[np.int64]) -> Int32Array:
    """cu_seqlens [N+1] of N images with these token counts: 0, then the sum up to and with each image."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


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
