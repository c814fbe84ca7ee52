"""PaddleOCR-VL's vision tower and projector: ``PaddleOCRVisionModel`` and ``PaddleOCRProjector`` of transformers
(arXiv:2510.14528).

A learned table, resampled bilinearly to each image's grid, and rotary positions. "tokens" is the last hidden state of
every patch, "projected" what the language model takes: a row for each 2 x 2 patches.
"""

from __future__ import annotations

import dataclasses

import msgspec
import torch
from torch import nn

from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
    CLIP,
    TowerConfig,
    block_projector,
    map_siglip_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    prefix_of,
    read_shared,
    rope_fields,
)
from navit_edge_export.families.fields import Fields, expect_patches, vision_values
from navit_edge_export.families.qwen_vl import MERGE, read_smart_resize
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "paddleocr-vl"
PREFIXES = ("model.visual.", "visual.")
PROJECTORS = ("model.projector.", "projector.", "mlp_AR.")
PROJECTOR_EPS = 1e-5  # transformers has it in the code, not in the config
MIN_PIXELS, MAX_PIXELS = 384 * 384, 1536 * 1536  # PaddleOCRVLImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaddleOcrConfig(TowerConfig):
    """Fields of ``PaddleOCRVisionConfig`` under this project's names."""

    norm_eps: float
    rope_theta: float
    table_side: int
    out_width: int = 0  # of the projector; 0: there is none


def read_config(checkpoint: Checkpoint) -> PaddleOcrConfig:
    """From config.json, of the vision model or of the whole one."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    fields.expect("spatial_merge_size", MERGE)
    shared = read_shared(
        NAME,
        checkpoint,
        values,
        normalization=CLIP,
        width=1152,
        depth=27,
        heads=16,
        mlp_width=4304,
        activation="gelu_pytorch_tanh",
        patch_px=14,
    )
    projected = checkpoint.tensors.get(f"{prefix_of(checkpoint, PROJECTORS)}linear_2.weight")
    return PaddleOcrConfig(
        **shared,
        norm_eps=fields.number("layer_norm_eps", 1e-6, above=0),
        rope_theta=rope_fields(NAME, values).number("rope_theta", 10000.0, above=0),
        table_side=fields.table_side("image_size", 384, patch_px=shared["patch_px"]),
        out_width=0 if projected is None else projected.shape[0],
    )


def make_model(config: PaddleOcrConfig) -> PackedModel:
    """The packed model. The first half of a head's pairs turns with the row, the second with the column."""
    width = config.width
    one = axial_frequencies(config.rope_theta, width // config.heads // 2)
    none = torch.zeros_like(one)

    def norm() -> nn.Module:
        return nn.LayerNorm(width, eps=config.norm_eps)

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(width, config.table_side, config.table_side, Resampling()),
        rotary=RotaryPositions(torch.cat([one, none]), torch.cat([none, one])),
        blocks=plain_blocks(config, norm, plain_mlps(config, config.activation)),
        norm=norm(),
        projector=block_projector(config, eps=PROJECTOR_EPS) if config.out_width else None,
    )


def state_map(config: PaddleOcrConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with ``visual.`` in front in checkpoints of the whole model."""
    prefix = prefix_of(checkpoint, PREFIXES)
    found = StateMap(f"{prefix}vision_model.")
    found.ignore("*language_model.*", "lm_head.*")
    found.ignore("*.packing_position_embedding.*", "*vision_model.head.*")  # which transformers leaves out, too
    if prefix == "visual.":  # checkpoints as they were released: the language model is "model"
        found.ignore("model.*")
    found.make("embed.weight", "embeddings.patch_embedding.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "embeddings.patch_embedding.bias")
    found.copy("positions.table", "embeddings.position_embedding.weight")
    for n in range(config.depth):
        map_siglip_block(found, n)
    found.layer("norm", "post_layernorm")
    if config.out_width:
        found.prefix = prefix_of(checkpoint, PROJECTORS)
        found.layer("projector.norm", "pre_norm")
        found.layer("projector.mlp.up", "linear_1")
        found.layer("projector.mlp.down", "linear_2")
    return found


def read_preprocessing(config: PaddleOcrConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``PaddleOCRVLImageProcessor`` does it."""
    expect_patches(NAME, checkpoint, config.patch_px).expect("merge_size", MERGE, None)
    found = read_smart_resize(NAME, checkpoint, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return dataclasses.replace(found, sizing=msgspec.structs.replace(found.sizing, enlarge="nearest"))
