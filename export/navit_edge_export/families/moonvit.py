"""MoonViT, Kimi's vision tower: ``Kimi_K25VisionModel`` of transformers (arXiv:2504.07491).

A learned table, resampled bicubically to each image's grid, and rotary positions whose frequencies alternate between
column and row. "tokens" is the last hidden state of every patch: the 2 x 2 patches that Kimi's projector takes together
are its matter. Frames of videos have a term of their own, images none.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import (
    HALF,
    TowerConfig,
    map_block,
    patch_embed,
    plain_blocks,
    plain_mlps,
    prefix_of,
    read_shared,
    rope_fields,
)
from navit_edge_export.families.fields import (
    Fields,
    expect_patches,
    read_alpha,
    read_filter,
    vision_values,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, as_rows, patch_rows_from_convolution
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "moonvit"
PREFIXES = ("model.vision_tower.", "vision_tower.")
NORM_EPS = 1e-5  # transformers has it in the code, not in the config
MERGE = 2
MAX_PATCHES = 16384  # Kimi_K25ImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoonViTConfig(TowerConfig):
    """Fields of ``Kimi_K25VisionConfig`` under this project's names."""

    rope_theta: float
    table_side: int


def read_config(checkpoint: Checkpoint) -> MoonViTConfig:
    """From config.json, of the vision model or of the whole one."""
    values = vision_values(NAME, checkpoint)
    fields = Fields(NAME, values)
    fields.expect("merge_kernel_size", [MERGE, MERGE])
    side = fields.integer("pos_emb_height", 64)
    fields.expect("pos_emb_width", side)
    shared = read_shared(
        NAME,
        checkpoint,
        {name: value for name, value in values.items() if name != "num_channels"},
        normalization=HALF,
        width=1152,
        depth=27,
        heads=16,
        mlp_width=4304,
        activation="gelu_pytorch_tanh",
        patch_px=14,
    )
    return MoonViTConfig(
        **shared,
        rope_theta=rope_fields(NAME, values).number("rope_theta", 10000.0, above=0),
        table_side=side,
    )


def make_model(config: MoonViTConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    one = axial_frequencies(config.rope_theta, width // config.heads // 2)
    none = torch.zeros_like(one)

    def norm() -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=NORM_EPS)

    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        positions=InterpolatedTable(width, config.table_side, config.table_side, Resampling(kernel="bicubic")),
        rotary=RotaryPositions(torch.stack([none, one], 1).flatten(), torch.stack([one, none], 1).flatten()),
        blocks=plain_blocks(config, norm, plain_mlps(config, config.activation)),
        norm=norm(),
    )


def state_map(config: MoonViTConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers (checkpoints as they were released call them otherwise; transformers converts them)."""
    found = StateMap(prefix_of(checkpoint, PREFIXES))
    found.ignore("*language_model.*", "*mm_projector.*", "lm_head.*")
    found.make("embed.weight", "patch_embed.proj.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "patch_embed.proj.bias")
    found.make("positions.table", "patch_embed.pos_emb.position_embeddings", by=as_rows)
    for n in range(config.depth):
        map_block(
            found,
            f"blocks.{n}",
            f"layers.{n}",
            norms=("norm1", "norm2"),
            qkv=[f"attn.{x}_proj" for x in "qkv"],
            proj="attn.proj",
            mlp=("mlp.fc1", "mlp.fc2"),
        )
    found.layer("norm", "final_layernorm")
    return found


def read_preprocessing(config: MoonViTConfig, checkpoint: Checkpoint) -> Preprocessing:
    """Whole blocks of 2 x 2 patches within the processor's ``max_patches``. ``Kimi_K25ImageProcessor`` itself fills up
    to whole blocks with black, which no rule does after a resize; here an image is resized to them."""
    fields = expect_patches(NAME, checkpoint, config.patch_px)
    patches = fields.integer("max_patches", MAX_PATCHES)
    block_px = MERGE * config.patch_px
    return Preprocessing(
        sizing=Sizing(
            rule="smart-resize", merge=MERGE, min_pixels=block_px**2, max_pixels=patches * config.patch_px**2
        ),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),
    )
