"""Qwen2.5-VL's vision tower: ``Qwen2_5_VisionTransformerPretrainedModel`` of transformers (qwen_vl.py says what it
shares): RMSNorm, SwiGLU, and windows: most blocks attend inside 8 x 8 patches only."""

from __future__ import annotations

import dataclasses

from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import patch_embed, plain_blocks
from navit_edge_export.families.fields import HF_ACTIVATIONS
from navit_edge_export.families.qwen_vl import MERGE, NORM_EPS, QwenVisionConfig
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap
from navit_edge_export.layers.attention import Windows
from navit_edge_export.layers.mlps import GatedMlp
from navit_edge_export.layers.norms import RMSNorm
from navit_edge_export.packed_model import PackedModel

NAME = "qwen2.5-vl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen25VisionConfig(QwenVisionConfig):
    """Fields of ``Qwen2_5_VLVisionConfig`` under this project's names."""

    window_patches: int  # a side
    full_blocks: tuple[int, ...]  # those without windows


def read_config(checkpoint: Checkpoint) -> Qwen25VisionConfig:
    """From config.json."""
    fields, values = qwen_vl.vision_fields(NAME, checkpoint)
    shared = qwen_vl.shared_values(NAME, checkpoint)
    blocks_px = MERGE * shared["patch_px"]
    windows = fields.integer("window_size", 112) // blocks_px
    if windows < 1:
        fields.refuse("window_size", f"windows of at least two patches, {blocks_px} pixels")
    full = values.get("fullatt_block_indexes", (7, 15, 23, 31))
    if not isinstance(full, (list, tuple)) or not all(isinstance(n, int) for n in full):
        fields.refuse("fullatt_block_indexes", "a list of block numbers")
    return Qwen25VisionConfig(
        width=fields.integer("hidden_size", 1280),
        out_width=fields.integer("out_hidden_size", 3584),
        mlp_width=fields.integer("intermediate_size", 3420),
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "silu"),
        window_patches=windows * MERGE,
        full_blocks=tuple(full),
        **shared,
    )


def make_model(config: Qwen25VisionConfig) -> PackedModel:
    """The packed model."""
    width = config.width
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        rotary=qwen_vl.make_rotary(config),
        blocks=plain_blocks(
            config,
            lambda: RMSNorm(width, eps=NORM_EPS),
            lambda: GatedMlp(width, config.mlp_width, activation=config.activation),
        ),
        norm=RMSNorm(width, eps=NORM_EPS),
        merger=qwen_vl.make_merger(config),
        windows=Windows(side=config.window_patches, full_blocks=frozenset(config.full_blocks)),
    )


def state_map(config: Qwen25VisionConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers."""
    found = qwen_vl.start_map(checkpoint, patch_bias=False)
    for n in range(config.depth):
        block = f"blocks.{n}"
        found.layer(f"{block}.attention_norm", f"{block}.norm1", bias=False)
        found.layer(f"{block}.attention.qkv", f"{block}.attn.qkv")
        found.layer(f"{block}.attention.proj", f"{block}.attn.proj")
        found.layer(f"{block}.mlp_norm", f"{block}.norm2", bias=False)
        found.stack(f"{block}.mlp.gate_up", f"{block}.mlp.gate_proj", f"{block}.mlp.up_proj")
        found.layer(f"{block}.mlp.down", f"{block}.mlp.down_proj")
    found.layer("norm", "merger.ln_q", bias=False)
    found.layer("merger.mlp.up", "merger.mlp.0")
    found.layer("merger.mlp.down", "merger.mlp.2")
    return found


def read_preprocessing(config: Qwen25VisionConfig, checkpoint: Checkpoint) -> Preprocessing:
    """That of all three."""
    return qwen_vl.read_smart_resize(NAME, checkpoint)
