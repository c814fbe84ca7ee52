"""The vision towers of GLM-4.1V, 4.5V and 4.6V (``Glm4vVisionModel``) and of GLM-OCR (``GlmOcrVisionModel``).

As Qwen2.5-VL's (RMSNorm, SwiGLU, rotary positions), without windows. A merger ends them: a convolution over 2 x 2
patches, a layer, a norm, GELU and a gated MLP. GLM-4V's has a norm behind the patch embedding and a learned table,
resampled bicubically; GLM-OCR's has neither, but normalizes queries and keys, and its layers have biases.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families import qwen_vl
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.common import CLIP, patch_embed, rope_fields
from navit_edge_export.families.fields import HF_ACTIVATIONS, Fields, expect_patches, read_patch_px, read_pixels
from navit_edge_export.families.qwen_vl import MERGE, QwenVisionConfig
from navit_edge_export.families.registry import Preprocessing
from navit_edge_export.families.state_map import StateMap, patch_rows_from_convolution
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.layers.blocks import Block
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.layers.mlps import GatedMlp
from navit_edge_export.layers.norms import RMSNorm
from navit_edge_export.packed_model import PackedModel
from navit_edge_export.positions import InterpolatedTable, Resampling

NAME = "glm4v"
MERGER_EPS = 1e-5  # torch's, in the code of transformers
FRAMES = qwen_vl.FRAMES


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlmVisionConfig(QwenVisionConfig):
    """Fields of ``Glm4vVisionConfig`` and ``GlmOcrVisionConfig`` under this project's names."""

    norm_eps: float
    merger_width: int  # inside of the merger's MLP
    table_side: int  # 0: there is no table
    normalizes_queries: bool  # and keys
    qkv_bias: bool
    layer_bias: bool  # of the blocks' other layers


def read_config(checkpoint: Checkpoint) -> GlmVisionConfig:
    """From config.json, of the vision tower or of the whole model."""
    fields, values = qwen_vl.vision_fields(NAME, checkpoint)
    ocr = any(name.endswith("blocks.0.attn.q_norm.weight") for name in checkpoint.tensors)
    channels = fields.integer("in_channels", 3)
    mean, std = read_pixels(NAME, checkpoint, channels=channels, mean=CLIP[0], std=CLIP[1])
    patch_px = read_patch_px(fields, values, default=14)
    out_width = fields.integer("out_hidden_size", 1536 if ocr else 4096)
    inner = fields.integer("intermediate_size", 4096 if ocr else 13696)
    bias = fields.flag("attention_bias", ocr)
    return GlmVisionConfig(
        width=fields.integer("hidden_size", 1024 if ocr else 1536),
        depth=fields.integer("depth", 24),
        heads=fields.integer("num_heads", 16 if ocr else 12),
        mlp_width=inner if ocr else out_width,
        patch_px=patch_px,
        channels=channels,
        mean=mean,
        std=std,
        activation=fields.choice("hidden_act", HF_ACTIVATIONS, "silu"),
        out_width=out_width,
        rope_theta=rope_fields(NAME, values).number("rope_theta", 10000.0, above=0),
        norm_eps=fields.number("rms_norm_eps", 1e-5, above=0),
        merger_width=out_width * channels if ocr else inner,
        table_side=0 if ocr else fields.table_side("image_size", 336, patch_px=patch_px),
        normalizes_queries=ocr,
        qkv_bias=bias,
        layer_bias=bias and ocr,
    )


class ConvolvedMerge(nn.Module):
    """A block's patches through a layer that is a convolution there, another, a norm, GELU and a gated MLP."""

    def __init__(self, config: GlmVisionConfig) -> None:
        super().__init__()
        width = config.out_width
        self.down = nn.Linear(MERGE * MERGE * config.width, width)
        self.proj = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=MERGER_EPS)
        self.mlp = GatedMlp(width, config.merger_width, bias=False, activation=config.activation)

    def forward(self, blocks: Tensor) -> Tensor:
        """[M, m*m*D] -> [M, D']"""
        tokens: Tensor = self.mlp(functional.gelu(self.norm(self.proj(self.down(blocks)))))
        return tokens


def make_model(config: GlmVisionConfig) -> PackedModel:
    """The packed model."""
    width, eps = config.width, config.norm_eps

    def make_block() -> Block:
        return Block(
            RMSNorm(width, eps=eps),
            SelfAttention(
                width,
                config.heads,
                qkv_bias=config.qkv_bias,
                proj_bias=config.layer_bias,
                qk_norm="rms" if config.normalizes_queries else "off",
                eps=eps,
            ),
            RMSNorm(width, eps=eps),
            GatedMlp(width, config.mlp_width, bias=config.layer_bias, activation=config.activation),
        )

    side = config.table_side
    return PackedModel(
        NAME,
        config,
        embed=patch_embed(config),
        embed_norm=RMSNorm(width, eps=eps) if side else None,
        positions=InterpolatedTable(width, side, side, Resampling(kernel="bicubic")) if side else None,
        rotary=qwen_vl.make_rotary(config),
        blocks=[make_block() for _ in range(config.depth)],
        norm=RMSNorm(width, eps=eps),
        merger=PatchMerger(MERGE, ConvolvedMerge(config)),
    )


def state_map(config: GlmVisionConfig, checkpoint: Checkpoint) -> StateMap:
    """Names of transformers, with ``visual.`` in front in checkpoints of the whole model."""
    found = qwen_vl.start_map(checkpoint, patch_bias=True)
    found.ignore("*language_model.*")
    if config.table_side:
        found.copy("embed_norm.weight", "post_conv_layernorm.weight")
        found.copy("positions.table", "embeddings.position_embedding.weight")
    for n in range(config.depth):
        block = f"blocks.{n}"
        found.copy(f"{block}.attention_norm.weight", f"{block}.norm1.weight")
        found.layer(f"{block}.attention.qkv", f"{block}.attn.qkv", bias=config.qkv_bias)
        found.layer(f"{block}.attention.proj", f"{block}.attn.proj", bias=config.layer_bias)
        if config.normalizes_queries:
            for name in ("query", "key"):
                found.copy(f"{block}.attention.{name}_norm.weight", f"{block}.attn.{name[0]}_norm.weight")
        found.copy(f"{block}.mlp_norm.weight", f"{block}.norm2.weight")
        gates = [f"{block}.mlp.{name}_proj" for name in ("gate", "up")]
        found.stack(f"{block}.mlp.gate_up", *gates, bias=config.layer_bias)
        found.layer(f"{block}.mlp.down", f"{block}.mlp.down_proj", bias=config.layer_bias)
    found.copy("norm.weight", "post_layernorm.weight")
    found.make("merger.mlp.down.weight", "downsample.weight", by=patch_rows_from_convolution)
    found.copy("merger.mlp.down.bias", "downsample.bias")
    found.layer("merger.mlp.proj", "merger.proj", bias=False)
    found.layer("merger.mlp.norm", "merger.post_projection_norm")
    found.stack("merger.mlp.mlp.gate_up", "merger.gate_proj", "merger.up_proj", bias=False)
    found.layer("merger.mlp.mlp.down", "merger.down_proj", bias=False)
    return found


def read_preprocessing(config: GlmVisionConfig, checkpoint: Checkpoint) -> Preprocessing:
    """As ``Glm4vImageProcessor`` and ``Glm46VImageProcessor`` do it. An image counts as two frames there, so its limits
    in pixels are half of theirs."""
    expect_patches(NAME, checkpoint, config.patch_px).expect("merge_size", MERGE, None)
    found = qwen_vl.read_smart_resize(NAME, checkpoint, min_pixels=112 * 112, max_pixels=28 * 28 * 15000)
    sizing = found.sizing
    for name, value in (("shortest_edge", sizing.min_pixels), ("longest_edge", sizing.max_pixels)):
        if value % FRAMES:
            size = Fields(NAME, {name: value}, where="preprocessor_config.json, size")
            size.refuse(name, f"numbers of pixels of {FRAMES} frames, multiples of {FRAMES}")
    halves = Sizing(
        rule="smart-resize",
        merge=MERGE,
        min_pixels=sizing.min_pixels // FRAMES,
        max_pixels=sizing.max_pixels // FRAMES,
        enlarge="floor",
    )
    return dataclasses.replace(found, sizing=halves)
