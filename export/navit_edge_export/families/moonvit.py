"""MoonViT, Kimi's vision tower: ``Kimi_K25VisionModel`` of transformers (arXiv:2504.07491).

A learned table, resampled bicubically to each image's grid, and rotary positions whose frequencies alternate between
column and row. "tokens" is the last hidden state of every patch: the 2 x 2 patches that Kimi's projector takes together
are its matter. Frames of videos have a term of their own, images none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.fields import (
    HF_ACTIVATIONS,
    Fields,
    read_alpha,
    read_filter,
    read_patch_px,
    read_pixels,
)
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, as_rows, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import PatchEmbed
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "moonvit"
PREFIXES = ("model.vision_tower.", "vision_tower.")
HALF = (0.5, 0.5, 0.5)
NORM_EPS = 1e-5  # transformers has it in the code, not in the config
MERGE = 2
MAX_PATCHES = 16384  # Kimi_K25ImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoonViTConfig:
    """Fields of ``Kimi_K25VisionConfig`` under this project's names."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str  # one of mlps.ACTIVATIONS
    rope_theta: float
    table_side: int
    prefix_tokens: int = 0
    num_classes: int = 0

    def outputs(self) -> tuple[str, ...]:
        """The tokens."""
        return OUTPUTS[2:]

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types."""
        return dataclasses.asdict(self)


def read_config(checkpoint: Checkpoint) -> MoonViTConfig:
    """From config.json, of the vision model or of the whole one."""
    values = checkpoint.config.get("vision_config", checkpoint.config)
    fields = Fields(NAME, values)
    fields.expect("merge_kernel_size", [MERGE, MERGE])
    rope = Fields(NAME, values.get("rope_parameters") or {}, where="config.json, rope_parameters")
    rope.expect("rope_type", "axial", "default")
    side = fields.integer("pos_emb_height", 64)
    fields.expect("pos_emb_width", side)
    mean, std = read_pixels(NAME, checkpoint, channels=3, mean=HALF, std=HALF)
    return MoonViTConfig(
        width=fields.integer("hidden_size", 1152),
        depth=fields.integer("num_hidden_layers", 27),
        heads=fields.integer("num_attention_heads", 16),
        mlp_width=fields.integer("intermediate_size", 4304),
        patch_px=read_patch_px(fields, values, default=14),
        channels=3,
        mean=mean,
        std=std,
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        rope_theta=rope.number("rope_theta", 10000.0),
        table_side=side,
    )


def make_model(config: MoonViTConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    one = axial_frequencies(config.rope_theta, width // config.heads // 2)
    none = torch.zeros_like(one)
    return PackedModel(
        NAME,
        config,
        embed=PatchEmbed(config.patch_px**2 * config.channels, width, mean=config.mean, std=config.std),
        positions=InterpolatedTable(width, config.table_side, config.table_side, Resampling(kernel="bicubic")),
        rotary=RotaryPositions(torch.stack([none, one], 1).flatten(), torch.stack([one, none], 1).flatten()),
        blocks=[
            Block(
                nn.LayerNorm(width, eps=NORM_EPS),
                SelfAttention(width, config.heads, qkv_bias=True, proj_bias=True),
                nn.LayerNorm(width, eps=NORM_EPS),
                Mlp(width, config.mlp_width, gelu=config.activation),
            )
            for _ in range(config.depth)
        ],
        norm=nn.LayerNorm(width, eps=NORM_EPS),
    )


def state_map(config: MoonViTConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers (checkpoints as they were released call them otherwise; transformers converts them)."""
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in checkpoint.tensors)), "")
    found = StateMap(prefix)
    found.ignore("*language_model.*", "*mm_projector.*", "lm_head.*")
    found.make("embed.weight", "patch_embed.proj.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "patch_embed.proj.bias")
    found.make("positions.table", "patch_embed.pos_emb.position_embeddings", by=as_rows)
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"layers.{n}"
        found.layer(f"{ours}.attention_norm", f"{theirs}.norm1")
        found.stack(f"{ours}.attention.qkv", *(f"{theirs}.attn.{x}_proj" for x in "qkv"))
        found.layer(f"{ours}.attention.proj", f"{theirs}.attn.proj")
        found.layer(f"{ours}.mlp_norm", f"{theirs}.norm2")
        found.layer(f"{ours}.mlp.up", f"{theirs}.mlp.fc1")
        found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.fc2")
    found.layer("norm", "final_layernorm")
    return found


def read_preprocessing(config: MoonViTConfig, checkpoint: Checkpoint) -> Preprocessing:
    """Whole blocks of 2 x 2 patches within the processor's ``max_patches``. ``Kimi_K25ImageProcessor`` itself fills up
    to whole blocks with black, which no rule does after a resize; here an image is resized to them."""
    fields = Fields(NAME, checkpoint.processor, where="preprocessor_config.json")
    patches = fields.integer("max_patches", MAX_PATCHES)
    block_px = MERGE * config.patch_px
    return Preprocessing(
        sizing=Sizing(
            rule="smart-resize", merge=MERGE, min_pixels=block_px**2, max_pixels=patches * config.patch_px**2
        ),
        filter=read_filter(NAME, checkpoint, "bicubic"),
        alpha=read_alpha(NAME, checkpoint, converts=True),
    )
