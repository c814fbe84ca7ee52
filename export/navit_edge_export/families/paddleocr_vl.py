"""PaddleOCR-VL's vision tower: ``PaddleOCRVisionModel`` of transformers (arXiv:2510.14528).

A learned table, resampled bilinearly to each image's grid, and rotary positions. "tokens" is the last hidden state of
every patch: the projector, which merges 2 x 2 patches, is not a part of the tower.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields, read_patch_px, read_pixels
from navit_edge_export.families.qwen_vl import CLIP_MEAN, CLIP_STD, read_smart_resize
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.embed import PatchEmbed
from navit_edge_export.layers.mlps import Mlp
from navit_edge_export.packed_model import OUTPUTS, PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling
from navit_edge_export.positions.rotary import RotaryPositions, axial_frequencies

NAME = "paddleocr-vl"
PREFIXES = ("model.visual.", "visual.")
MIN_PIXELS, MAX_PIXELS = 384 * 384, 1536 * 1536  # PaddleOCRVLImageProcessor's


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaddleOcrConfig:
    """Fields of ``PaddleOCRVisionConfig`` under this project's names."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str  # one of mlps.ACTIVATIONS
    norm_eps: float
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


def read_config(checkpoint: Checkpoint) -> PaddleOcrConfig:
    """From config.json, of the vision model or of the whole one."""
    values = checkpoint.config.get("vision_config", checkpoint.config)
    fields = Fields(NAME, values)
    rope = Fields(NAME, values.get("rope_parameters") or {}, where="config.json, rope_parameters")
    rope.expect("rope_type", "axial", "default")
    channels = fields.integer("num_channels", 3)
    mean, std = read_pixels(NAME, checkpoint, channels=channels, mean=CLIP_MEAN, std=CLIP_STD)
    patch_px = read_patch_px(fields, values, default=14)
    image_px = fields.integer("image_size", 384)
    if image_px < patch_px:
        fields.refuse("image_size", f"sides of at least a patch, {patch_px}")
    return PaddleOcrConfig(
        width=fields.integer("hidden_size", 1152),
        depth=fields.integer("num_hidden_layers", 27),
        heads=fields.integer("num_attention_heads", 16),
        mlp_width=fields.integer("intermediate_size", 4304),
        patch_px=patch_px,
        channels=channels,
        mean=mean,
        std=std,
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "gelu_pytorch_tanh"),
        norm_eps=fields.number("layer_norm_eps", 1e-6),
        rope_theta=rope.number("rope_theta", 10000.0),
        table_side=image_px // patch_px,
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
        embed=PatchEmbed(config.patch_px**2 * config.channels, width, mean=config.mean, std=config.std),
        positions=InterpolatedTable(width, config.table_side, config.table_side, Resampling()),
        rotary=RotaryPositions(torch.cat([one, none]), torch.cat([none, one])),
        blocks=[
            Block(
                norm(),
                SelfAttention(width, config.heads, qkv_bias=True, proj_bias=True),
                norm(),
                Mlp(width, config.mlp_width, gelu=config.activation),
            )
            for _ in range(config.depth)
        ],
        norm=norm(),
    )


def state_map(config: PaddleOcrConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with ``visual.`` in front in checkpoints of the whole model."""
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in checkpoint.tensors)), "")
    found = StateMap(f"{prefix}vision_model.")
    found.ignore("*language_model.*", "lm_head.*", "*projector.*", "mlp_AR.*")
    found.ignore("*.packing_position_embedding.*", "*vision_model.head.*")  # which transformers leaves out, too
    if prefix == "visual.":  # checkpoints as they were released: the language model is "model"
        found.ignore("model.*")
    found.make("embed.weight", "embeddings.patch_embedding.weight", by=patch_rows_from_convolution)
    found.copy("embed.bias", "embeddings.patch_embedding.bias")
    found.copy("positions.table", "embeddings.position_embedding.weight")
    for n in range(config.depth):
        ours, theirs = f"blocks.{n}", f"encoder.layers.{n}"
        found.layer(f"{ours}.attention_norm", f"{theirs}.layer_norm1")
        found.stack(f"{ours}.attention.qkv", *(f"{theirs}.self_attn.{x}_proj" for x in "qkv"))
        found.layer(f"{ours}.attention.proj", f"{theirs}.self_attn.out_proj")
        found.layer(f"{ours}.mlp_norm", f"{theirs}.layer_norm2")
        found.layer(f"{ours}.mlp.up", f"{theirs}.mlp.fc1")
        found.layer(f"{ours}.mlp.down", f"{theirs}.mlp.fc2")
    found.layer("norm", "post_layernorm")
    return found


def read_preprocessing(config: PaddleOcrConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``PaddleOCRVLImageProcessor`` does it, but for images with a side below two patches, which it enlarges
    first."""
    return read_smart_resize(NAME, checkpoint, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
