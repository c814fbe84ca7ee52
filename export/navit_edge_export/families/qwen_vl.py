"""What the vision towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL share (transformers; arXiv:2409.12191, arXiv:2502.13923).

Rotary positions in two dimensions: the first half of a head's pairs turns with the row, the second with the column. A
patch is convolved over two frames, which are the same for an image, so that both weights add up; with ``frames`` 2 a
patch holds both, and what is an image to a pack is a pair of frames, since attention stays inside one. What a tower
gives is its merger's output: one token for every 2 x 2 patches. The originals order patches by those blocks (and
Qwen2.5-VL by windows); attention does not see an order, and the merger gathers its blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
    CLIP,
    Normalization,
    TowerConfig,
    map_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    prefix_of,
    rope_fields,
)
from navit_edge_export.families.fields import (
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    read_patch_px,
    read_pixels,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

PREFIXES = ("model.visual.", "visual.")
NORM_EPS = 1e-6  # transformers has it in the code, not in the config
MERGE = 2
FRAMES = 2
MOST_PIXELS = 1 << 30  # no limit, within a session's integers


@dataclasses.dataclass(frozen=True, kw_only=True)
class QwenVisionConfig(TowerConfig):
    """Fields of the three families' vision configs under this project's names."""

    out_width: int  # of a merged token
    rope_theta: float
    frames: int = 1  # that a patch holds; with 2 the model is for videos, and the others are those of its processor
    video_min_pixels: int = 0
    video_max_pixels: int = 0
    video_budget: str = ""  # what these limit: the pixels of each "frame", or of the "film"


def vision_fields(family: str, checkpoint: Checkpoint) -> tuple[Fields, dict[str, Any]]:
    """The fields of the vision tower, from the config of it or of the whole model; what none of the three may change is
    checked."""
    values = vision_values(family, checkpoint)
    fields = Fields(family, values)
    fields.expect("spatial_merge_size", MERGE)
    fields.expect("temporal_patch_size", FRAMES, [1, 2])
    processor = Fields(family, checkpoint.processor, where="preprocessor_config.json")
    processor.expect("merge_size", MERGE, None)
    return fields, values


def shared_values(
    family: str,
    checkpoint: Checkpoint,
    *,
    patch_px: int = 14,
    normalization: Normalization = CLIP,
    video_budget: str = "frame",
) -> dict[str, Any]:
    """Values of the config that all three call the same; the arguments are the family's defaults."""
    fields, values = vision_fields(family, checkpoint)
    if checkpoint.frames not in (1, FRAMES):
        raise InvalidInputError(f"frames is {checkpoint.frames}; expected 1 for images or {FRAMES} for videos")
    channels = fields.integer("in_channels", fields.integer("in_chans", 3))
    mean, std = read_pixels(family, checkpoint, channels=channels, mean=normalization[0], std=normalization[1])
    patch_px = read_patch_px(fields, values, default=patch_px)
    expect_patches(family, checkpoint, patch_px)
    return {
        "depth": fields.integer("depth"),
        "heads": fields.integer("num_heads", 16),
        "patch_px": patch_px,
        "channels": channels,
        "mean": mean,
        "std": std,
        "rope_theta": rope_fields(family, values).number("rope_theta", 10000.0, above=0),
        "frames": checkpoint.frames,
        **_video_values(family, checkpoint, side_px=MERGE * patch_px, budget=video_budget),
    }


def make_rotary(config: QwenVisionConfig) -> RotaryPositions:
    """The same frequencies for rows and columns."""
    one = axial_frequencies(config.rope_theta, config.width // config.heads // 2)
    return RotaryPositions(torch.cat([one, torch.zeros_like(one)]), torch.cat([torch.zeros_like(one), one]))


def make_merger(config: QwenVisionConfig) -> PatchMerger:
    """An MLP over four patches; the norm of each patch before it is the model's final norm."""
    width = MERGE * MERGE * config.width
    return PatchMerger(MERGE, Mlp(width, width, out_width=config.out_width))


def make_tower(
    family: str,
    config: QwenVisionConfig,
    *,
    positions: nn.Module | None = None,
    deepstack: Mapping[int, PatchMerger] | None = None,
) -> PackedModel:
    """The packed model of Qwen2-VL and Qwen3-VL."""

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(config.width, eps=NORM_EPS)

    return PackedModel(
        family,
        config,
        embed=patch_embed(config),
        positions=positions,
        rotary=make_rotary(config),
        blocks=plain_blocks(config, norm, plain_mlps(config, config.activation)),
        norm=norm(),
        merger=make_merger(config),
        deepstack=deepstack,
    )


def map_tower_block(found: StateMap, n: int, *, mlp: tuple[str, str]) -> None:
    """A block of Qwen2-VL and Qwen3-VL; ``mlp``: how they call its layers."""
    block = f"blocks.{n}"
    map_block(found, block, block, norms=("norm1", "norm2"), qkv=["attn.qkv"], proj="attn.proj", mlp=mlp)


def start_map(checkpoint: Checkpoint, *, patch_bias: bool) -> StateMap:
    """The map with the patch embedding; names have ``visual.`` in front in checkpoints of the whole model."""
    prefix = prefix_of(checkpoint, PREFIXES)
    found = StateMap(prefix)
    found.ignore("*language_model.*", "lm_head.*", "mtp.*")  # mtp: the heads that predict several tokens (Qwen3.5)
    if prefix == "visual.":  # checkpoints as they were released: the language model is "model"
        found.ignore("model.*")
    name = "patch_embed.proj"
    found.make("embed.weight", f"{name}.weight", by=image_rows_from_frames if checkpoint.frames == 1 else film_rows)
    if patch_bias:
        found.copy("embed.bias", f"{name}.bias")
    else:
        found.make("embed.bias", f"{name}.weight", by=lambda w: torch.zeros(w.shape[0]))
    return found


def image_rows_from_frames(weight: Tensor) -> Tensor:
    """The weight of a convolution over frames [D, C, 2, P, P], for two equal frames: [D, F] in (row, column, channel)
    order."""
    return patch_rows_from_convolution(weight.sum(2))


def film_rows(weight: Tensor) -> Tensor:
    """The same of frames that differ: [D, 2F], the first frame's pixels before the second's."""
    return torch.cat([patch_rows_from_convolution(frame) for frame in weight.unbind(2)], dim=1)


def _video_values(family: str, checkpoint: Checkpoint, *, side_px: int, budget: str) -> dict[str, Any]:
    """Fields of ``QwenVisionConfig`` for videos, as the family's video processor of transformers has them; none for
    images. side_px: of a merged token. budget: what the limits of pixels are of."""
    if checkpoint.frames == 1:
        return {}
    Fields(family, checkpoint.processor, where="the video processor's config").expect(
        "cap_pixels_per_frame", False, None
    )
    low, high = _pixel_limits(family, checkpoint, 128 * side_px**2, 768 * side_px**2)
    return {"video_min_pixels": low, "video_max_pixels": high, "video_budget": budget}


def _pixel_limits(family: str, checkpoint: Checkpoint, low: int, high: int) -> tuple[int, int]:
    """``size.shortest_edge`` and ``longest_edge``, once ``min_pixels`` and ``max_pixels``, or these defaults."""
    processor = checkpoint.processor
    size = Fields(family, processor, where="preprocessor_config.json").section("size")
    limits = []
    for old, new, default in (("min_pixels", "shortest_edge", low), ("max_pixels", "longest_edge", high)):
        values, name = (processor, old) if processor.get(old) is not None else (size, new)
        limits.append(Fields(family, values, where="preprocessor_config.json").integer(name, default))
    return limits[0], limits[1]


def read_smart_resize(
    family: str, checkpoint: Checkpoint, *, min_pixels: int = 56 * 56, max_pixels: int = 28 * 28 * 1280
) -> Preprocessing:
    """As ``Qwen2VLImageProcessor`` does it: sides are multiples of two patches, the pixels between two numbers; the
    arguments are defaults. Frames of a film have their size already (``navit_edge.video``), and keep it."""
    limits = (1, MOST_PIXELS) if checkpoint.frames > 1 else _pixel_limits(family, checkpoint, min_pixels, max_pixels)
    return Preprocessing(
        sizing=Sizing(rule="smart-resize", merge=MERGE, min_pixels=limits[0], max_pixels=limits[1]),
        filter=read_filter(family, checkpoint, "bicubic"),
        alpha=read_alpha(family, checkpoint, converts=True),
    )
